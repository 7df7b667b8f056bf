"""Figures of single objects' predictions: predicted against true, what is left, and the calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.figure_style import COLOURS, DENSITY_MAP, GUIDE, as_text, new_figure, set_title
from astroclip_bench.report.material import Material
from astroclip_bench.report.parts import PANELS_A_ROW, Pair, pair_name, panels, primary_scores, rows_of, title_of
from astroclip_bench.report.parts import with_interval as in_words
from astroclip_bench.results.record import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Float64 = NDArray[np.float64]

CELLS = 40
"""Cells across a panel of density."""
RUNNING_BINS = 10
SHOWN_PERCENT = (0.5, 99.5)
RESIDUAL_PERCENT = 97.0
SIGMA_PERCENT = (16, 84)
PIT_BINS = 20


@dataclass(frozen=True)
class Axis:
    """How a target is named, and whether what is left of it is taken relative to 1 + its value."""

    name: str
    residual: str
    relative: bool = False

    def left(self, label: Float64, prediction: Float64) -> Float64:
        """Return what a prediction misses the label by."""
        return (prediction - label) / (1 + label) if self.relative else prediction - label


AXES: Mapping[str, Axis] = {
    "redshift": Axis("redshift", "Δz / (1 + z)", relative=True),
    "stellar-mass": Axis("log M* (M☉)", "Δ log M*"),
}
"""By task."""


def draw_predictions(material: Material, task: str) -> Figure | None:
    """Return predicted against true, as density, and the residuals below, for each pair of modalities.

    After figure 1 of Siddiquei's and figure 8 of Vrakkis's reproduction.
    """
    found = _outcomes(material, task, ("label", "prediction"))
    if not found:
        return None
    axis = AXES[task]
    every = np.concatenate([columns["label"] for _, columns in found])
    low, high = np.percentile(every, SHOWN_PERCENT)
    margin = 0.04 * (high - low)
    limits = (low - margin, high + margin)
    left = [axis.left(columns["label"], columns["prediction"]) for _, columns in found]
    widest = max(float(np.percentile(np.abs(values), RESIDUAL_PERCENT)) for values in left)

    count = len(found)
    lines, columns_a_line = rows_of(count), min(PANELS_A_ROW, count)
    figure = new_figure(3.1 * lines + 0.4)
    grid = figure.subplots(2 * lines, columns_a_line, squeeze=False, height_ratios=[2.2, 1] * lines)
    densities = []
    for place, ((score, columns), residual) in enumerate(zip(found, left, strict=True)):
        line, column = divmod(place, columns_a_line)
        above, below = grid[2 * line, column], grid[2 * line + 1, column]
        densities += [_density(above, columns["label"], columns["prediction"], limits, limits)]
        densities += [_density(below, columns["label"], residual, limits, (-widest, widest), square=False)]
        above.plot(limits, limits, color=GUIDE, ls="--", lw=0.8)
        below.axhline(0, color=GUIDE, ls="--", lw=0.8)
        _running(below, columns["label"], residual)
        above.set_title(f"{as_text(pair_name((score.reference, score.query)))}\nR² {in_words(score)}", fontsize=7)
        above.tick_params(labelbottom=False)
        below.set_xlabel(f"true {axis.name}")
        if column == 0:
            above.set_ylabel(f"predicted {axis.name}")
            below.set_ylabel(axis.residual)
        else:
            above.tick_params(labelleft=False)
            below.tick_params(labelleft=False)
    for spare in range(count, lines * columns_a_line):
        line, column = divmod(spare, columns_a_line)
        grid[2 * line, column].set_axis_off()
        grid[2 * line + 1, column].set_axis_off()
    _share_scale(figure, densities, grid)
    set_title(figure, f"{title_of(material.result)}: {axis.name}, {found[0][0].protocol}, reference → query")
    return figure


def draw_table_of_predictions(material: Material, tasks: Sequence[str], pairs: Sequence[Pair]) -> Figure | None:
    """Return predicted against true, as density: a column for each task, a row for each pair (reference, query).

    After figure 8 of Vrakkis's reproduction.
    """
    found = {
        (task, score.reference, score.query): (score, columns)
        for task in tasks
        for score, columns in _outcomes(material, task, ("label", "prediction"))
    }
    if not found:
        return None
    figure = new_figure(2.2 * len(pairs) + 0.4, 2.75 * len(tasks) + 0.7)
    grid = figure.subplots(len(pairs), len(tasks), squeeze=False)
    densities = []
    for number, task in enumerate(tasks):
        axis, axes = AXES[task], grid[:, number]
        cells = [found[task, *pair] for pair in pairs if (task, *pair) in found]
        low, high = np.percentile(np.concatenate([columns["label"] for _, columns in cells]), SHOWN_PERCENT)
        margin = 0.04 * (high - low)
        limits = (low - margin, high + margin)
        for panel, pair in zip(axes, pairs, strict=True):
            if (task, *pair) not in found:
                panel.set_axis_off()
                continue
            score, columns = found[task, *pair]
            densities.append(_density(panel, columns["label"], columns["prediction"], limits, limits))
            panel.plot(limits, limits, color=GUIDE, ls="--", lw=0.8)
            panel.set_title(f"{as_text(pair_name(pair))}: R² {in_words(score)}", fontsize=7)
            panel.set_ylabel(f"predicted {axis.name}")
        axes[-1].set_xlabel(f"true {axis.name}")
    _share_scale(figure, densities, grid)
    protocols = dict.fromkeys(score.protocol for score, _ in found.values())
    set_title(figure, f"{title_of(material.result)}: {', '.join(protocols)}, reference → query")
    return figure


def draw_calibration(material: Material, task: str) -> Figure | None:
    """Return the histogram of the probability integral transform for each pair of modalities, beside a flat one.

    The grey band holds 95 % of the bins of a calibrated prediction of as many objects.
    """
    from scipy.stats import binom

    found = _outcomes(material, task, ("pit",))
    if not found:
        return None
    figure = new_figure(1.9 * rows_of(len(found)) + 0.3)
    axes = panels(figure, len(found), sharey=True, sharex=True)
    highest = 1.5
    for axis, (score, columns) in zip(axes, found, strict=True):
        pit = columns["pit"]
        share = len(pit) / PIT_BINS
        band = binom.ppf((0.025, 0.975), len(pit), 1 / PIT_BINS) / share
        axis.axhspan(*band, color=GUIDE, alpha=0.2, lw=0)
        axis.axhline(1, color=GUIDE, ls="--", lw=0.8)
        counts, edges = np.histogram(pit, PIT_BINS, (0, 1))
        axis.stairs(counts / share, edges, color=COLOURS[0], lw=1.2)
        distance = _value(material, score, "pit_uniformity")
        axis.set_title(
            f"{as_text(pair_name((score.reference, score.query)))}\ndistance from uniform {distance}", fontsize=7
        )
        highest = max(highest, 1.05 * counts.max() / share)
        axis.set(xlim=(0, 1), ylim=(0, highest), xlabel="PIT")
    for axis in axes[:: min(PANELS_A_ROW, len(found))]:
        axis.set_ylabel("galaxies, over a flat share")
    set_title(figure, f"{title_of(material.result)}: calibration of {task}, {found[0][0].protocol}, reference → query")
    return figure


def _outcomes(material: Material, task: str, names: tuple[str, ...]) -> list[tuple[Score, dict[str, Any]]]:
    """Return the finite outcomes of each pair of modalities by the task's first protocol, with their score."""
    found = []
    for score in primary_scores(material.result.scores, task):
        cell = {"task": task, "protocol": score.protocol, "reference": score.reference, "query": score.query}
        table = material.read_outcomes(list(names), **cell).astype(float).dropna()
        if len(table):
            found.append((score, {name: table[name].to_numpy() for name in names}))
    return found


