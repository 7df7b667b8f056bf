"""The command that writes a data set's embeddings as Parquet: ``astroclip-bench embed``, or torchrun of this module.

Each process embeds its own share of the rows into a part; the first one joins them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from astroclip_bench.errors import UserError
from astroclip_bench.files import atomic_path

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset, SplitView
    from astroclip_bench.embedders import Embedder
    from astroclip_bench.progress import Progress

PRECISIONS = ("float32", "float16")


def embed_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="What `evaluate` takes: model.pt, a name, ...", show_default=False)
    ],
    data: Annotated[str, typer.Option(help="Name, folder, or Hub id of a data set.")] = "mock-mini",
    out: Annotated[Path, typer.Option(help="Parquet file to write.")] = Path("embeddings.parquet"),
    splits: Annotated[str, typer.Option(help="Splits, separated by commas; all of them if left out.")] = "",
    precision: Annotated[str, typer.Option(help="float32 or float16: the numbers in the file.")] = "float32",
    dtype: Annotated[str, typer.Option(help="float32 or bf16: the arithmetic of the model.")] = "float32",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Objects at a time; chosen if left out.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on standard error.")] = False,
) -> None:
    """Write the embeddings of a data set: object_id, and one column a modality.

    What the model itself predicts stands beside them.

    `evaluate` takes the file in place of a model.

    \b
    Examples:
      astroclip-bench embed run/model.pt --data mock-mini --out embeddings.parquet
      torchrun --nproc-per-node 8 -m baselines.astroclip.embed run/model.pt --data ./desi_legacy --dtype bf16
    """  # noqa: D301 - typer reads the backslash
    from astroclip_bench.cli.common import open_with_progress
    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.progress import progress_bar
    from baselines.astroclip.parallel import process_state

    if precision not in PRECISIONS:
        raise UserError(f"--precision {precision}", " or ".join(PRECISIONS))
    device = str(process_state().device)
    embedder, dataset = load_embedder(model, device=device, dtype=dtype), open_with_progress(data)
    names = [name.strip() for name in splits.split(",") if name.strip()] or list(dataset.splits)
    with progress_bar("embed", quiet=quiet or not process_state().is_main_process) as report:
        path = embed_dataset(
            embedder,
            dataset,
            out,
            names,
            precision=precision,
            dtype=dtype,
            batch_size=batch_size or "auto",
            progress=report,
        )
    if process_state().is_main_process:
        typer.echo(path)


def embed_dataset(
    embedder: Embedder,
    dataset: BenchDataset,
    out: Path,
    splits: Sequence[str],
    *,
    precision: str = "float32",
    dtype: str = "float32",
    batch_size: int | Literal["auto"] = "auto",
    progress: Progress | None = None,
) -> Path:
    """Write the embeddings of some splits, and what the model itself predicts, as `astroclip_bench.embedders` reads them.

    Parameters
    ----------
    precision, dtype
        Of the vectors in the file, and of the embedder's arithmetic (part of what it was loaded with).
    progress
        Called with this process's (done, total) vectors.

    Raises
    ------
    UserError
        If a split is not there, or embedder and data set share no modality.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from astroclip_bench.datasets import numpy_to_arrow
    from astroclip_bench.embedders import Embeddings, embed_split, predict_split
    from baselines.astroclip.parallel import process_state

    state = process_state()
    unknown = [name for name in splits if name not in dataset.splits]
    if unknown:
        raise UserError(f"{dataset.info.name} has no split {unknown[0]!r}", ", ".join(dataset.splits))
    modalities = [name for name in dataset.modalities if embedder.info.supports(name)]
    if not modalities:
        raise UserError(f"{embedder.info.name} takes none of {', '.join(dataset.modalities)}", "a modality in common")
    views = [_share(dataset.splits[name], state.process_index, state.num_processes) for name in splits]
    asked: list[tuple[Callable[..., Any], str]] = [(embed_split, name) for name in modalities]
    asked += [(predict_split, name) for name in modalities if embedder.info.predicts(name)]
    total = len(asked) * sum(view.rows for view in views)
    done = 0

    def report(of_this: int, all_of_this: int) -> None:
        if progress:
            progress(done + of_this, total)

    tables = []
    for view in views:
        columns: dict[str, Any] = {"object_id": pa.array(view.object_ids, pa.string())}
        for ask, name in asked:
            found = ask(
                embedder,
                view,
                dataset.modalities[name],
                data_digest=dataset.digest,
                batch_size=batch_size,
                dtype=dtype,
                cache=False,
                progress=report,
            )
            if isinstance(found, Embeddings):
                columns[name] = numpy_to_arrow(found.vectors.astype(precision))
            else:
                columns |= {f"predicted_{target}_from_{name}": values for target, values in found.items()}
            done += view.rows
        tables.append(pa.table(columns))
    with atomic_path(_part(out, state.process_index)) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary)
    state.wait_for_everyone()
    if state.is_main_process:
        parts = [_part(out, process) for process in range(state.num_processes)]
        with atomic_path(out) as temporary:
            pq.write_table(pa.concat_tables([pq.read_table(part) for part in parts]), temporary)
        for part in parts:
            part.unlink()
    return out


def _share(view: SplitView, process: int, processes: int) -> SplitView:
    """Return the rows of a split that one of several processes embeds: one run of them, to read little in vain."""
    flags = np.ones(sum(entry.rows for entry in view.files), bool) if view.selected is None else view.selected
    mine = np.zeros_like(flags)
    mine[np.array_split(np.flatnonzero(flags), processes)[process]] = True
    return replace(view, selected=mine)


def _part(out: Path, process: int) -> Path:
    return out.with_name(f".{out.name}.part-{process}")


def main() -> None:
    """Run the command line without the name of the command: what torchrun starts."""
    from astroclip_bench.cli.main import main as run

    sys.argv.insert(1, "embed")
    run()


if __name__ == "__main__":
    main()
