"""The figure that holds a model against its floors, the baselines of the same data, and published figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from astroclip_bench.figure_style import COLOURS, GUIDE, as_text, new_figure, set_title
from astroclip_bench.report.material import Material, published
from astroclip_bench.report.parts import SHOWN_TASKS, legend_below, primary_scores, task_title, title_of
from astroclip_bench.results.record import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRIC = "r2"
LOWEST = -0.15
"""Values below stand at this edge, with an arrow: how useless a prediction is tells nothing."""
LINE_INCH, EDGES_INCH = 0.155, 1.25


@dataclass(frozen=True)
class Entry:
    """One value: whose it is, of which kind, and what it was made of."""

    name: str
    kind: str
    task: str
    reference: str
    query: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def row(self) -> tuple[str, str, str]:
        """What is on one line of the figure: kind, and name, with the reference where that is another modality."""
        other = f", reference {self.reference}" if self.reference != self.query else ""
        return self.query, self.kind, f"{self.name}{other}"


KINDS = {
    "this model": {"color": COLOURS[1], "marker": "o"},
    "other model": {"color": COLOURS[2], "marker": "D"},
    "baseline": {"color": COLOURS[0], "marker": "s"},
    "floor": {"color": GUIDE, "marker": "^"},
    "published, OTHER data": {"color": COLOURS[6], "marker": "d", "markerfacecolor": "white"},
}
"""Kinds of entries in their order, and how they look."""


def entries(material: Material) -> list[Entry]:
    """Return all values of the overview."""
    result = material.result
    kinds = ["this model", *["other model"] * (len(material.results) - 1)]
    found = [
        entry
        for kind, name, one in zip(kinds, material.names, material.results, strict=True)
        for entry in _from_scores(kind, name, one.scores)
    ]
    for row in material.baselines:
        is_in_modal = row["reference"] == row["query"] and row["baseline"] not in result.floors
        if row["metric"] == METRIC and row["task"] in SHOWN_TASKS and is_in_modal:
            name = row["baseline"] if row["protocol"] == "direct" else f"{row['baseline']}, {row['protocol']}"
            found.append(
                Entry(
                    name, "baseline", row["task"], row["reference"], row["query"], row["value"], row["low"], row["high"]
                )
            )
    for name, scores in result.floors.items():
        found += _from_scores("floor", name, scores)
    for group in published()["groups"]:
        for task, reference, query, value in group["values"]:
            if task in SHOWN_TASKS:
                found.append(Entry(group["model"], "published, OTHER data", task, reference, query, value))
    return found


def _from_scores(kind: str, name: str, scores: Sequence[Score]) -> Iterator[Entry]:
    for task in SHOWN_TASKS:
        for score in primary_scores(scores, task, METRIC):
            if score.value is not None:
                yield Entry(name, kind, task, score.reference, score.query, score.value, score.low, score.high)


def draw_overview(material: Material) -> Figure | None:
    """Return the R^2 of each model, baseline, floor and publication, a panel for each task and a block for each query."""
    found = entries(material)
    if not any(entry.kind == "this model" for entry in found):
        return None
    queries = list(dict.fromkeys(entry.query for entry in found))
    order = [(query, kind) for query in queries for kind in KINDS]
    found.sort(key=lambda entry: (order.index(entry.row[:2]), entry.reference != entry.query))
    rows = list(dict.fromkeys(entry.row for entry in found))
    places: dict[tuple[str, str, str], float] = {}
    heads: dict[str, float] = {}
    for row in rows:
        if row[0] not in heads:
            heads[row[0]] = len(places) + 1.6 * len(heads)
        places[row] = len(places) + 1.6 * len(heads) - 0.4
    tasks = [task for task in SHOWN_TASKS if any(entry.task == task for entry in found)]
    figure = new_figure(LINE_INCH * (max(places.values()) + 1) + EDGES_INCH)
    axes = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
    for axis, task in zip(axes, tasks, strict=True):
        for entry in found:
            if entry.task == task:
                _draw_entry(axis, entry, places[entry.row])
        axis.set(xlim=(LOWEST - 0.02, 1.02), ylim=(max(places.values()) + 0.8, -0.8))
        axis.axvline(0, color=GUIDE, lw=0.6, ls="--")
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
        axis.set_title(f"{task_title(task)}, R²")
    names = [as_text(row[2]) for row in places]
    axes[0].set_yticks([*places.values(), *heads.values()], [*names, *(f"from {as_text(name)}" for name in heads)])
    for tick in axes[0].get_yticklabels()[len(names) :]:
        tick.set_fontweight("bold")
    legend_below(figure, axes, columns=len(KINDS))
    set_title(figure, title_of(material.result))
    return figure


def _draw_entry(axis: Any, entry: Entry, place: float) -> None:
    look = KINDS[entry.kind]
    if entry.value < LOWEST:
        axis.plot([LOWEST], [place], marker="<", color=look["color"], ls="none")
        return
    low = entry.value if entry.low is None else min(entry.low, entry.value)
    high = entry.value if entry.high is None else max(entry.high, entry.value)
    length = [[entry.value - low], [high - entry.value]]
    axis.errorbar([entry.value], [place], xerr=length, ls="none", elinewidth=0.9, label=entry.kind, **look)
