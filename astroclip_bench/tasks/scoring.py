"""From embeddings or predictions and labels to score rows: the one place where task declarations meet probes and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.results.outcomes import CellKey, Columns, Keep, discard
from astroclip_bench.results.record import ALL, Score
from astroclip_bench.tasks import classification
from astroclip_bench.tasks.labels import label_of
from astroclip_bench.tasks.metrics import Sample, get_metrics, score, score_groups, seed_spread
from astroclip_bench.tasks.probes import Prediction, knn_regress
from astroclip_bench.tasks.protocols import get_protocol, scale
from astroclip_bench.tasks.rows import Side, group_masks, score_rows, spread
from astroclip_bench.tasks.searches import RankCounts, score_lookalikes, score_neighbours, score_ranks
from astroclip_bench.tasks.task import Task


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
        numbers = [task for task in tasks if task.probe == "regress"]
        if numbers:
            scores += _score_knn(numbers, protocol, train, test, keep)
        for task in tasks:
            if task.probe == "classify":
                scores += _score_votes(task, protocol, train, test, keep)
            if task.probe == "ranks" and not task.matched:
                scores += score_ranks(task, protocol, test, test_as_reference, known, keep)
            if task.probe == "ranks" and task.matched:
                scores += score_lookalikes(task, protocol, test, test_as_reference, keep)
            if task.probe == "agree":
                scores += score_neighbours(task, protocol, test, keep)
    return scores


def _score_knn(tasks: Sequence[Task], protocol: str, train: Side, test: Side, keep: Keep) -> list[Score]:
    """Search the neighbours once, and let them vote on the target of every task."""
    labels = np.stack([label_of(task, train.columns) for task in tasks], axis=1)
    prediction = knn_regress(train.vectors, labels, test.vectors, get_protocol(protocol))
    scores: list[Score] = []
    for place, task in enumerate(tasks):
        known = np.isfinite(label_of(task, test.columns))
        sample = _sample(task, place, prediction, labels[:, place], test, known)
        pair = (train.modality, test.modality)
        train_label = labels[:, place]
        scores += score_samples(
            task, protocol, pair, task.metrics, [sample], train_label, test.columns, known, keep=keep
        )
    return scores


def _score_votes(task: Task, protocol: str, train: Side, test: Side, keep: Keep) -> list[Score]:
    """Let the neighbours vote on an answer in words."""
    train_label, label = label_of(task, train.columns), label_of(task, test.columns)
    shares = classification.indicators(train_label, task.classes)
    votes = knn_regress(train.vectors, shares, test.vectors, get_protocol(protocol)).values
    known = np.isfinite(label)
    sample = Sample(label[known], classification.largest(votes, train_label)[known])
    pair = (train.modality, test.modality)
    return score_samples(task, protocol, pair, task.metrics, [sample], train_label, test.columns, known, keep=keep)


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
    label = label_of(task, test)
    known = np.isfinite(label)
    sample = Sample(label[known], prediction[known].astype(np.float64))
    pair, train_label = (modality, modality), label_of(task, train)
    return score_samples(task, protocol, pair, point_metrics(task), [sample], train_label, test, known, keep=keep)


def score_prompts(
    task: Task,
    protocol: str,
    prompts: NDArray[np.float32],
    test: Side,
    train: Mapping[str, NDArray[Any]],
    keep: Keep = discard,
) -> list[Score]:
    """Answer for each test object with the class whose prompt is closest by cosine; equally close ones by order.

    Parameters
    ----------
    prompts
        Embeddings of the task's prompts, (classes, d).
    train
        Columns of the train split: of the labels, for what chance gives.
    """
    scaled = scale(prompts, test.vectors, get_protocol(protocol))
    answer = (scaled[1].astype(np.float64) @ scaled[0].astype(np.float64).T).argmax(axis=1).astype(np.float64)
    label = label_of(task, test.columns)
    known = np.isfinite(label)
    pair = (task.prompt_modality, test.modality)
    sample = Sample(label[known], answer[known])
    train_label = label_of(task, train)
    return score_samples(task, protocol, pair, task.metrics, [sample], train_label, test.columns, known, keep=keep)


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
            keep(CellKey(task.name, protocol, *pair), _outcomes(task, sample, known), seed)
    return score_rows(task, protocol, pair, estimates, {part: _chance(task, train_label, samples[0])})


def _sample(
    task: Task, place: int, prediction: Prediction, train_label: NDArray[Any], test: Side, known: NDArray[np.bool_]
) -> Sample:
    needs_distribution = any(metric.needs_distribution for metric in get_metrics(task.metrics))
    return Sample(
        label_of(task, test.columns)[known],
        prediction.values[known, place],
        train_label[prediction.neighbours[place][known]] if needs_distribution else None,
        prediction.weights[place][known] if needs_distribution else None,
    )


def _outcomes(task: Task, sample: Sample, known: NDArray[np.bool_]) -> Columns:
    """Return what is kept of a prediction: columns over all test objects, empty where the label is not known."""
    if task.classes:
        names = np.array(task.classes, dtype=object)
        found = {"label_class": sample.label, "predicted_class": sample.prediction}
        return {name: spread(names[places.astype(int)], known) for name, places in found.items()}
    found = {"label": sample.label, "prediction": sample.prediction}
    if sample.neighbour_labels is not None:
        found |= {"pit": sample.pit, "crps": sample.crps}
    return {name: spread(values, known) for name, values in found.items()}


def _chance(task: Task, train_label: NDArray[Any], sample: Sample) -> dict[str, float | None]:
    """Return what one answer for every object scores: the mean of the reference labels, or their most frequent class.

    Nothing without labels.
    """
    if np.isnan(train_label).all():
        return {}
    answer = classification.most_frequent(train_label) if task.classes else np.nanmean(train_label)
    everywhere = Sample(sample.label, np.full(len(sample.label), answer))
    everywhere_one_cluster = np.zeros(len(sample.label), np.int64)
    estimates = score(point_metrics(task), everywhere, everywhere_one_cluster)
    return {name: estimate.value for name, estimate in estimates.items()}


def point_metrics(task: Task) -> list[str]:
    """Return the metrics of a task that a single number an object is enough for."""
    return [metric.name for metric in get_metrics(task.metrics) if not metric.needs_distribution]
