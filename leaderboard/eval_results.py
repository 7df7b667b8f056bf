"""The entries that a model's own repository on the Hub shows its scores by: ``.eval_results/NAME.yaml``.

Format: https://huggingface.co/docs/hub/eval-results. The task ids are those of the data set's ``eval.yaml``.
"""

from __future__ import annotations

import re
from pathlib import Path

from astroclip_bench.files import atomic_path
from astroclip_bench.results.record import ALL, Result, Score
from leaderboard.texts import dump_yaml

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Say whether a name is that of a repository on the Hub, and no folder."""
    return bool(_HUB_ID.fullmatch(name)) and not Path(name).exists()


def write_eval_results(path: Path, result: Result, repository: str, source: str | None = None) -> Path:
    """Write the file of `eval_results`, atomically, and return its path."""
    text = eval_results(result, repository, source)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def primary_scores(result: Result) -> list[Score]:
    """Return the primary metric by the primary protocol, on all test objects, of every task and pair of modalities."""
    from astroclip_bench.tasks.registry import all_tasks

    found = []
    for task in all_tasks().values():
        first = {"task": task.name, "metric": task.metrics[0], "group": ALL}
        by_protocol = [result.find(**first, protocol=protocol) for protocol in task.protocols]
        found += next((scores for scores in by_protocol if scores), [])
    return found


def eval_results(result: Result, repository: str, source: str | None = None) -> str:
    """Return the YAML of the entries.

    Parameters
    ----------
    repository
        Of the data set on the Hub, ``org/name``.
    source
        Address that the entries point to: of the submission, where it is known.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    kind = "SIMULATED data; " if result.dataset["simulated"] else ""
    entries = [
        EvalResultEntry(
            dataset_id=repository,
            task_id=score.task,
            value=round(score.value, 6),
            date=result.created,
            source_url=source,
            source_name="astroclip-bench" if source else None,
            notes=f"{kind}{score.metric}, {score.protocol}, {score.reference} to {score.query}{_interval(score)}; "
            f"{result.dataset['name']} {result.dataset['version']}, data digest {result.dataset['digest']}",
        )
        for score in primary_scores(result)
        if score.value is not None
    ]
    return dump_yaml(eval_result_entries_to_yaml(entries))


def _interval(score: Score) -> str:
    if score.low is None or score.high is None:
        return ""
    return f", 95 % interval {score.low:.4f} to {score.high:.4f}"
