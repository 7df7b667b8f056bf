"""What several commands do alike."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from astroclip_bench.environment import usable_cores
from astroclip_bench.progress import progress_bar

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset

ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="model.pt, .safetensors, .onnx; stored embeddings (.parquet, .npz, .safetensors); hf://org/name@revision; "
        "module:factory; or a name (photometry, random-projection, mean). The bundled model if left out.",
        show_default=False,
    ),
]
DataOption = Annotated[str, typer.Option(help="Name, folder, or Hub id of a data set.")]
RevisionOption = Annotated[str | None, typer.Option(help="Revision of a data set on the Hub.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, or auto.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores if left out.")]


def say(message: str) -> None:
    """Write a line for the user, beside the results: to standard error."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def open_with_progress(dataset: str, revision: str | None = None) -> BenchDataset:
    """Open a data set; where a simulated survey must be generated first, show how far that has come."""
    from astroclip_bench.datasets import open_dataset

    with progress_bar(f"generating {dataset}") as report:
        return open_dataset(dataset, revision=revision, workers=usable_cores(), progress=report)


def find_device(name: str) -> str:
    """Return the device of this name, `auto` resolved; fail if the machine lacks it."""
    import torch

    from astroclip_bench.embedders.torch_embedder import require_device

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return require_device(name)


def set_threads(threads: int | None) -> None:
    """Hold torch and the libraries below numpy to this many threads, for the rest of the process."""
    if threads is not None:
        import numpy as np  # noqa: F401 - its libraries must be loaded before they can be held
        import threadpoolctl
        import torch

        torch.set_num_threads(threads)
        threadpoolctl.threadpool_limits(threads)


def slug(name: str) -> str:
    """Return a name that can stand in a file name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"


def check_writable(path: Path) -> None:
    """Fail now, not after an hour of embedding, if the result cannot be written."""
    from astroclip_bench.errors import StorageError
    from astroclip_bench.files import atomic_path

    if path.is_dir():
        raise StorageError(f"--out {path} is a folder", "a file name", f"use --out {path / 'result.json'}")
    made = [folder for folder in path.parents if not folder.exists()]
    probe = path.parent / f".{path.name}.probe"
    with atomic_path(probe):
        pass
    probe.unlink()
    for folder in made:
        folder.rmdir()
