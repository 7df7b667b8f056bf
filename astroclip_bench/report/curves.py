"""Figures of scores against something: labels, dimension, returned fraction, and how bad the observations are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from astroclip_bench.figure_style import COLOURS, GUIDE, MARKERS, as_text, new_figure, set_title
from astroclip_bench.report.material import Material, published
from astroclip_bench.report.parts import (
    SHOWN_TASKS,
    Pair,
    data_name,
    legend_below,
    pair_name,
    pair_place,
    panels,
    primary_scores,
    rows_of,
    task_title,
    title_of,
)
from astroclip_bench.results.record import ALL, LABELS, Result, Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEARCH_TASK = "retrieval"
DIMENSION_SCORES = (("redshift", "r2", "R²"), ("stellar-mass", "r2", "R²"), (SEARCH_TASK, "recall@10", "recall@10"))
METRIC_NAMES = {"r2": "R²"}
RETURNED = "accuracy@"
"""Begins the names of the scores at a share of the pool: ``accuracy@5%``."""
LEAST_PERCENT = 0.1
LOWEST_R2, HIGHEST = -0.3, 1.03
"""Ends of the axes of scores: below, a prediction is useless, and how useless tells nothing."""


def draw_returned(material: Material) -> Figure | None:
    """Return the share of searches that succeed within the returned fraction of the pool.

    The lines are of single searches, the points with intervals of the result's scores; dotted lines are published ones.
    """
    scores = [score for score in material.result.find(task=SEARCH_TASK, group=ALL) if score.metric.startswith(RETURNED)]
    if not scores:
        return None
    figure = new_figure(3.6)
    axis = figure.subplots()
    pairs = list(dict.fromkeys((score.reference, score.query) for score in scores))
    for pair in pairs:
        number = pair_place(pair, material.result.embedder["modalities"])
        mine = [score for score in scores if (score.reference, score.query) == pair and score.value is not None]
        percent = [float(score.metric.removeprefix(RETURNED).removesuffix("%")) for score in mine]
        _errorbars(axis, percent, mine, f"{pair[1]} in search of {pair[0]}", number, line="none")
        curve = _search_curve(material, pair)
        if curve is not None:
            axis.plot(*curve, color=COLOURS[number % len(COLOURS)], lw=1.2)
    percent_axis = np.geomspace(LEAST_PERCENT, 100, 50)
    axis.plot(percent_axis, percent_axis / 100, color=GUIDE, ls="--", lw=0.9, label="random order")
    for line, style in zip(published()["retrieval"], (":", "-."), strict=False):
        axis.plot(line["percent"], line["accuracy"], color=GUIDE, ls=style, lw=1, label=f"{line['model']} (other data)")
    axis.set(xscale="log", xlim=(LEAST_PERCENT, 100), ylim=(0, 1.02))
    axis.set_xticks([0.1, 1, 5, 10, 20, 50, 100], ["0.1", "1", "5", "10", "20", "50", "100"])
    axis.minorticks_off()
    axis.set_xlabel("returned fraction of the pool (%)")
    axis.set_ylabel("searches that find their pair")
    axis.grid()
    legend_below(figure, [axis], columns=3)
    set_title(figure, f"{title_of(material.result)}: retrieval")
    return figure


def _search_curve(material: Material, pair: Pair) -> tuple[Any, Any] | None:
    """Return percent of the pool, and the share of searches that succeed within; ties count as in a random order."""
    cell = {"task": SEARCH_TASK, "reference": pair[0], "query": pair[1]}
    table = material.read_outcomes(["greater", "ties", "pool"], **cell).astype(float).dropna()
    if table.empty:
        return None
    pool = int(table["pool"].iloc[0])
    returned = np.unique(np.geomspace(1, pool, 200).round())
    found = (returned[:, None] - table["greater"].to_numpy()) / (table["ties"].to_numpy() + 1)
    return 100 * returned / pool, np.clip(found, 0, 1).mean(axis=1)


def draw_labels(material: Material) -> Figure | None:
    """Return the score of each task against the number of labels that a probe is given, a line for each probe."""
    result = material.result
    chosen = {task: primary_scores(result.scores, task) for task in SHOWN_TASKS}
    chosen = {task: [score for score in scores if _label_curves(result, score)] for task, scores in chosen.items()}
    chosen = {task: scores for task, scores in chosen.items() if scores}
    if not chosen:
        return None
    columns = max(len(scores) for scores in chosen.values())
    figure = new_figure(1.75 * len(chosen) + 0.6)
    grid = figure.subplots(len(chosen), columns, squeeze=False, sharey="row", sharex=True)
    for axes, (task, scores) in zip(grid, chosen.items(), strict=True):
        for axis, score in zip(axes, scores, strict=False):
            for number, (protocol, points) in enumerate(_label_curves(result, score).items()):
                _errorbars(axis, list(points), list(points.values()), protocol, number)
            axis.set(xscale="log")
            axis.set_title(as_text(pair_name((score.reference, score.query))), fontsize=7)
            counts = sorted({count for points in _label_curves(result, score).values() for count in points})
            axis.set_xticks(counts, [f"{count:,}" for count in counts])
            axis.minorticks_off()
            axis.grid()
        axes[0].set_ylabel(f"{task_title(task)}, {METRIC_NAMES.get(scores[0].metric, scores[0].metric)}")
        axes[0].set_ylim(max(axes[0].get_ylim()[0], LOWEST_R2), HIGHEST)
        for spare in axes[len(scores) :]:
            spare.set_axis_off()
    for axis in grid[-1]:
        axis.set_xlabel("train labels")
    legend_below(figure, grid.ravel())
    set_title(figure, f"{title_of(result)}: label efficiency, reference → query")
    return figure


def _label_curves(result: Result, score: Score) -> dict[str, dict[int, Score]]:
    """Return protocol -> number of labels -> score, of protocols that were scored on several numbers."""
    same = {"task": score.task, "metric": score.metric, "reference": score.reference, "query": score.query}
    curves: dict[str, dict[int, Score]] = {}
    for row in result.find(**same):
        is_part = row.group.startswith(LABELS)
        if (is_part or row.group == ALL) and row.value is not None:
            count = int(row.group.removeprefix(LABELS)) if is_part else result.dataset["splits"]["train"]["rows"]
            curves.setdefault(row.protocol, {})[count] = row
    return {protocol: dict(sorted(points.items())) for protocol, points in curves.items() if len(points) > 1}


def draw_dimension(sweep: Mapping[int, Result]) -> Figure | None:
    """Return scores against the dimension of the embedding, a line for each pair of modalities.

    After figure 2 of Siddiquei's reproduction.
    """
    rows = {
        (task, metric): {dimension: primary_scores(result.scores, task, metric) for dimension, result in sweep.items()}
        for task, metric, _ in DIMENSION_SCORES
    }
    shown = [item for item in DIMENSION_SCORES if any(rows[item[:2]].values())]
    if not shown:
        return None
    figure = new_figure(2.9)
    axes = panels(figure, len(shown))
    modalities = next(iter(sweep.values())).embedder["modalities"]
    for axis, (task, metric, name) in zip(axes, shown, strict=True):
        lines: dict[Pair, dict[int, Score]] = {}
        for dimension, scores in rows[task, metric].items():
            for score in scores:
                lines.setdefault((score.reference, score.query), {})[dimension] = score
        for pair, points in lines.items():
            place = pair_place(pair, modalities)
            _errorbars(axis, list(points), list(points.values()), pair_name(pair), place)
        axis.set_xscale("log", base=2)
        axis.set_xticks(list(sweep), [str(dimension) for dimension in sweep])
        axis.minorticks_off()
        axis.set_title(f"{task_title(task)}, {name}")
        axis.set_xlabel("embedding dimension")
        axis.grid()
    legend_below(figure, axes)
    data = next(iter(sweep.values())).dataset
    set_title(figure, f"{data_name(data)}: score against dimension, reference → query")
    return figure


def draw_robustness(record: Mapping[str, Any], task: str) -> Figure | None:
    """Return the scores of a task against each perturbation's level, a line for each pair of modalities."""
    points = [point for point in record["curves"] if point["task"] == task and point["value"] is not None]
    names = [name for name in record["perturbations"] if any(point["perturbation"] == name for point in points)]
    if not names:
        return None
    figure = new_figure(1.75 * rows_of(len(names)) + 0.6)
    axes = panels(figure, len(names), sharey=True)
    pairs = {(point["reference"], point["query"]) for point in points}
    numbers = {pair: pair_place(pair, record["embedder"]["modalities"]) for pair in pairs}
    for axis, name in zip(axes, names, strict=True):
        for pair, number in sorted(numbers.items(), key=lambda item: item[1]):
            mine = [
                point
                for point in points
                if point["perturbation"] == name and (point["reference"], point["query"]) == pair
            ]
            mine.sort(key=lambda point: float(point["level"]))
            if mine:
                _interval_line(axis, [p["level"] for p in mine], mine, pair_name(pair), number)
        axis.set_title(as_text(name), fontsize=7)
        axis.set_xlabel(as_text(record["perturbations"][name]["unit"]))
        axis.grid()
    metric = METRIC_NAMES.get(points[0]["metric"], points[0]["metric"])
    for axis in axes[::4]:
        axis.set_ylabel(f"{task_title(task)}, {metric}")
    low = min(axis.get_ylim()[0] for axis in axes)
    axes[0].set_ylim(max(low, LOWEST_R2), HIGHEST)
    legend_below(figure, axes)
    title = f"{record['embedder']['name']} on {data_name(record['dataset'])}"
    set_title(figure, f"{title}: {task_title(task).lower()} of worse observations, reference → query")
    return figure


def _errorbars(
    axis: Any, places: Sequence[float], scores: Sequence[Score], name: str, number: int, line: str = "-"
) -> None:
    points = [{"value": score.value, "low": score.low, "high": score.high} for score in scores]
    _interval_line(axis, places, points, name, number, line)


def _interval_line(
    axis: Any, places: Sequence[float], points: Sequence[Mapping[str, Any]], name: str, number: int, line: str = "-"
) -> None:
    """Draw values with their 95 % intervals, in the colour and with the marker of this number."""
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    values = np.array([point["value"] for point in points], float)
    ends = np.array([[point["low"], point["high"]] for point in points], float).T
    # An interval that does not hold its value, as that of a mean over draws may be, has no length on that side.
    lengths = np.nan_to_num(np.clip([values - ends[0], ends[1] - values], 0, None))
    axis.errorbar(places, values, lengths, color=colour, marker=marker, ls=line, elinewidth=0.8, label=as_text(name))
