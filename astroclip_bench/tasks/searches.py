"""Searches among the test objects put together: from embeddings and a task's declaration to score rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import TaskError
from astroclip_bench.results.outcomes import CellKey, Keep, discard
from astroclip_bench.results.record import ALL, Score
from astroclip_bench.tasks import inmodal, lookalikes, retrieval
from astroclip_bench.tasks.bootstrap import MINIMUM_OBJECTS, bootstrap
from astroclip_bench.tasks.labels import label_of
from astroclip_bench.tasks.protocols import get_protocol, scale
from astroclip_bench.tasks.rows import Side, group_masks, score_rows, spread
from astroclip_bench.tasks.task import Task

RankCounts = dict[tuple[str, str, str], tuple[NDArray[np.int64], retrieval.Counts]]
"""(group, query modality, reference modality) -> rows of the queries, and where their own pairs stand."""


def direction_of(metric: str) -> Literal["higher", "lower"]:
    """Return whether more or less of a score of a search is better."""
    return inmodal.direction_of(metric) if metric in inmodal.score_names() else retrieval.direction_of(metric)


def score_ranks(task: Task, protocol: str, test: Side, reference: Side, known: RankCounts, keep: Keep) -> list[Score]:
    """Score the search for each test object among all of them, and among pools of `retrieval.POOL_SIZE`.

    Where a modality is shared by several objects, that is among all that do not share it: see `retrieval.dealt`.
    """
    things = _things(test, reference)
    n = len(test.object_ids) if things is None else len(retrieval.first_of_each(things))
    rows: list[Score] = []
    _check_metrics(task, retrieval.score_names())
    pair = (reference.modality, test.modality)
    for group, size in ((ALL, n), (f"pool:{retrieval.POOL_SIZE}", retrieval.POOL_SIZE)):
        if size > n or (group != ALL and size == n):
            continue
        if (group, test.modality, reference.modality) not in known:
            known |= _rank_counts(group, retrieval.dealt(test.object_ids, things, size), test, reference)
        members, counts = known[group, test.modality, reference.modality]
        if group == ALL:
            kept = retrieval.outcomes(counts.take(np.argsort(members)), size)
            keep(CellKey(task.name, protocol, *pair), kept)
        estimates = bootstrap(retrieval.statistics(task.metrics, counts, size), test.pixels[members])
        rows += score_rows(task, protocol, pair, {group: estimates}, {group: retrieval.random_floor(size)})
    return rows


def _things(test: Side, reference: Side) -> NDArray[Any] | None:
    """Return by what objects share a view of a pair of modalities, (n,); None where each has its own."""
    name = reference.shared_by or test.shared_by
    return test.columns[name] if name else None


def _rank_counts(group: str, pools: Sequence[retrieval.Pool], test: Side, reference: Side) -> RankCounts:
    """Return the counts of every query of every pool in both directions, which share one matrix product a pool."""
    scaled = scale(reference.vectors, test.vectors, get_protocol("cosine"))
    found = [retrieval.retrieval_counts(scaled[1][pool.members], scaled[0][pool.members]) for pool in pools]
    counted = np.concatenate([pool.counted for pool in pools])
    members = np.concatenate([pool.members for pool in pools])[counted]
    forward, backward = (
        retrieval.Counts(
            np.concatenate([counts.greater for counts in direction])[counted],
            np.concatenate([counts.ties for counts in direction])[counted],
        )
        for direction in ([one.forward for one in found], [one.backward for one in found])
    )
    return {
        (group, test.modality, reference.modality): (members, forward),
        (group, reference.modality, test.modality): (members, backward),
    }


def score_lookalikes(task: Task, protocol: str, test: Side, reference: Side, keep: Keep = discard) -> list[Score]:
    """Score the search for each test object among those most like it."""
    _check_metrics(task, retrieval.score_names())
    known = lookalikes.has_all(test.columns, task.matched)
    things = _things(test, reference)
    if things is not None:  # one object of each: no right answer may be a rival
        rows = np.flatnonzero(known)
        known = np.isin(np.arange(len(known)), rows[retrieval.first_of_each(things[rows])])
    columns = {name: test.columns[name][known] for name in task.matched}
    scaled = scale(reference.vectors[known], test.vectors[known], get_protocol(protocol))
    pools = lookalikes.lookalike_pools(columns, task.matched)
    counts = lookalikes.lookalike_counts(scaled[1], scaled[0], pools)
    pair = (reference.modality, test.modality)
    kept = retrieval.outcomes(counts, pools.shape[1])
    keep(CellKey(task.name, protocol, *pair), {name: spread(values, known) for name, values in kept.items()})
    scores = retrieval.query_scores(counts, pools.shape[1])
    floor = retrieval.random_floor(pools.shape[1])
    chance = {name: np.full(len(pools), floor[name]) for name in task.metrics}
    return _score_queries(task, protocol, pair, scores, chance, test, known)


def score_neighbours(task: Task, protocol: str, test: Side, keep: Keep = discard) -> list[Score]:
    """Score what the nearest other test objects have in common with each."""
    _check_metrics(task, inmodal.score_names())
    label = label_of(task, test.columns)
    known = np.isfinite(label)
    vectors = scale(test.vectors[known], test.vectors[known], get_protocol(protocol))[0]
    scores = inmodal.neighbour_scores(vectors, label[known], task.metrics)
    chance = inmodal.random_floor(label[known], task.metrics)
    pair = (test.modality, test.modality)
    kept = {inmodal.outcome_of(name): spread(values, known) for name, values in scores.items()}
    keep(CellKey(task.name, protocol, *pair), kept)
    return _score_queries(task, protocol, pair, scores, chance, test, known)


def _score_queries(
    task: Task,
    protocol: str,
    pair: tuple[str, str],
    scores: Mapping[str, NDArray[np.float64]],
    chance: Mapping[str, NDArray[np.float64]],
    test: Side,
    known: NDArray[np.bool_],
) -> list[Score]:
    """Return the rows of scores that every query has, on the `known` test objects and on their groups."""
    masks = {ALL: np.ones(int(known.sum()), bool), **group_masks(task, test.columns, known)}
    masks = {group: mask for group, mask in masks.items() if mask.sum() >= MINIMUM_OBJECTS}
    pixels = test.pixels[known]
    estimates = {
        group: bootstrap({name: retrieval.statistic(name, scores[name][mask]) for name in task.metrics}, pixels[mask])
        for group, mask in masks.items()
    }
    expected = {group: {name: float(chance[name][mask].mean()) for name in chance} for group, mask in masks.items()}
    return score_rows(task, protocol, pair, estimates, expected)


def _check_metrics(task: Task, known: Collection[str]) -> None:
    unknown = [name for name in task.metrics if name not in known]
    if unknown:
        raise TaskError(f"there is no metric {unknown[0]!r} of a search", f"some of {', '.join(known)}")
