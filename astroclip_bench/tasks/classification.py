"""Answers in words: what is predicted of them, and metrics of classifications.

Classes are whole numbers, the places of the answers in `Task.classes`. A probe that predicts numbers is given one column
for each class, 1 where an object is of it and 0 elsewhere, and the class with the largest prediction is the answer. With
neighbours that is their weighted vote (scikit-learn's ``KNeighborsClassifier``), with ridge regressions a linear
classifier (its ``RidgeClassifier``, but for a strength chosen for each class).

The metrics are defined as scikit-learn's functions of the same names: classes that a resample lacks do not count in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astroclip_bench.tasks.bootstrap import Resamples
    from astroclip_bench.tasks.metrics import Sample

Float64 = NDArray[np.float64]


def indicators(label: Float64, classes: Sequence[str]) -> Float64:
    """Return a column for each class, (n, classes): 1 for the objects of it, 0 for others, NaN for those without label."""
    columns: Float64 = (label[:, None] == np.arange(len(classes))).astype(np.float64)
    columns[np.isnan(label)] = np.nan
    return columns


def largest(predicted: Float64, train_label: Float64) -> Float64:
    """Return the class of the largest prediction, of those that the reference objects have.

    Parameters
    ----------
    predicted
        One column for each class, (..., classes).
    train_label
        Classes of the reference objects, (n,), NaN where unknown.
    """
    present = np.isin(np.arange(predicted.shape[-1]), train_label)
    best: Float64 = np.where(present, predicted, -np.inf).argmax(axis=-1).astype(np.float64)
    return best


def most_frequent(train_label: Float64) -> float:
    """Return the class that most reference objects have."""
    classes, counts = np.unique(train_label[np.isfinite(train_label)], return_counts=True)
    return float(classes[counts.argmax()])


def accuracy(sample: Sample, resamples: Resamples) -> Float64:
    """Return the share of the objects whose class is predicted."""
    return resamples.mean((sample.label == sample.prediction).astype(np.float64))


def balanced_accuracy(sample: Sample, resamples: Resamples) -> Float64:
    """Return the mean over the classes of the share of their objects that are found."""
    hits, members, _ = _counts(sample, resamples)
    return _mean_over_classes(_ratio(hits, members))


def weighted_f1(sample: Sample, resamples: Resamples) -> Float64:
    """Return the mean F1 score of the classes, weighted by their numbers of objects."""
    hits, members, named = _counts(sample, resamples)
    weighted: Float64 = np.nansum(members * _ratio(2 * hits, members + named), axis=0) / members.sum(axis=0)
    return weighted


def macro_f1(sample: Sample, resamples: Resamples) -> Float64:
    """Return the mean F1 score over the classes that occur, as labels or as predictions."""
    hits, members, named = _counts(sample, resamples)
    return _mean_over_classes(_ratio(2 * hits, members + named))


def _counts(sample: Sample, resamples: Resamples) -> tuple[Float64, Float64, Float64]:
    """Return the objects of each class that are found, all of it, and all that are taken for it: (classes, resamples)."""
    classes = np.union1d(sample.label, sample.prediction)
    is_label, is_prediction = (sample.label == classes[:, None]), (sample.prediction == classes[:, None])
    masks = (is_label & is_prediction, is_label, is_prediction)
    hits, members, named = (np.stack([resamples.sum(row) for row in mask.astype(np.float64)]) for mask in masks)
    return hits, members, named


def _ratio(part: Float64, whole: Float64) -> Float64:
    """Return ``part / whole``, NaN where a class does not occur."""
    ratio: Float64 = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return ratio


def _mean_over_classes(values: Float64) -> Float64:
    mean: Float64 = np.nanmean(values, axis=0)
    return mean
