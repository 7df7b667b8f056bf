"""The nine directions between image, spectrum and text: one square of scores for each task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroclip_bench.figure_style import NUMBER_MAP, new_figure, set_title, styled
from astroclip_bench.report.parts import data_name
from astroclip_bench.results.record import ALL
from astroclip_bench.tasks.registry import all_tasks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astroclip_bench.results.record import Result

SHOWN = (
    ("redshift", "r2", "redshift, R²"),
    ("stellar-mass", "r2", "stellar mass, R²"),
    ("retrieval", "recall@10", "retrieval, recall@10"),
)
"""Task, metric and title of each square; by the task's primary protocol, on all test objects."""
DARK = 0.6
"""Share of the colour scale below which numbers are written in white."""


def draw_directions(result: Result) -> Figure:
    """Return the scores of every pair of modalities: what is searched, or voted, down; what asks, across."""
    modalities = list(result.embedder["modalities"])
    tasks = all_tasks()
    with styled("train"):
        figure = new_figure(2.9)
        panels = figure.subplots(1, len(SHOWN))
        for axis, (task, metric, title) in zip(panels, SHOWN, strict=True):
            square = np.full((len(modalities), len(modalities)), np.nan)
            for score in result.find(task=task, metric=metric, group=ALL):
                pair = (score.reference, score.query)
                if (
                    score.protocol == tasks[task].protocols[0]
                    and score.value is not None
                    and set(pair) <= set(modalities)
                ):
                    square[modalities.index(pair[0]), modalities.index(pair[1])] = score.value
            axis.imshow(square, vmin=0, vmax=1, cmap=NUMBER_MAP)
            for (row, column), value in np.ndenumerate(square):
                text, colour = (
                    ("-", "black") if np.isnan(value) else (f"{value:.2f}", "white" if value < DARK else "black")
                )
                axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
            axis.set_xticks(range(len(modalities)), modalities)
            axis.set_yticks(range(len(modalities)), modalities, rotation=90, va="center")
            axis.set(xlabel="query", ylabel="reference", title=title)
        set_title(figure, f"Three modalities on {data_name(result.dataset)}: all directions")
        return figure