def _value(material: Material, score: Score, metric: str) -> str:
    same = {"task": score.task, "protocol": score.protocol, "reference": score.reference, "query": score.query}
    rows = material.result.find(**same, metric=metric, group=score.group)
    return in_words(rows[0]).partition(" ")[0] if rows else "–"


def _density(axis: Any, x: Float64, y: Float64, xlim: Pair | Any, ylim: Pair | Any, *, square: bool = True) -> Any:
    """Draw how many objects lie in each hexagon; those beyond the limits stand at the edge."""
    size = CELLS if square else (CELLS, max(4, CELLS // 4))
    inside = np.clip(x, *xlim), np.clip(y, *ylim)
    drawn = axis.hexbin(*inside, gridsize=size, extent=(*xlim, *ylim), mincnt=1, cmap=DENSITY_MAP, lw=0.1)
    axis.set(xlim=xlim, ylim=ylim)
    return drawn


def _running(axis: Any, label: Float64, residual: Float64) -> None:
    """Draw the running median and the central 68 % of the residuals."""
    edges = np.unique(np.quantile(label, np.linspace(0, 1, min(RUNNING_BINS, max(1, len(label) // 10)) + 1)))
    if len(edges) < 3:
        return
    part = np.clip(np.searchsorted(edges, label, side="right") - 1, 0, len(edges) - 2)
    bins = [number for number in range(len(edges) - 1) if (part == number).any()]
    centre = [np.median(label[part == number]) for number in bins]
    middle = [np.median(residual[part == number]) for number in bins]
    band = np.array([np.percentile(residual[part == number], SIGMA_PERCENT) for number in bins]).T
    axis.plot(centre, middle, color=COLOURS[1], lw=1.4)
    for side in band:
        axis.plot(centre, side, color=COLOURS[1], lw=0.9, ls=":")


def _share_scale(figure: Figure, densities: list[Any], grid: Any) -> None:
    """Give all densities one logarithmic scale, and the figure its colour bar."""
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter, LogLocator

    largest = max(float(drawn.get_array().max()) for drawn in densities)
    for drawn in densities:
        drawn.set_norm(LogNorm(1, max(largest, 2)))
    bar = figure.colorbar(densities[0], ax=grid, fraction=0.025, pad=0.01, label="galaxies a cell")
    bar.ax.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.minorticks_off()
