"""`astroclip-bench data build mock-proposals`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def build(
    out: Annotated[Path, typer.Option(help="Folder to write; new, empty, or of an interrupted build.")],
    survey: Annotated[
        str, typer.Option(help="Mock survey whose galaxies are proposed: a name such as mock-small, or a folder.")
    ] = "mock-mini",
    workers: Annotated[int, typer.Option(min=1, help="Processes; the rows are the same for any number.")] = 1,
) -> None:
    """Build the mock survey with invented observing proposals: images, spectra and captions, all simulated.

    \b
    Examples:
      astroclip-bench data build mock-proposals --out proposals
      astroclip-bench data build mock-proposals --survey mock-small --out proposals-small --workers 2
    """  # noqa: D301 - the escape is typer's mark for text to leave as it is
    from astroclip_bench.datasets import open_dataset
    from astroclip_bench.progress import progress_bar
    from dataset_builders.mock_proposals import MINI
    from dataset_builders.mock_proposals.folder import build_folder
    from dataset_builders.mock_proposals.source import MockProposals

    with progress_bar(f"opening {survey}") as report:
        opened = open_dataset(survey, workers=workers, progress=report)
    source = MockProposals(opened, MINI.name if survey == MINI.survey else "")
    with progress_bar(f"writing {source.info.name}") as report:
        folder = build_folder(source, out, workers=workers, progress=report)
    typer.echo(folder)
    counts = source.build_record()["proposals"]
    typer.echo("; ".join(f"{number:,} proposals in {split}" for split, number in counts.items()), err=True)
