"""From data to Table 1 and figures 5 to 14 of Vrakkis's report."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from astroclip_bench.files import atomic_path
from baselines.systems.system import Outcome, Scale

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.results.record import Result

RECIPES = {"mini": "frozen-heads-mini", "published": "frozen-heads"}
TABLE = "table-1.csv"
TABLE_TASKS = ("redshift", "stellar-mass")
TABLE_PAIRS = (("image", "image"), ("spectrum", "spectrum"), ("spectrum", "image"))
"""Reference and query of the table's rows: its cross-modal predictions of images have spectra to compare with."""
PUBLISHED = ("Vrakkis's reproduction", "AstroCLIP (first version)")
"""Names of the published figures that stand beside ours."""


def reproduce(
    dataset: BenchDataset, out: Path, *, scale: Scale = "mini", device: str = "cpu", quiet: bool = False
) -> Outcome:
    """Train encoders and heads, score them, and draw the report's figures; what is done already is not done again.

    Parameters
    ----------
    out
        Gets a folder for each stage, ``model.pt``, ``result.json`` with its outcomes and its analysis, ``table-1.csv``
        and ``figures``. Model files in its folder ``encoders`` (``image.pt``, ``spectrum.pt``) are started from in place
        of encoders trained here.
    """
    from astroclip_bench.progress import progress_bar
    from baselines.astroclip.scored import RESULT, score_model
    from baselines.astroclip.train import MODEL, run_recipe
    from baselines.frozen_heads.figures import draw_figures
    from baselines.frozen_heads.recipe import fitted_recipe

    recipe, show = fitted_recipe(RECIPES[scale], dataset, out), partial(progress_bar, quiet=quiet)
    run_recipe(recipe, dataset, out, quiet=quiet)
    result = score_model(out / MODEL, dataset, out / RESULT, device=device, show_progress=show, outcomes=True)
    write_table(result, out / TABLE)
    stage = recipe.stages[-1]
    steps_an_epoch = dataset.splits["train"].rows / stage.train.batch_size
    figures = draw_figures(dataset, out, stage.name, steps_an_epoch, device=device, show_progress=show)
    return Outcome({f"{result.embedder['dimension']} dimensions": out / RESULT}, figures)


def write_table(result: Result, path: Path) -> None:
    """Write Table 1 as CSV: R^2 of both labels for each pair, with its interval, beside the published figures."""
    from astroclip_bench.report.material import published
    from astroclip_bench.report.parts import primary_scores

    groups = {group["model"]: group["values"] for group in published()["groups"] if group["model"] in PUBLISHED}
    known = {name: {tuple(row[:3]): row[3] for row in values} for name, values in groups.items()}
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["task", "reference", "query", f"R2 on {result.dataset['name']}", "low", "high"]
            + [f"{name}, other data" for name in PUBLISHED]
        )
        for task in TABLE_TASKS:
            scores = {(score.reference, score.query): score for score in primary_scores(result.scores, task)}
            for pair in TABLE_PAIRS:
                if pair in scores:
                    score = scores[pair]
                    others = [known[name].get((task, *pair)) for name in PUBLISHED]
                    writer.writerow([task, *pair, score.value, score.low, score.high, *others])
