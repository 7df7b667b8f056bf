"""`astroclip-bench data build sdss-legacy`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dataset_builders.sdss_legacy.pairs import MAX_SEPARATION_ARCSEC


class SplitOption(StrEnum):
    """Values of ``--split``."""

    healpix = "healpix"
    test = "test"


def build(
    pairs: Annotated[Path, typer.Option(help="Folder with pairs.csv, which names images and SDSS spectra.")],
    out: Annotated[Path, typer.Option(help="Folder to write; new, empty, or of an interrupted build.")],
    split: Annotated[
        SplitOption, typer.Option(help="healpix: by sky; test: all rows, for retrieval among few pairs.")
    ] = SplitOption.healpix,
    max_separation: Annotated[
        float, typer.Option(help="Leave out pairs whose image centre and fibre are farther apart, arcsec.")
    ] = MAX_SEPARATION_ARCSEC,
) -> None:
    """Build a data set of SDSS spectra and Legacy Survey images from a list of pairs.

    \b
    Examples:
      astroclip-bench data build sdss-legacy --pairs pairs --out real-pairs
      astroclip-bench data build sdss-legacy --pairs pairs --split test --out real-pairs
      astroclip-bench evaluate --data real-pairs
    """  # noqa: D301 - the escape is typer's mark for text to leave as it is
    from astroclip_bench.datasets.manifest import read_manifest
    from astroclip_bench.progress import progress_bar
    from astroclip_bench.tasks.retrieval import SMALLEST_POOL
    from dataset_builders.parquet import build_dataset
    from dataset_builders.sdss_legacy.source import SdssLegacy

    source = SdssLegacy(pairs, split.value, max_separation)
    with progress_bar(f"building {source.info.name}") as report:
        folder = build_dataset(source, out, progress=report)
    typer.echo(folder)
    for step in source.build_record()["steps"]:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in step["dropped"].items() if count)
        typer.echo(
            f"{step['step']}: {step['kept']:,} of {step['read']:,} rows; left out: {reasons or 'none'}", err=True
        )
    counts = read_manifest(folder).counts
    typer.echo("; ".join(f"{rows:,} {name}" for name, rows in counts.items()), err=True)
    if counts["test"] < SMALLEST_POOL:
        typer.echo("too few test pairs to score anything on; --split test puts all of them there", err=True)
