"""Scores of what a training made: every stage's model by the harness, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from astroclip_bench.files import atomic_path
from astroclip_bench.progress import Progress

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.results.record import Result, Score

RESULT = "result.json"
COMPARED = (
    ("redshift", "r2"),
    ("stellar-mass", "r2"),
    ("retrieval", "recall@10"),
)
"""Tasks and metrics, by the primary protocol and by what a model itself predicts, of the table of stages."""


def score_model(
    model: Path,
    dataset: BenchDataset,
    out: Path,
    *,
    device: str = "cpu",
    show_progress: Callable[[str], AbstractContextManager[Progress]],
    floors: bool = True,
    outcomes: bool = False,
) -> Result:
    """Score a model file and write the result to `out`; scores that a result there holds already are kept.

    Parameters
    ----------
    outcomes
        Write those of single objects beside the result, which figures of predictions are drawn from.
    """
    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.evaluation import FLOORS, evaluate
    from astroclip_bench.results.outcomes import outcomes_path
    from astroclip_bench.results.record import read_result, write_result

    beside = outcomes_path(out)
    with atomic_path(beside) if outcomes else nullcontext() as kept:
        result = evaluate(
            load_embedder(str(model), device=device),
            dataset,
            floors=FLOORS if floors else (),
            previous=read_result(out) if out.exists() else None,
            outcomes=kept,
            previous_outcomes=beside if outcomes else None,
            show_progress=show_progress,
        )
        write_result(result, out)
    return result


def stage_table(results: Mapping[str, Result]) -> str:
    """Return a table with a row for each score of `COMPARED` and a column for each stage, intervals beside the values."""
    from tabulate import tabulate

    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for stage, result in results.items():
        for score in compared_scores(result):
            rows.setdefault((score.task, score.metric, pair_name(score)), {})[stage] = _with_interval(score)
    order = [task for task, _ in COMPARED]
    cells = [
        [*row, *(values.get(stage, "-") for stage in results)]
        for row, values in sorted(rows.items(), key=lambda item: (order.index(item[0][0]), item[0][2]))
    ]
    return tabulate(cells, headers=["task", "metric", "reference -> query", *results], disable_numparse=True)


def compared_scores(result: Result) -> list[Score]:
    """Return the scores of a result that `COMPARED` names, on all test objects."""
    from astroclip_bench.results.record import ALL
    from astroclip_bench.tasks.protocols import PROTOCOLS
    from astroclip_bench.tasks.registry import all_tasks

    tasks = all_tasks()
    found: list[Score] = []
    for task, metric in COMPARED:
        wanted = {tasks[task].protocols[0]} | {name for name in PROTOCOLS if PROTOCOLS[name].uses == "predictions"}
        found += [score for score in result.find(task=task, metric=metric, group=ALL) if score.protocol in wanted]
    return found


def pair_name(score: Score) -> str:
    """Return in words what a score was made from."""
    from astroclip_bench.tasks.protocols import get_protocol

    if get_protocol(score.protocol).uses == "predictions":
        return f"{score.query}, {score.protocol}"
    return f"{score.reference} -> {score.query}"


def _with_interval(score: Score) -> str:
    value = "-" if score.value is None else f"{score.value:.3f}"
    return value if score.low is None or score.high is None else f"{value} [{score.low:.3f}, {score.high:.3f}]"
