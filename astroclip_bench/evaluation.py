"""One evaluation, from an embedder and a data set to a result record.

The order is fixed: check the embedder, embed the splits (cached), score every task on every ordered modality pair, train
probes if the suite has any, have the model predict what it predicts itself, and note what the scores are worth. Nothing
else reads the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from astroclip_bench.environment import describe_environment
from astroclip_bench.errors import DataError, ResultError, TaskError
from astroclip_bench.files import digest_strings
from astroclip_bench.inputs import QUERY_SPLIT, SELECTION_SPLIT, Inputs, ShowProgress, silent, splits_of
from astroclip_bench.results.outcomes import (
    CellKey,
    Keep,
    digest_outcomes,
    discard,
    find_cells,
    write_outcomes,
)
from astroclip_bench.results.record import ALL, Result, Score
from astroclip_bench.score_cells import score_cells
from astroclip_bench.tasks.registry import all_tasks
from astroclip_bench.tasks.task import Task

if TYPE_CHECKING:
    from pathlib import Path

    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.embedders import Embedder
    from astroclip_bench.tasks.suites import Suite

DEFAULT_MODEL = "astroclip-mini"
DEFAULT_DATASET = "mock-mini"
DEFAULT_SUITE = "zero-shot"
FLOORS = ("random-projection", "photometry")
"""Built-in embedders whose scores stand beside every other score."""


def evaluate(
    embedder: Embedder,
    dataset: BenchDataset,
    *,
    tasks: Sequence[str] | None = None,
    suite: str = DEFAULT_SUITE,
    batch_size: int | Literal["auto"] = "auto",
    dtype: str = "float32",
    limit: int | None = None,
    floors: Sequence[str] = FLOORS,
    previous: Result | None = None,
    must_match: bool = False,
    outcomes: Path | str | None = None,
    previous_outcomes: Path | str | None = None,
    use_cache: bool = True,
    show_progress: ShowProgress = silent,
) -> Result:
    """Score an embedder on a data set.

    Parameters
    ----------
    embedder
        What is scored. It is checked by `check_embedder` first; a breach of the contract ends the evaluation.
    dataset
        From `open_dataset`. Its train split is the reference set, its test split the queries. Where it has no train
        split, retrieval is scored alone. The validation split, where there is one, decides how strongly trained probes
        are regularised.
    tasks
        Names of tasks; all of the suite by default. Without those of the default suite, the result is marked incomplete.
    suite
        Name in `astroclip_bench.tasks.suites.SUITES`: which tasks and protocols are run. A result of the default suite
        is complete; scores of others that `previous` holds are kept.
    limit
        Use this many objects of each split, chosen by hash of their ids; the result is marked incomplete.
    floors
        Names of built-in embedders scored beside it.
    previous, must_match
        An earlier result. If it is of the same embedder, data and options, its scores are kept and the missing ones
        computed; if not, it is ignored, or refused with `must_match`.
    outcomes
        File to write the outcomes of single objects to, which comparisons need: `outcomes_path` of where the result is
        written.
    previous_outcomes
        File with the outcomes of `previous`; `outcomes` if left out. What it holds is kept with the scores; what they
        belong to and it does not hold is scored again.
    use_cache
        Reuse embeddings from the cache, and keep new ones there.
    show_progress
        Called with what is being done; gives a context that takes (done, total).

    Returns
    -------
    Result
        With one row for each task, protocol, modality pair, metric and group.

    Raises
    ------
    EmbedderError
        If the embedder breaks its contract.
    DataError
        If the data set lacks a test split, or shares no modality with the embedder.
    TaskError
        If a task or the suite is unknown, or none of the tasks can be scored on the data set.
    ResultError
        If `previous` does not match and `must_match` is set.
    """
    from astroclip_bench.cells import reasons_against
    from astroclip_bench.embedders import check_embedder
    from astroclip_bench.embedders.cache import code_digest
    from astroclip_bench.tasks.bootstrap import REPLICATES, SEED
    from astroclip_bench.tasks.suites import get_suite

    protocols = get_suite(suite)
    chosen = protocols.tasks(tasks)
    inputs = Inputs(dataset, splits_of(dataset, limit), batch_size, dtype, use_cache, show_progress)
    if not any(embedder.info.takes(name) for name in dataset.modalities):
        raise DataError(
            f"{embedder.info.name} takes {', '.join(embedder.info.inputs)}; "
            f"{dataset.info.name} has {', '.join(dataset.modalities)}",
            "a modality in common",
        )
    result = Result(
        dataset=_describe_dataset(inputs),
        embedder=_plain(asdict(embedder.info)),
        scores=[],
        complete=False,
        options={
            "dtype": dtype,
            "limit": limit,
            "bootstrap_seed": SEED,
            "bootstrap_replicates": REPLICATES,
            "embedder_code": code_digest(embedder),
            "ridge_alpha": _alpha_sources(inputs),
        },
    )
    kept_floors: dict[str, list[Score]] = {}
    if previous is not None and _matches(previous, result, must_match):
        result.scores = _kept(previous.scores)
        kept_floors = {name: _kept(rows) for name, rows in previous.floors.items()}
    if previous is not None and result.scores:
        result.checks = previous.checks  # made on the same weights
    else:
        with inputs.timed("check"):
            result.checks = [asdict(check) for check in check_embedder(embedder, dataset).checks]
    earlier = previous_outcomes or outcomes
    stored = set() if previous is None or earlier is None else find_cells(earlier, previous)
    if outcomes is not None:
        result.scores = [score for score in result.scores if score.part != ALL or _key(score) in stored]
    result.not_applicable = reasons_against(chosen, embedder, inputs, protocols)
    if len(result.not_applicable) == len(chosen):
        reasons = "; ".join(f"{task}: {reason}" for task, reason in result.not_applicable.items())
        raise TaskError(f"no task can be scored on {dataset.info.name}: {reasons}")
    done = {(score.cell, score.part) for score in result.scores}
    with ExitStack() as stack:
        keep: Keep = discard
        if outcomes is not None:
            writer = stack.enter_context(write_outcomes(outcomes, inputs.queried))
            writer.copy(earlier or outcomes, stored & {_key(score) for score in result.scores})
            keep = writer.keep
        result.scores += score_cells(embedder, inputs, chosen, protocols, done, keep)
    result.outcomes = None if outcomes is None else digest_outcomes(outcomes)
    result.floors = _floors(floors, embedder, inputs, chosen, protocols)
    for name, rows in result.floors.items():
        again = {(row.cell, row.part) for row in rows}
        rows += [row for row in kept_floors.get(name, []) if (row.cell, row.part) not in again]
    with inputs.timed("score label noise"):
        result.ceilings = _ceilings(inputs, chosen)
    result.incomplete_because = _why_incomplete(result, chosen)
    result.complete = not result.incomplete_because
    result.environment = describe_environment()
    result.timings_seconds = {what: round(seconds, 3) for what, seconds in inputs.timings.items()}
    result.created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return result


def _alpha_sources(inputs: Inputs) -> dict[str, str]:
    """Return on what the strength of a ridge regression on all train labels is chosen, by target."""
    from astroclip_bench.tasks.fewshot import alpha_source

    numbers = {task.target for task in all_tasks().values() if task.probe == "regress"}
    labels = inputs.columns.get(SELECTION_SPLIT, {})
    return {name: alpha_source(labels.get(name)) for name in inputs.dataset.labels if name in numbers}


def _describe_dataset(inputs: Inputs) -> dict[str, Any]:
    dataset = inputs.dataset
    splits = {}
    for name, view in inputs.splits.items():
        digests = {
            label: digest_strings([str(value) for value in inputs.columns[name][label]]) for label in dataset.labels
        }
        splits[name] = {"rows": view.rows, "ids_digest": digest_strings(view.object_ids), "labels_digest": digests}
    return {
        "name": dataset.info.name,
        "version": dataset.info.version,
        "digest": dataset.digest,
        "simulated": dataset.info.simulated,
        "splits": splits,
    }


def _floors(
    names: Sequence[str], embedder: Embedder, inputs: Inputs, tasks: Sequence[Task], suite: Suite
) -> dict[str, list[Score]]:
    """Score the built-in floors that this data set allows, but for the embedder itself; on all objects alone."""
    from astroclip_bench.embedders import load_embedder

    ungrouped = [replace(task, groups=()) for task in tasks]
    floors = {}
    for name in names:
        floor = load_embedder(name)
        if floor.info.digest != embedder.info.digest and inputs.modalities(floor):
            floors[name] = score_cells(floor, inputs, ungrouped, suite)
    return floors


def _ceilings(inputs: Inputs, tasks: Sequence[Task]) -> list[Score]:
    """Score what the noise of the labels allows."""
    from astroclip_bench.tasks.ceiling import error_columns, score_ceilings

    wanted = [name for task in tasks if task.target is not None for name in error_columns(task.target)]
    view = inputs.splits[QUERY_SPLIT]
    errors = {name: view.column(name) for name in wanted if name in inputs.dataset.schema.names}
    return score_ceilings(tasks, {**inputs.columns[QUERY_SPLIT], **errors})


def _why_incomplete(result: Result, chosen: Sequence[Task]) -> list[str]:
    because = []
    if result.options["limit"] is not None:
        because.append(f"--limit {result.options['limit']}")
    unasked = [name for name, task in all_tasks().items() if task.core and task not in chosen]
    unasked = [name for name in unasked if not result.find(task=name)]
    if unasked:
        because.append(f"tasks not asked for: {', '.join(unasked)}")
    return because


def _matches(previous: Result, result: Result, must_match: bool) -> bool:
    """Whether the scores of an earlier result hold for this one."""
    different = [
        f"{what} {before!r} instead of {now!r}"
        for what, before, now in (
            ("data digest", previous.dataset["digest"], result.dataset["digest"]),
            ("model digest", previous.embedder["digest"], result.embedder["digest"]),
            ("preprocessing", previous.embedder["preprocessing"], result.embedder["preprocessing"]),
            *((f"option {name}", previous.options.get(name), value) for name, value in result.options.items()),
        )
        if before != now
    ]
    if different and must_match:
        raise ResultError(
            f"the earlier result has {different[0]}", todo="name another --out, or use --resume only-missing"
        )
    return not different


def _kept(scores: Sequence[Score]) -> list[Score]:
    """Return the scores whose task and protocol are still what they were."""
    from astroclip_bench.tasks.protocols import PROTOCOLS

    tasks = all_tasks()
    return [
        score
        for score in scores
        if score.task in tasks
        and score.task_version == tasks[score.task].version
        and score.protocol in PROTOCOLS
        and score.protocol_version == PROTOCOLS[score.protocol].version
    ]


def _key(score: Score) -> CellKey:
    return CellKey(score.task, score.protocol, score.reference, score.query)


def _plain(value: Any) -> Any:
    """Return a value with tuples turned to lists, as JSON reads them back."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
