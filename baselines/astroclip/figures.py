"""Figures of trainings: losses and learning rate, and of a sweep the scores against the setting."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclip_bench.figure_style import COLOURS, GUIDE, MARKERS, as_text, new_figure, set_title, styled
from baselines.astroclip.scored import COMPARED, compared_scores, pair_name

if TYPE_CHECKING:
    from astroclip_bench.results.record import Result, Score

HEIGHT_INCH = 2.9
MOST_TICKS = 6
LOSSES = {"loss": "train", "validation_loss": "validation"}
TITLES = {("redshift", "r2"): "Redshift, R²", ("stellar-mass", "r2"): "Stellar mass, R²"}


def plot_sweep(key: str, results: Mapping[str, Result]) -> Any:
    """Return a matplotlib figure of the compared scores against the values of a setting.

    Numbers stand on a logarithmic axis of base 2 where all are positive powers of it, on a linear one otherwise; words
    stand side by side. A dashed line is the highest floor of the first result.
    """
    with styled("train"):
        return _plot(key, results)


def plot_training(log: Path, steps_an_epoch: float, title: str) -> Any:
    """Return a matplotlib figure of the losses of a training, and of its learning rate, against epochs.

    After figure 5 of Vrakkis's reproduction.

    Parameters
    ----------
    log
        As `baselines.astroclip.logs` writes it.
    """
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    with styled("train"):
        figure = new_figure(3.6)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        for number, (name, label) in enumerate(LOSSES.items()):
            steps, values = _column(entries, name, steps_an_epoch)
            above.plot(steps, values, color=COLOURS[number], ls=("-", "--")[number], label=label)
        at, losses = _column(entries, "validation_loss", steps_an_epoch)
        if losses:
            best = min(range(len(losses)), key=losses.__getitem__)
            above.plot(at[best], losses[best], "o", color=COLOURS[1], label=f"lowest, {losses[best]:.3f}")
        epochs, rates = _column(entries, "learning_rate", steps_an_epoch)
        below.plot(epochs, rates, color=COLOURS[0], drawstyle="steps-post")
        above.set_ylabel("InfoNCE loss")
        above.legend()
        below.set(yscale="log", xlabel="epoch", ylabel="learning rate")
        if len(set(rates)) <= MOST_TICKS:
            below.set_yticks(sorted(set(rates)), [f"{rate:.1e}" for rate in sorted(set(rates))])
            below.minorticks_off()
        for axes in (above, below):
            axes.grid()
        set_title(figure, title)
    return figure


def _column(
    entries: Sequence[Mapping[str, float]], name: str, steps_an_epoch: float
) -> tuple[list[float], list[float]]:
    """Return epochs and values of one quantity of a log."""
    known = [(entry["step"] / steps_an_epoch, entry[name]) for entry in entries if name in entry]
    return [epoch for epoch, _ in known], [value for _, value in known]


def _plot(key: str, results: Mapping[str, Result]) -> Any:
    figure = new_figure(HEIGHT_INCH)
    places, powers = _places(list(results))
    first = next(iter(results.values()))
    panels = figure.subplots(1, len(COMPARED), squeeze=False)[0]
    names: dict[str, int] = {}
    for axes, (task, metric) in zip(panels, COMPARED, strict=True):
        for name, points in _lines(results, task, metric).items():
            number = names.setdefault(name, len(names))
            _draw_line(axes, [places[value] for value in points], list(points.values()), name, number)
        floors = [
            (row.value, f"{floor} of {row.query}")
            for floor, rows in first.floors.items()
            for row in rows
            if (row.task, row.metric, row.group) == (task, metric, "all") and row.value is not None and row.value > 0
        ]
        if floors:
            best, floor = max(floors)
            axes.axhline(best, color=GUIDE, linestyle="--", linewidth=0.8)
            axes.annotate(
                as_text(floor), (0.99, best), xycoords=("axes fraction", "data"), ha="right", va="bottom", size=6
            )
        axes.set_title(TITLES.get((task, metric), f"{task.capitalize()}, {metric}"))
        axes.set_xlabel(as_text(key.rpartition(".")[2].replace("_", " ")))
        if powers:
            axes.set_xscale("log", base=2)
        axes.set_xticks(list(places.values()), list(map(as_text, places)))
        axes.minorticks_off()
        axes.grid()
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    data = first.dataset
    kind = "SIMULATED data" if data["simulated"] else "real data"
    set_title(figure, f"{data['name']} ({kind}): reference -> query, bands are 95 % intervals")
    return figure


def _places(values: list[str]) -> tuple[dict[str, float], bool]:
    """Return where each value stands, and whether all are powers of two from 1 on."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return {value: float(number) for number, value in enumerate(values)}, False
    powers = all(number >= 1 and number.is_integer() and not int(number) & (int(number) - 1) for number in numbers)
    return dict(zip(values, numbers, strict=True)), powers


def _lines(results: Mapping[str, Result], task: str, metric: str) -> dict[str, dict[str, Score]]:
    """Return name of a pair -> value of the setting -> score."""
    lines: dict[str, dict[str, Score]] = {}
    for value, result in results.items():
        for score in compared_scores(result):
            if (score.task, score.metric) == (task, metric) and score.value is not None:
                lines.setdefault(pair_name(score), {})[value] = score
    return lines


def _draw_line(axes: Any, places: list[float], scores: list[Score], name: str, number: int) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    axes.plot(places, [score.value for score in scores], color=colour, marker=marker, label=name)
    with_interval = [
        (place, score.low, score.high) for place, score in zip(places, scores, strict=True) if score.low is not None
    ]
    if with_interval:
        at, low, high = zip(*with_interval, strict=True)
        axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
