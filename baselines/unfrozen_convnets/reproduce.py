"""From data to the seven models and figures 1 to 4 of Siddiquei's summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.systems.system import Outcome, Scale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.results.record import Result

RECIPES = {"mini": "unfrozen-convnets-mini", "published": "unfrozen-convnets"}
SETTING = "stages.align.dimension"
DIMENSIONS = (8, 16, 32, 64, 128, 256, 512)
SHOWN = 128
"""The dimension whose predictions and galleries are drawn, as in the report."""


def reproduce(
    dataset: BenchDataset, out: Path, *, scale: Scale = "mini", device: str = "cpu", quiet: bool = False
) -> Outcome:
    """Train and score a model for each dimension, and draw the figures; what is done already is not done again.

    Parameters
    ----------
    out
        Gets a folder for each dimension with ``model.pt`` and ``result.json``, ``stages`` with what they share,
        ``sweep.csv`` and ``figures``. Model files in its folder ``encoders`` (``image.pt``, ``spectrum.pt``) are started
        from in place of encoders trained here.
    """
    from baselines.astroclip.scored import RESULT
    from baselines.astroclip.sweep import TABLE, run_sweep, write_table
    from baselines.frozen_heads.recipe import fitted_recipe

    recipes = {
        str(dimension): fitted_recipe(RECIPES[scale], dataset, out, [f"{SETTING}={dimension}"])
        for dimension in DIMENSIONS
    }
    results = run_sweep(SETTING, recipes, dataset, out, device=device, quiet=quiet, outcomes=True)
    write_table(results, out / TABLE)
    figures = draw_figures(dataset, out, results, device=device, quiet=quiet)
    return Outcome({f"{dimension} dimensions": out / dimension / RESULT for dimension in results}, figures)


def draw_figures(
    dataset: BenchDataset, out: Path, results: Mapping[str, Result], *, device: str, quiet: bool
) -> tuple[Path, ...]:
    """Draw figures 1 to 4 from the models and results in a folder, and return their files."""
    from functools import partial

    from astroclip_bench.analysis.subject import embed_subject
    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.figure_style import styled
    from astroclip_bench.progress import progress_bar
    from astroclip_bench.report.curves import draw_dimension
    from astroclip_bench.report.material import gather
    from astroclip_bench.report.predictions import draw_predictions
    from baselines.astroclip.scored import RESULT
    from baselines.astroclip.train import MODEL
    from baselines.frozen_heads.figures import FOLDER, save_all, searches

    folder = out / str(SHOWN)
    embedder = load_embedder(str(folder / MODEL), device=device)
    subject = embed_subject(embedder, dataset, "test", None, partial(progress_bar, quiet=quiet))
    with styled():
        drawn: dict[str, Any] = {
            "figure-1": draw_predictions(gather([folder / RESULT]), "redshift"),
            "figure-2": draw_dimension({int(dimension): result for dimension, result in results.items()}),
            **searches(subject, dataset, "figure-3", "figure-4"),
        }
        return save_all(drawn, out / FOLDER)
