"""The table that `evaluate` prints: primary metrics with intervals, beside chance and the floors."""

from __future__ import annotations

from collections.abc import Sequence

from astroclip_bench.results.record import ALL, Result, Score
from astroclip_bench.tasks.task import GROUPS

HEADLINE: tuple[tuple[str, str, str], ...] = (
    ("redshift", "knn16", "r2"),
    ("redshift", "direct", "r2"),
    ("redshift", "knn16", "sigma_nmad"),
    ("redshift", "direct", "sigma_nmad"),
    ("stellar-mass", "knn16", "r2"),
    ("stellar-mass", "direct", "r2"),
    ("age", "knn16", "r2"),
    ("age", "direct", "r2"),
    ("metallicity", "knn16", "r2"),
    ("metallicity", "direct", "r2"),
    ("ssfr", "knn16", "r2"),
    ("ssfr", "direct", "r2"),
    ("retrieval", "cosine", "recall@1"),
    ("retrieval", "cosine", "recall@10"),
    ("retrieval", "cosine", "median_rank_fraction"),
)
"""Task, protocol and metric of the rows shown first; tasks that are not named here follow with their first metric."""


def headline_scores(result: Result) -> list[Score]:
    """Return the scores of the printed table, in its order."""
    shown: list[Score] = []
    for task, protocol, metric in HEADLINE:
        shown += result.find(task=task, protocol=protocol, metric=metric, group=ALL)
    named = {task for task, _, _ in HEADLINE}
    first: dict[str, tuple[str, str]] = {}
    for score in result.scores:
        if score.task not in named and score.group == ALL:
            protocol, metric = first.setdefault(score.task, (score.protocol, score.metric))
            if (score.protocol, score.metric) == (protocol, metric):
                shown.append(score)
    return shown


def render(result: Result, tablefmt: str = "simple") -> str:
    """Return the table of a result as text, with a heading that names the data set and whether it is simulated."""
    from tabulate import tabulate

    headers = ["task", "metric", "reference -> query", "score", "95 % interval", "chance"]
    headers += [*result.floors, "worst group"]
    rows = []
    for score in headline_scores(result):
        row = [score.task, score.metric, _pair(score), _number(score.value), _interval(score), _number(score.chance)]
        row += [_number(_floor(floor, score)) for floor in result.floors.values()]
        rows.append([*row, _worst(result, score)])
    table = tabulate(rows, headers=headers, tablefmt=tablefmt, disable_numparse=True)
    return "\n".join([heading(result), "", table, "", *_notes(result)])


def heading(result: Result) -> str:
    """Return one line that says what was scored on what."""
    data, model = result.dataset, result.embedder
    kind = "SIMULATED data" if data["simulated"] else "real data"
    size = " / ".join(f"{data['splits'][name]['rows']:,} {name}" for name in ("train", "test"))
    return f"{model['name']} ({model['dimension']}-d) on {data['name']} {data['version']} ({kind}; {size})"


def _notes(result: Result) -> list[str]:
    notes = [
        "Zero-shot scores by knn16 (reference: train split, query: test split), retrieval among the test split by "
        f"cosine.{_lower_is_better(result)}",
        "Intervals: 1,000 bootstrap replicates over HEALPix pixels. Chance: the mean label, or random order. "
        + (f"Floors on the same data: {', '.join(result.floors)}." if result.floors else "Floors were not scored."),
    ]
    if any(_is_prediction(score) for score in result.scores):
        notes.append("Direct: what the model itself predicts from a modality; no neighbours, no reference.")
    notes += [f"Not applicable: {task} ({reason})." for task, reason in result.not_applicable.items()]
    if not result.complete:
        notes.append(f"INCOMPLETE, not for submission: {'; '.join(result.incomplete_because)}.")
    return notes


def _pair(score: Score) -> str:
    return f"{score.query}, direct" if _is_prediction(score) else f"{score.reference} -> {score.query}"


def _is_prediction(score: Score) -> bool:
    from astroclip_bench.tasks.protocols import get_protocol

    return get_protocol(score.protocol).uses == "predictions"


def _floor(rows: Sequence[Score], score: Score) -> float | None:
    """Return a floor's score of the same cell; of its only modality where it has just one (photometry)."""
    same = [row for row in rows if (row.task, row.protocol, row.metric) == (score.task, score.protocol, score.metric)]
    same = [row for row in same if row.group == ALL]
    exact = [row for row in same if (row.reference, row.query) == (score.reference, score.query)]
    modalities = {name for row in same for name in (row.reference, row.query)}
    chosen = exact or (same if len(modalities) == 1 else [])
    return chosen[0].value if chosen else None


def _worst(result: Result, score: Score) -> str:
    """Return the group of the test split in which the score is worst (bins of the target left out), and its value."""
    cell = [row for row in result.scores if row.cell == score.cell and row.metric == score.metric]
    groups = [(row.value, row.group) for row in cell if row.group != ALL and row.value is not None]
    # Within a bin of the target itself there is no spread left to explain.
    # A pool of retrieval is no group of objects.
    names = set(GROUPS) - {score.target}
    groups = [(value, group) for value, group in groups if group.partition(":")[0] in names]
    if not groups:
        return ""
    value, group = max(groups) if _direction(score.metric) == "lower" else min(groups)
    return f"{_number(value)} ({group.partition(':')[2]})"


def _direction(metric: str) -> str:
    from astroclip_bench.tasks.metrics import METRICS
    from astroclip_bench.tasks.retrieval import direction_of

    return METRICS[metric].direction if metric in METRICS else direction_of(metric)


def _lower_is_better(result: Result) -> str:
    """Return a sentence that names the metrics of the table of which less is better, if there are any."""
    shown = dict.fromkeys(score.metric for score in headline_scores(result))
    lower = [metric for metric in shown if _direction(metric) == "lower"]
    return f" Lower is better for {' and '.join(lower)}." if lower else ""


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


def _interval(score: Score) -> str:
    if score.low is None or score.high is None:
        return "-"
    return f"[{_number(score.low)}, {_number(score.high)}]"
