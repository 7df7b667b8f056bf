"""What the figures of a report share: names, choices of scores, and panels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from astroclip_bench.results.record import ALL, Result, Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS_A_ROW = 4
SHOWN_TASKS = ("redshift", "stellar-mass")
"""Tasks that have figures of their own."""

SMALL = 0.1

Pair = tuple[str, str]


def pair_name(pair: Pair) -> str:
    """Return a pair of modalities (reference, query) in words."""
    return f"{pair[0]} → {pair[1]}"


def pair_place(pair: Pair, modalities: Sequence[str]) -> int:
    """Return the number that decides a pair's colour and marker, the same in every figure of a model."""
    known = [*modalities, *(name for name in pair if name not in modalities)]
    return known.index(pair[0]) * len(modalities) + known.index(pair[1])


def data_name(dataset: Mapping[str, Any]) -> str:
    """Return the name of a data set, and whether it is simulated."""
    return f"{dataset['name']} {dataset.get('version', '')}".strip() + (
        " (SIMULATED data)" if dataset["simulated"] else " (real data)"
    )


def title_of(result: Result) -> str:
    """Return model and data set in one line."""
    return f"{result.embedder['name']} on {data_name(result.dataset)}"


def task_title(name: str) -> str:
    """Return the title of a task, or its name if none is registered under it."""
    from astroclip_bench.tasks.registry import all_tasks

    known = all_tasks()
    return known[name].title if name in known else name


def primary_scores(scores: Iterable[Score], task: str, metric: str | None = None) -> list[Score]:
    """Return the scores of a task on all test objects by its first metric and, of each pair, its first protocol.

    The protocols stand in the order of the task's data sheet; of a task that is not registered, in that of the rows.
    """
    rows = [score for score in scores if score.task == task and score.group == ALL]
    metric = metric or (rows[0].metric if rows else None)
    found: dict[Pair, Score] = {}
    for score in sorted((row for row in rows if row.metric == metric), key=lambda row: _order(row.task, row.protocol)):
        found.setdefault((score.reference, score.query), score)
    return list(found.values())


def _order(task: str, protocol: str) -> int:
    from astroclip_bench.tasks.registry import all_tasks

    known = all_tasks()
    protocols = known[task].protocols if task in known else ()
    return protocols.index(protocol) if protocol in protocols else len(protocols)


def number(value: float | None) -> str:
    """Return a value with three digits behind the point, four where it is small."""
    if value is None:
        return "–"
    return (f"{value:.4f}" if abs(value) < SMALL else f"{value:.3f}").replace("-", "−")


def with_interval(score: Score) -> str:
    """Return value and 95 % interval of a score."""
    if score.low is None or score.high is None:
        return number(score.value)
    return f"{number(score.value)} [{number(score.low)}, {number(score.high)}]"


def panels(figure: Figure, count: int, columns: int = PANELS_A_ROW, **options: Any) -> list[Any]:
    """Return `count` axes in rows of at most `columns`; what is left of the last row stays empty."""
    columns = min(columns, count)
    grid = figure.subplots(-(-count // columns), columns, squeeze=False, **options).ravel()
    for spare in grid[count:]:
        spare.set_axis_off()
    return list(grid[:count])


def rows_of(count: int, columns: int = PANELS_A_ROW) -> int:
    """Return how many rows `count` panels take."""
    return -(-count // min(columns, count))


def legend_below(figure: Figure, axes: Iterable[Any], columns: int = 4) -> None:
    """Put one legend of all panels below them."""
    entries = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)
