"""The data set folder: what every builder writes, and the picture its card shows."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from astroclip_bench.files import atomic_path
from dataset_builders.mock_proposals.source import MockProposals
from dataset_builders.parquet import build_dataset

FIGURE = "proposals.png"


def build_folder(
    source: MockProposals, out: Path | str, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write the data set folder, or complete one that was interrupted (see `build_dataset`)."""
    folder = build_dataset(source, out, workers=workers, progress=progress)
    target = folder / "figures" / FIGURE
    if not target.exists():
        with atomic_path(target) as temporary:
            temporary.write_bytes(files("dataset_builders.mock_proposals").joinpath("figures", FIGURE).read_bytes())
    return folder
