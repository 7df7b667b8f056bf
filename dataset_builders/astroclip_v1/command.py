"""`astroclip-bench data build astroclip-v1`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class SplitOption(StrEnum):
    """Values of ``--split``."""

    original = "original"
    healpix = "healpix"
    as_in_files = "as-in-files"


def build(
    pairs: Annotated[Path, typer.Option(help="The file astroclip_desi.1.1.5.h5, or a folder of a Parquet copy.")],
    out: Annotated[Path, typer.Option(help="Folder to write; new, empty, or of an interrupted build.")],
    split: Annotated[
        SplitOption, typer.Option(help="original: as published; healpix: by sky; as-in-files: of a Parquet copy.")
    ] = SplitOption.original,
    clean: Annotated[
        bool, typer.Option("--clean", help="Leave out zero spectra, missing bands, redshifts outside 0 to 0.8.")
    ] = False,
    labels: Annotated[
        Path | None, typer.Option(help="The PROVABGS catalogue, or its Multimodal Universe variant.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to use instead.")] = None,
) -> None:
    """Build the pairs that AstroCLIP was trained and scored on, for comparison with published scores.

    \b
    Examples:
      astroclip-bench data build astroclip-v1 --pairs astroclip_desi.1.1.5.h5 --out pairs --workers 2
      astroclip-bench data build astroclip-v1 --pairs copy/data --split as-in-files --out copied
      astroclip-bench evaluate random-projection --data pairs
    """  # noqa: D301 - the escape is typer's mark for text to leave as it is
    from astroclip_bench.progress import progress_bar
    from dataset_builders.astroclip_v1.source import AstroClipV1
    from dataset_builders.parquet import build_dataset

    source = AstroClipV1(pairs, split.value, clean, labels)
    with progress_bar(f"building {source.info.name}") as report:
        folder = build_dataset(source, out, workers=workers, scheduler=scheduler, progress=report)
    typer.echo(folder)
    for step in source.build_record()["steps"]:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in step["dropped"].items() if count)
        typer.echo(
            f"{step['step']}: {step['kept']:,} of {step['read']:,} rows; left out: {reasons or 'none'}", err=True
        )
