"""`astroclip-bench data build sdss-photometry`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dataset_builders.sdss_photometry.source import MAX_REDSHIFT, SdssPhotometry


def build(
    catalogue: Annotated[Path, typer.Option(help="The FITS table sdss_spectroscopic_sample.fits.")],
    out: Annotated[Path, typer.Option(help="Folder to write; new, empty, or of an interrupted build.")],
    max_redshift: Annotated[float, typer.Option(help="Leave out rows at or above this redshift.")] = MAX_REDSHIFT,
) -> None:
    """Build a data set for photometric redshifts from the SDSS sample that kcorrect distributes.

    \b
    Examples:
      astroclip-bench data build sdss-photometry --catalogue sdss_spectroscopic_sample.fits --out sdss
      astroclip-bench evaluate photometry --data sdss
    """  # noqa: D301 - the escape is typer's mark for text to leave as it is
    from astroclip_bench.progress import progress_bar
    from dataset_builders.parquet import build_dataset

    source = SdssPhotometry(catalogue, max_redshift)
    with progress_bar("building sdss-photometry") as report:
        folder = build_dataset(source, out, progress=report)
    typer.echo(folder)
    for step in source.build_record()["steps"]:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in step["dropped"].items() if count)
        typer.echo(
            f"{step['step']}: {step['kept']:,} of {step['read']:,} rows; left out: {reasons or 'none'}", err=True
        )
