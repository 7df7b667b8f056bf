"""`astroclip-bench reproduce`: a system of the field, from data to scored result and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

EVERY = "all"


def reproduce_command(
    system: Annotated[
        str | None, typer.Argument(metavar="SYSTEM", help="Name of a system, or all; without it they are listed.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Name, folder, or Hub id of a data set; the system's if left out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs (OUT/SYSTEM) and their table.")] = Path("reproduced"),
    scale: Annotated[
        Literal["mini", "published"], typer.Option(help="Minutes on two cores, or the sizes of the paper (for GPUs).")
    ] = "mini",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps: where models are scored.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores if left out.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on standard error.")] = False,
) -> None:
    """Build a published system: train it, score it, draw its figures.

    Leaves OUT/SYSTEM with models, results, figures and system.json, and OUT/table.md with the scores of every system
    run there, beside what was published of it on other data. Run again, the command goes on where it was.

    \b
    Examples:
      astroclip-bench reproduce
      astroclip-bench reproduce vrakkis
      astroclip-bench reproduce siddiquei --data ./desi_legacy --scale published --device cuda
    """  # noqa: D301 - typer reads the backslash
    from tabulate import tabulate

    from astroclip_bench.errors import UserError
    from astroclip_bench.plugins import suggest
    from baselines.systems.catalogue import SYSTEMS

    if system is None:
        rows = [[entry.name, entry.title, entry.data] for entry in SYSTEMS.values()]
        typer.echo(tabulate(rows, headers=["name", "what it is", "data set"], tablefmt="simple"))
        return
    if system not in (EVERY, *SYSTEMS):
        raise UserError(f"no system {system!r}", todo=suggest(system, [EVERY, *SYSTEMS]))

    from astroclip_bench.cli.common import open_with_progress, say
    from astroclip_bench.files import atomic_path
    from baselines.systems.run import run_system
    from baselines.systems.table import read_runs, render, render_all

    if threads is not None:
        import threadpoolctl
        import torch

        torch.set_num_threads(threads)
        threadpoolctl.threadpool_limits(threads)
    for entry in SYSTEMS.values() if system == EVERY else [SYSTEMS[system]]:
        dataset = open_with_progress(data or entry.data)
        run = run_system(entry, dataset, out / entry.name, scale=scale, device=device, quiet=quiet)
        say(f"{entry.name}: {run.seconds:,.0f} s; written: {out / entry.name}")
    runs = read_runs(out)
    with atomic_path(out / "table.md") as temporary:
        temporary.write_text(render_all(runs) + "\n", encoding="utf-8")
    typer.echo(render([run for run in runs if system in (EVERY, run.system)]))
