"""From embeddings or predictions and labels to score rows: the one place where task declarations meet probes and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import TaskError
from astroclip_bench.results.outcomes import CellKey, Columns, Keep, discard
from astroclip_bench.results.record import ALL, Score
from astroclip_bench.tasks import retrieval
from astroclip_bench.tasks.bootstrap import Estimate, bootstrap
from astroclip_bench.tasks.metrics import Sample, get_metrics, score, score_groups, seed_spread
from astroclip_bench.tasks.probes import Prediction, knn_regress
from astroclip_bench.tasks.protocols import get_protocol, scale
from astroclip_bench.tasks.task import GROUPS, Grouping, Task


@dataclass(frozen=True)
class Side:
    """The objects of one split seen in one modality: embeddings (n, d), ids, and columns of the data set, each (n,)."""

    modality: str
    vectors: NDArray[np.float32]
    object_ids: list[str]
    columns: Mapping[str, NDArray[Any]]

    @property
    def pixels(self) -> NDArray[np.int64]:
        """HEALPix pixel of each object: what the bootstrap resamples."""
        return self.columns["healpix"]


RankCounts = dict[tuple[str, str, str], tuple[NDArray[np.int64], retrieval.Counts]]
"""(group, query modality, reference modality) -> rows of the queries, and where their own pairs stand."""


def score_pair(
    asked: Sequence[tuple[Task, str]],
    train: Side,
    test: Side,
    test_as_reference: Side,
    known: RankCounts,
    keep: Keep = discard,
) -> list[Score]:
    """Score tasks by protocols on one pair of modalities.

    Parameters
    ----------
    asked
        (task, name of a protocol).
    train
        Reference set of the probes, in the reference modality.
    test
        Queries, in the query modality.
    test_as_reference
        The test objects in the reference modality: what retrieval searches.
    known
        Ranks of pairs of modalities seen before; both directions of this one are added.
    keep
        Takes the outcomes of single objects.
    """
    scores: list[Score] = []
    for protocol in dict.fromkeys(name for _, name in asked):
        tasks = [task for task, name in asked if name == protocol]
        knn = [task for task in tasks if task.probe == "knn"]
        if knn:
            scores += _score_knn(knn, protocol, train, test, keep)
        for task in tasks:
            if task.probe == "ranks":
                scores += _score_ranks(task, protocol, test, test_as_reference, known, keep)
    return scores


def _score_knn(tasks: Sequence[Task], protocol: str, train: Side, test: Side, keep: Keep) -> list[Score]:
    """Search the neighbours once, and let them vote on the target of every task."""
    labels = np.stack([train.columns[target_of(task)] for task in tasks], axis=1)
    prediction = knn_regress(train.vectors, labels, test.vectors, get_protocol(protocol))
    scores: list[Score] = []
    for place, task in enumerate(tasks):
        known = np.isfinite(test.columns[target_of(task)])
        sample = _sample(task, place, prediction, labels[:, place], test, known)
        pair = (train.modality, test.modality)
        train_label = labels[:, place]
        scores += score_samples(
            task, protocol, pair, task.metrics, [sample], train_label, test.columns, known, keep=keep
        )
    return scores


def score_prediction(
    task: Task,
    protocol: str,
    modality: str,
    prediction: NDArray[np.floating],
    train: Mapping[str, NDArray[Any]],
    test: Mapping[str, NDArray[Any]],
    keep: Keep = discard,
) -> list[Score]:
    """Score what a model itself predicts from a modality.

    A single number is no distribution: metrics that need one are left out.

    Parameters
    ----------
    prediction
        For each test object, in the unit of the task's target, (n,).
    train, test
        Columns of the two splits; of the first, the labels alone are used, for what chance gives.
    """
    known = np.isfinite(test[target_of(task)])
    sample = Sample(test[target_of(task)][known], prediction[known].astype(np.float64))
    pair, train_label = (modality, modality), train[target_of(task)]
    return score_samples(task, protocol, pair, point_metrics(task), [sample], train_label, test, known, keep=keep)


def score_samples(
    task: Task,
    protocol: str,
    pair: tuple[str, str],
    metrics: Sequence[str],
    samples: Sequence[Sample],
    train_label: NDArray[Any],
    test: Mapping[str, NDArray[Any]],
    known: NDArray[np.bool_],
    part: str = ALL,
    keep: Keep = discard,
) -> list[Score]:
    """Return the rows of a task's metrics on the `known` test objects and on its groups.

    Parameters
    ----------
    samples
        What each of the seeds of a probe predicts, of the same objects. A score is the mean over them; where there
        are several, their standard deviation follows as a row of its own.
    part
        The group that all test objects form; those of the task are scored, and outcomes kept, if it is `ALL`.
    keep
        Takes the outcomes of single objects.
    """
    pixels = test["healpix"][known]
    estimates = {part: score(metrics, samples, pixels)}
    if len(samples) > 1:
        estimates[part] |= seed_spread(metrics, samples)
    if part == ALL:
        estimates |= score_groups(metrics, samples, pixels, group_masks(task, test, known))
        for seed, sample in enumerate(samples):
            keep(CellKey(task.name, protocol, *pair), _outcomes(sample, test[target_of(task)], known), seed)
    return _rows(task, protocol, pair, estimates, {part: _chance(task, train_label, samples[0])})


def target_of(task: Task) -> str:
    """Return the label that a task predicts; it must have one."""
    assert task.target is not None
    return task.target


def _sample(
    task: Task, place: int, prediction: Prediction, train_label: NDArray[Any], test: Side, known: NDArray[np.bool_]
) -> Sample:
    needs_distribution = any(metric.needs_distribution for metric in get_metrics(task.metrics))
    return Sample(
        test.columns[target_of(task)][known],
        prediction.values[known, place],
        train_label[prediction.neighbours[place][known]] if needs_distribution else None,
        prediction.weights[place][known] if needs_distribution else None,
    )


def _outcomes(sample: Sample, label: NDArray[Any], known: NDArray[np.bool_]) -> Columns:
    """Return what is kept of a prediction: columns over all test objects, NaN where the label is not known."""
    found = {"prediction": sample.prediction}
    if sample.neighbour_labels is not None:
        found |= {"pit": sample.pit, "crps": sample.crps}
    columns = {"label": label}
    for name, values in found.items():
        columns[name] = np.full(len(label), np.nan)
        columns[name][known] = values
    return columns


def _chance(task: Task, train_label: NDArray[Any], sample: Sample) -> dict[str, float | None]:
    """Return what the mean of the reference labels scores, predicted for every object; nothing without labels."""
    if np.isnan(train_label).all():
        return {}
    mean = np.full(len(sample.label), np.nanmean(train_label))
    everywhere_one_cluster = np.zeros(len(sample.label), np.int64)
    estimates = score(point_metrics(task), Sample(sample.label, mean), everywhere_one_cluster)
    return {name: estimate.value for name, estimate in estimates.items()}


def point_metrics(task: Task) -> list[str]:
    """Return the metrics of a task that a single number an object is enough for."""
    return [metric.name for metric in get_metrics(task.metrics) if not metric.needs_distribution]


def _score_ranks(task: Task, protocol: str, test: Side, reference: Side, known: RankCounts, keep: Keep) -> list[Score]:
    """Score the search for each test object among all of them, and among pools of `retrieval.POOL_SIZE`."""
    n = len(test.object_ids)
    rows: list[Score] = []
    unknown = [name for name in task.metrics if name not in retrieval.score_names()]
    if unknown:
        raise TaskError(f"there is no retrieval metric {unknown[0]!r}", f"some of {', '.join(retrieval.score_names())}")
    pair = (reference.modality, test.modality)
    for group, size in ((ALL, n), (f"pool:{retrieval.POOL_SIZE}", retrieval.POOL_SIZE)):
        if size > n or (group != ALL and size == n):
            continue
        if (group, test.modality, reference.modality) not in known:
            known |= _rank_counts(group, retrieval.pools(test.object_ids, size), test, reference)
        members, counts = known[group, test.modality, reference.modality]
        if group == ALL:
            keep(CellKey(task.name, protocol, *pair), retrieval.outcomes(counts, size))
        estimates = bootstrap(retrieval.statistics(task.metrics, counts, size), test.pixels[members])
        rows += _rows(task, protocol, pair, {group: estimates}, {group: retrieval.random_floor(size)})
    return rows


def _rank_counts(group: str, pools: Sequence[NDArray[np.int64]], test: Side, reference: Side) -> RankCounts:
    """Return the counts of every query of every pool in both directions, which share one matrix product a pool."""
    scaled = scale(reference.vectors, test.vectors, get_protocol("cosine"))
    found = [retrieval.retrieval_counts(scaled[1][pool], scaled[0][pool]) for pool in pools]
    members = np.concatenate(pools)
    forward, backward = (
        retrieval.Counts(
            np.concatenate([counts.greater for counts in direction]),
            np.concatenate([counts.ties for counts in direction]),
        )
        for direction in ([one.forward for one in found], [one.backward for one in found])
    )
    return {
        (group, test.modality, reference.modality): (members, forward),
        (group, reference.modality, test.modality): (members, backward),
    }


def _rows(
    task: Task,
    protocol: str,
    pair: tuple[str, str],
    estimates: Mapping[str, Mapping[str, Estimate]],
    chance: Mapping[str, Mapping[str, float | None]],
) -> list[Score]:
    return [
        Score(
            task=task.name,
            task_version=task.version,
            protocol=protocol,
            protocol_version=get_protocol(protocol).version,
            reference=pair[0],
            query=pair[1],
            target=task.target,
            metric=metric,
            group=group,
            value=estimate.value,
            standard_error=estimate.standard_error,
            low=estimate.low,
            high=estimate.high,
            n=estimate.n,
            chance=chance.get(group, {}).get(metric),
        )
        for group, by_metric in estimates.items()
        for metric, estimate in by_metric.items()
    ]


def group_masks(
    task: Task, columns: Mapping[str, NDArray[Any]], known: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    """Return the masks, over the `known` objects, of the task's groups that hold any, by name ``grouping:bin``."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for name in task.groups:
        grouping = GROUPS[name]
        if grouping.column in columns:
            bins = _bins(grouping, columns[grouping.column][known])
            masks |= {f"{name}:{label}": mask for label, mask in bins.items() if mask.any()}
    return masks


def _bins(grouping: Grouping, values: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
    if not grouping.edges:
        return {str(value): values == value for value in sorted({value for value in values if value is not None})}
    edges = zip(grouping.edges[:-1], grouping.edges[1:], strict=True)
    return dict(zip(grouping.labels(), [(values >= low) & (values < high) for low, high in edges], strict=True))
