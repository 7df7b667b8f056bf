"""`astroclip-bench compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from astroclip_bench.cli.common import check_writable, say
from astroclip_bench.cli.evaluate import Format
from astroclip_bench.progress import progress_bar

EVERY = "all"
"""Stands for all metrics on the command line."""


def compare_command(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="A result of evaluate; its .parquet is beside it.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="Another on the same data, which A is taken from.")],
    task: Annotated[
        str | None,
        typer.Option(help="Tasks, separated by commas; all that both have if left out.", show_default=False),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metrics, separated by commas, or all; the primary one of each task if left out.", show_default=False
        ),
    ] = None,
    groups: Annotated[bool, typer.Option(help="Compare groups of galaxies too.")] = True,
    output: Annotated[Format, typer.Option("--format", help="What standard output gets.")] = Format.table,
    out: Annotated[Path | None, typer.Option(help="File to write the differences to, as JSON.")] = None,
) -> None:
    """Compare two models object by object.

    Prints the differences B - A of their scores, with paired 95 % intervals: both models are scored on the same resamples of the sky. A tie is where the interval includes zero. Results on different data, of different task or protocol versions, of subsamples, or without the outcomes that evaluate writes beside a result are refused.

    \b
    Examples:
      astroclip-bench compare results/a.json results/b.json
      astroclip-bench compare a.json b.json --task redshift,retrieval --metric all --no-groups
      astroclip-bench compare a.json b.json --format json --out differences.json
    """
    from astroclip_bench.files import write_json
    from astroclip_bench.results.compare import PRIMARY, compare
    from astroclip_bench.results.compare_table import render

    if out is not None:
        check_writable(out)
    metrics = PRIMARY if metric is None else None if metric == EVERY else _names(metric)
    with progress_bar("compare") as report:
        found = compare(
            a,
            b,
            tasks=None if task is None else _names(task),
            metrics=metrics,
            groups=groups,
            progress=report,
        )
    if out is not None:
        write_json(out, found.to_dict())
    typer.echo(json.dumps(found.to_dict(), indent=2) if output is Format.json else render(found))
    if out is not None:
        say(f"written: {out}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
