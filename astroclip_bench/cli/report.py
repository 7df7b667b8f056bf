"""`astroclip-bench report`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from astroclip_bench.cli.common import say
from astroclip_bench.progress import progress_bar


def report_command(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...",
            help="Results of evaluate on one data set: the one that the report is about, and others beside it.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the page and its figures; RESULT-report if left out.", show_default=False),
    ] = None,
    analysis: Annotated[
        Path | None,
        typer.Option(help="Folder of analyse; RESULT-analysis if left out and there.", show_default=False),
    ] = None,
    robustness: Annotated[
        Path | None,
        typer.Option(help="File of robustness; RESULT-robustness.json if left out and there.", show_default=False),
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option(help="Folder of a sweep over the embedding dimension.", show_default=False)
    ] = None,
) -> None:
    """Put results into one HTML page with figures.

    The page loads nothing from outside, and says how to make what it lacks. Each figure is also written as PNG and PDF. Outcomes of single objects are read from RESULT.parquet. Needs the extra [report].

    \b
    Examples:
      astroclip-bench report results/astroclip-mini--mock-mini.json
      astroclip-bench report mine.json other.json --out report
      astroclip-bench report mine.json --analysis analysis --sweep sweep
    """
    from astroclip_bench.report.material import gather
    from astroclip_bench.report.page import write_report

    material = gather(results, analysis, robustness, sweep)
    first = results[0]
    folder = out or (first.with_suffix("") if first.suffix == ".json" else first).with_name(f"{first.stem}-report")
    page = write_report(material, folder, partial(progress_bar, unit="figures"))
    typer.echo(page)
    say(f"written: {page}, and each figure as PNG and PDF in {folder / 'figures'}")
