"""The table that `evaluate` prints: primary metrics with intervals, beside chance and the floors."""

from __future__ import annotations

from collections.abc import Sequence

from astroclip_bench.results.kept import direction_of
from astroclip_bench.results.record import ALL, LABELS, Result, Score
from astroclip_bench.tasks.task import GROUPS

_PREDICTING = ("knn16", "linear", "mlp", "direct")
HEADLINE: tuple[tuple[str, str, str], ...] = (
    *(("redshift", protocol, "r2") for protocol in _PREDICTING),
    ("redshift", "knn16", "sigma_nmad"),
    ("redshift", "direct", "sigma_nmad"),
    *((task, protocol, "r2") for task in ("stellar-mass", "age", "metallicity", "ssfr") for protocol in _PREDICTING),
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
    others = [score for score in result.scores if score.task not in named and score.group == ALL]
    for task in dict.fromkeys(score.task for score in others):
        rows = [score for score in others if score.task == task]
        shown += [row for row in rows if (row.protocol, row.metric) == (rows[0].protocol, rows[0].metric)]
    return shown


def render(result: Result, tablefmt: str = "simple") -> str:
    """Return the table of a result as text, with a heading that names the data set and whether it is simulated."""
    from tabulate import tabulate

    headers, rows = score_table(result, headline_scores(result))
    table = tabulate(rows, headers=headers, tablefmt=tablefmt, disable_numparse=True)
    return "\n".join([heading(result), "", table, "", *notes(result), *_curves(result, tablefmt)])


def score_table(result: Result, scores: Sequence[Score]) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows of a table of some scores of a result, beside its floors and the worst group."""
    headers = ["task", "metric", "reference -> query", "score", "95 % interval", "chance"]
    headers += [*result.floors, *(["ceiling"] if result.ceilings else []), "worst group"]
    rows = []
    for score in scores:
        row = [score.task, score.metric, _pair(score), _number(score.value), _interval(score), _number(score.chance)]
        row += [_number(_floor(floor, score)) for floor in result.floors.values()]
        row += [_number(_ceiling(result, score))] if result.ceilings else []
        rows.append([*row, _worst(result, score)])
    return headers, rows


def _curves(result: Result, tablefmt: str) -> list[str]:
    """Return the table of R^2 of redshift against the number of labels that a probe is given, if there is one."""
    from tabulate import tabulate

    task, metric = HEADLINE[0][0], HEADLINE[0][2]
    scores = [score for score in result.find(task=task, metric=metric) if score.protocol in _PREDICTING]
    counts = sorted({int(score.part.removeprefix(LABELS)) for score in scores if score.part != ALL})
    groups = [*(f"{LABELS}{count}" for count in counts), ALL]
    curves: dict[tuple[str, str, str], dict[str, Score]] = {}
    for score in sorted(scores, key=lambda score: _PREDICTING.index(score.protocol)):
        if score.group in groups:
            curves.setdefault((score.protocol, score.reference, score.query), {})[score.group] = score
    rows = [
        [
            protocol,
            f"{reference} -> {query}",
            *(_number(curve[group].value) if group in curve else "-" for group in groups),
        ]
        for (protocol, reference, query), curve in curves.items()
        if len(curve) > 1
    ]
    if not rows:
        return []
    headers = ["protocol", "reference -> query", *(f"{count:,} labels" for count in counts), "all labels"]
    note = f"{metric} of {task} against the number of train labels (mean over three draws of them):"
    return ["", note, "", tabulate(rows, headers=headers, tablefmt=tablefmt, disable_numparse=True)]


def heading(result: Result) -> str:
    """Return one line that says what was scored on what."""
    data, model = result.dataset, result.embedder
    kind = "SIMULATED data" if data["simulated"] else "real data"
    size = " / ".join(f"{data['splits'][name]['rows']:,} {name}" for name in ("train", "test"))
    return f"{model['name']} ({model['dimension']}-d) on {data['name']} {data['version']} ({kind}; {size})"


def notes(result: Result) -> list[str]:
    """Return what must be known to read the table, a sentence or two each."""
    notes = [
        "Zero-shot scores by knn16 (reference: train split, query: test split), retrieval among the test split by "
        f"cosine.{_lower_is_better(result)}",
        "Intervals: 1,000 bootstrap replicates over HEALPix pixels. Chance: the mean label, the most frequent answer, or "
        "random order. "
        + (f"Floors on the same data: {', '.join(result.floors)}." if result.floors else "Floors were not scored."),
    ]
    if result.ceilings:
        notes.append("Ceiling: what a model would score that knew the truth behind the noisy labels.")
    if any(_is_trained(score) for score in result.scores):
        notes.append(
            "Linear, mlp: a ridge regression and AstroCLIP's network (mean over three seeds) trained on the reference "
            "embeddings; the interval is that of the test sky, for the probes as they are."
        )
    if any(_is_prediction(score) for score in result.scores):
        notes.append("Direct: what the model itself predicts from a modality; no neighbours, no reference.")
    notes += [f"Not applicable: {task} ({reason})." for task, reason in result.not_applicable.items()]
    if not result.complete:
        notes.append(f"INCOMPLETE, not for submission: {'; '.join(result.incomplete_because)}.")
    return notes


def _pair(score: Score) -> str:
    if _is_prediction(score):
        return f"{score.query}, direct"
    return f"{score.reference} -> {score.query}{f', {score.protocol}' if _is_trained(score) else ''}"


def _is_trained(score: Score) -> bool:
    from astroclip_bench.tasks.protocols import get_protocol

    return get_protocol(score.protocol).fits is not None


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


def _ceiling(result: Result, score: Score) -> float | None:
    ceiling = result.ceiling_of(score)
    return None if ceiling is None else ceiling.value


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
    value, group = max(groups) if direction_of(score.metric) == "lower" else min(groups)
    return f"{_number(value)} ({group.partition(':')[2]})"


def _lower_is_better(result: Result) -> str:
    """Return a sentence that names the metrics of the table of which less is better, if there are any."""
    shown = dict.fromkeys(score.metric for score in headline_scores(result))
    lower = [metric for metric in shown if direction_of(metric) == "lower"]
    return f" Lower is better for {' and '.join(lower)}." if lower else ""


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


def _interval(score: Score) -> str:
    if score.low is None or score.high is None:
        return "-"
    return f"[{_number(score.low)}, {_number(score.high)}]"
