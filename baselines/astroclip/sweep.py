"""The command that trains and scores a recipe at several values of one setting: ``astroclip-bench sweep``.

Figure 2 of Siddiquei's reproduction is ``astroclip-bench sweep mini stages.align.dimension=8,16,32,64,128,256,512``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from astroclip_bench.errors import UserError
from astroclip_bench.files import atomic_path

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.results.record import Result
    from baselines.astroclip.config import Recipe

STAGES, RESULT, TABLE, FIGURE = "stages", "result.json", "sweep.csv", "sweep"
COLUMNS = ("value", "task", "protocol", "metric", "reference", "query", "score", "low", "high", "n", "chance")


def sweep_command(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name of a recipe, or a TOML file.", show_default=False)
    ],
    settings: Annotated[
        list[str],
        typer.Argument(
            metavar="SECTION.KEY=V1,V2,...",
            help="The values of one setting; further SECTION.KEY=VALUE replace the recipe's.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None, typer.Option(help="Name, folder, or Hub id of a data set; the recipe's if left out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of models, results, table and figure.")] = Path("sweep"),
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores if left out.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on standard error.")] = False,
) -> None:
    """Train and score a recipe at several values of one setting, and draw what it does.

    Stages before the setting matters are trained once. Run again, the command goes on where it was. Writes a folder
    for each value (model.pt, result.json), sweep.csv, and sweep.png and .pdf.

    \b
    Examples:
      astroclip-bench sweep mini stages.align.dimension=8,16,32,64,128,256,512
      astroclip-bench sweep mini stages.align.halves=0,1,4 stages.align.train.epochs=4 --out halves
    """  # noqa: D301 - typer reads the backslash
    from astroclip_bench.cli.common import open_with_progress
    from astroclip_bench.figure_style import save_figure
    from baselines.astroclip.config import read_recipe
    from baselines.astroclip.figures import plot_sweep
    from baselines.astroclip.parallel import process_state

    key, values, others = swept(settings)
    recipes = {value: read_recipe(recipe, [*others, f"{key}={value}"]) for value in values}

    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    dataset = open_with_progress(data or recipes[values[0]].data.name)
    results = run_sweep(key, recipes, dataset, out, device=str(process_state().device), quiet=quiet)
    if results:
        write_table(results, out / TABLE)
        for path in save_figure(plot_sweep(key, results), out / FIGURE):
            typer.echo(path)
        typer.echo(out / TABLE)


def run_sweep(
    key: str,
    recipes: Mapping[str, Recipe],
    dataset: BenchDataset,
    out: Path,
    *,
    device: str,
    quiet: bool,
    outcomes: bool = False,
) -> dict[str, Result]:
    """Train and score the recipe of each value of a setting, each in a folder of `out` that has the value's name.

    Parameters
    ----------
    outcomes
        As `score_model` takes it.

    Returns
    -------
    dict
        Value -> result, the first with floors; nothing in all processes but the first.
    """
    from functools import partial

    from astroclip_bench.progress import progress_bar
    from baselines.astroclip.scored import score_model
    from baselines.astroclip.train import MODEL, run_recipe

    show = partial(progress_bar, quiet=quiet)
    results: dict[str, Result] = {}
    for value, recipe in recipes.items():
        typer.echo(f"{key} = {value}", err=True)
        folder = out / value
        if run_recipe(recipe, dataset, folder, quiet=quiet, shared=out / STAGES):
            results[value] = score_model(
                folder / MODEL,
                dataset,
                folder / RESULT,
                device=device,
                show_progress=show,
                floors=not results,
                outcomes=outcomes,
            )
    return results


def swept(settings: Sequence[str]) -> tuple[str, list[str], list[str]]:
    """Return key and values of the one setting that has several, and the other settings as they are.

    Raises
    ------
    UserError
        If none or more than one has several values, or a value comes twice.
    """
    several = [setting for setting in settings if "," in setting.partition("=")[2] and "[" not in setting]
    if len(several) != 1:
        found = "; ".join(several) or "none"
        raise UserError(f"settings with several values: {found}", "one, e.g. stages.align.dimension=8,16,32")
    key, _, text = several[0].partition("=")
    values = [value.strip() for value in text.split(",")]
    if not all(values) or len(set(values)) < len(values):
        raise UserError(f"{several[0]!r}", "different values, none of them empty")
    return key.strip(), values, [setting for setting in settings if setting is not several[0]]


def write_table(results: Mapping[str, Result], path: Path) -> None:
    """Write the scores on all test objects as CSV: one row for each value of the setting and score."""
    from astroclip_bench.results.record import ALL

    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for value, result in results.items():
            for score in result.find(group=ALL):
                cell = (value, score.task, score.protocol, score.metric, score.reference, score.query)
                writer.writerow([*cell, score.value, score.low, score.high, score.n, score.chance])
