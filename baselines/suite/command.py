"""`astroclip-bench baselines`: fill the reference rows of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Make and score the baselines that every model is held against.",
)
TABLE, FIGURES = "table.md", "baselines.json"


@app.command("run")
def run_command(
    data: Annotated[str, typer.Option(help="Name, folder, or Hub id of a data set.")] = "mock-mini",
    out: Annotated[Path, typer.Option(help="Folder of models, results and the table.")] = Path("baselines-run"),
    only: Annotated[
        str | None, typer.Option(help="Baselines, separated by commas; all of them if left out.", show_default=False)
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Times that a baseline with random parts is made.")] = 3,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps: where models are scored.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores if left out.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on standard error.")] = False,
) -> None:
    """Make the baselines of a data set, score them, and print them beside one another.

    Each leaves OUT/NAME/seed-K with its model or predictions and its result.json; OUT/table.md and OUT/baselines.json
    hold the table. What was made of the same data and settings is kept, so the same command goes on where it was.
    Baselines that the data set has no columns for are named with the reason.

    \b
    Examples:
      astroclip-bench baselines run --data mock-mini --out rows
      astroclip-bench baselines run --data ./sdss --out rows --only magnitudes,gradient-boosting --seeds 1
    """  # noqa: D301 - typer reads the backslash
    from baselines.suite.run import choose, run_baselines

    chosen = choose(None if only is None else [name.strip() for name in only.split(",") if name.strip()])

    from astroclip_bench.cli.common import open_with_progress, say
    from astroclip_bench.files import atomic_path, write_json
    from baselines.suite.summary import render, summary

    if threads is not None:
        _hold_threads(threads)
    dataset = open_with_progress(data)
    outcomes = run_baselines(
        dataset, out, chosen, seeds, device=device, quiet=quiet, say=(lambda message: None) if quiet else say
    )
    with atomic_path(out / TABLE) as temporary:
        temporary.write_text(render(outcomes, dataset, "github") + "\n", encoding="utf-8")
    write_json(out / FIGURES, summary(outcomes, dataset))
    typer.echo(render(outcomes, dataset))
    say(f"written: {out / TABLE}, {out / FIGURES}")


@app.command("list")
def list_command() -> None:
    """List the baselines: what each is, what it needs, and how many seeds it takes.

    \b
    Example:
      astroclip-bench baselines list
    """  # noqa: D301 - typer reads the backslash
    from tabulate import tabulate

    from baselines.suite.table import BASELINES

    rows = []
    for baseline in BASELINES:
        needs = [*baseline.modalities, f"timm weights {baseline.weights}" if baseline.weights else ""]
        needs.append(f"[{baseline.extra}]" if baseline.extra else "")
        rows.append([baseline.name, baseline.title, ", ".join(need for need in needs if need), baseline.seeds])
    typer.echo(tabulate(rows, headers=["name", "what it is", "needs", "seeds"], tablefmt="simple"))


def _hold_threads(threads: int) -> None:
    import threadpoolctl
    import torch

    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)
