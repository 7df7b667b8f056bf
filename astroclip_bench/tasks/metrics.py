"""Metrics of predictions: declarations, and their evaluation on weighted resamples.

Every metric is a function of a `Sample` (labels and predictions) and `Resamples` (how often each object counts), so
that the value on the data and the bootstrap replicates come from one definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import TaskError
from astroclip_bench.tasks import classification
from astroclip_bench.tasks.bootstrap import (
    LONG_PART_BYTES,
    MINIMUM_OBJECTS,
    Estimate,
    Resamples,
    Statistic,
    bootstrap,
)
from astroclip_bench.tasks.order_statistics import Ranks, median_distance, rank_correlation, weighted_median

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

NMAD_TO_SIGMA = 1.4826  # of a normal distribution
SEED_SPREAD = "_seed_sd"
"""What follows a metric's name where the row holds its standard deviation over seeds."""


@dataclass(frozen=True)
class Sample:
    """Labels and predictions of n objects, with what the metrics derive from them.

    Parameters
    ----------
    label, prediction
        The true and the predicted value, (n,), finite.
    neighbour_labels, neighbour_weights
        The labels (n, k) that were averaged to the prediction, and their weights, each row summing to one: a
        predictive distribution. None where there is none.
    """

    label: Float64
    prediction: Float64
    neighbour_labels: Float64 | None = None
    neighbour_weights: Float64 | None = None

    def subset(self, mask: NDArray[np.bool_]) -> Sample:
        """Return the objects where `mask` (n,) is true."""
        return Sample(
            self.label[mask],
            self.prediction[mask],
            None if self.neighbour_labels is None else self.neighbour_labels[mask],
            None if self.neighbour_weights is None else self.neighbour_weights[mask],
        )

    @cached_property
    def residual(self) -> Float64:
        """Prediction minus label."""
        return self.prediction - self.label

    @cached_property
    def centred_label(self) -> Float64:
        """Label minus its mean: sums of squares stay accurate."""
        centred: Float64 = self.label - self.label.mean()
        return centred

    @cached_property
    def scaled_residual(self) -> Float64:
        """Dz = (z_predicted - z) / (1 + z)."""
        return self.residual / (1 + self.label)

    @cached_property
    def scaled_residual_order(self) -> Int64:
        """The order that sorts `scaled_residual`."""
        return np.argsort(self.scaled_residual, kind="stable")

    @cached_property
    def ranks(self) -> tuple[Ranks, Ranks]:
        """Where each label stands among the labels, and each prediction among the predictions."""
        return Ranks.of(self.label), Ranks.of(self.prediction)

    @cached_property
    def pit(self) -> Float64:
        """Probability integral transform: predicted probability of a value below the label, ties half."""
        labels, weights = self._distribution()
        truth = self.label[:, None]
        below: Float64 = (weights * ((labels < truth) + 0.5 * (labels == truth))).sum(axis=1)
        return below

    @cached_property
    def pit_order(self) -> Int64:
        """The order that sorts `pit`."""
        return np.argsort(self.pit, kind="stable")

    @cached_property
    def crps(self) -> Float64:
        """Continuous ranked probability score of each object: E|X - y| - E|X - X'| / 2 over the weighted neighbours."""
        labels, weights = self._distribution()
        order = np.argsort(labels, axis=1)
        labels, weights = np.take_along_axis(labels, order, axis=1), np.take_along_axis(weights, order, axis=1)
        error = (weights * np.abs(labels - self.label[:, None])).sum(axis=1)
        # E|X - X'| / 2 = integral of F (1 - F): a sum over the steps between sorted neighbours.
        below = np.cumsum(weights, axis=1)[:, :-1]
        spread = (below * (1 - below) * np.diff(labels, axis=1)).sum(axis=1)
        scores: Float64 = error - spread
        return scores

    def _distribution(self) -> tuple[Float64, Float64]:
        if self.neighbour_labels is None or self.neighbour_weights is None:
            raise TaskError("this metric needs a predictive distribution, and the probe gives none")
        return self.neighbour_labels, self.neighbour_weights


def _r2(sample: Sample, resamples: Resamples) -> Float64:
    errors = resamples.sum(sample.residual**2)
    centred = sample.centred_label
    total = resamples.sum(centred**2) - resamples.sum(centred) ** 2 / resamples.size
    # Rounding of the centred sums; a resample of equal labels has no R^2.
    defined = total > 1e-13 * resamples.sum(centred**2)
    return np.where(defined, 1 - errors / np.where(defined, total, 1.0), np.nan)


def _rmse(sample: Sample, resamples: Resamples) -> Float64:
    return np.sqrt(resamples.mean(sample.residual**2))


def _mae(sample: Sample, resamples: Resamples) -> Float64:
    return resamples.mean(np.abs(sample.residual))


def _bias(sample: Sample, resamples: Resamples) -> Float64:
    return resamples.mean(sample.residual)


def _spearman(sample: Sample, resamples: Resamples) -> Float64:
    return rank_correlation(resamples, *sample.ranks)


def _dz_bias(sample: Sample, resamples: Resamples) -> Float64:
    order = sample.scaled_residual_order
    values = sample.scaled_residual[order]
    return resamples.in_parts(lambda part: weighted_median(part.running(order), values), LONG_PART_BYTES)


def _sigma_nmad(sample: Sample, resamples: Resamples) -> Float64:
    order = sample.scaled_residual_order
    values = sample.scaled_residual[order]

    def spread(part: Resamples) -> Float64:
        running = part.running(order)
        return median_distance(running, values, weighted_median(running, values))

    return NMAD_TO_SIGMA * resamples.in_parts(spread, LONG_PART_BYTES)


def _outlier_fraction(limit: float) -> Callable[[Sample, Resamples], Float64]:
    def fraction(sample: Sample, resamples: Resamples) -> Float64:
        return resamples.mean((np.abs(sample.scaled_residual) > limit).astype(np.float64))

    return fraction


def _pit_uniformity(sample: Sample, resamples: Resamples) -> Float64:
    return resamples.in_parts(partial(_distance_from_uniform, sample))


def _distance_from_uniform(sample: Sample, resamples: Resamples) -> Float64:
    order = sample.pit_order
    values = sample.pit[order]
    share = resamples.running(order) / resamples.size[:, None]
    above = (share[:, 1:] - values).max(axis=1)
    # Just below a value the distribution stands at the share of the values before it.
    below = (values - share[:, :-1]).max(axis=1)
    # A value that a resample lacks still bounds the gap from within: shares are flat there.
    distance: Float64 = np.maximum(above, below)
    return distance


def _crps(sample: Sample, resamples: Resamples) -> Float64:
    return resamples.mean(sample.crps)


@dataclass(frozen=True)
class Metric:
    """What is measured, which way is better, and how.

    Parameters
    ----------
    name, description
        As in tables.
    direction
        Whether "higher" or "lower" is better; "zero" for a signed offset.
    unit
        "target" if it is in the unit of the target, "" if it is a pure number.
    function
        From sample and resamples to one value per resample.
    needs_distribution
        Whether the predictive distribution of a k-NN probe is needed.
    of_classes
        Whether labels and predictions are classes (see `astroclip_bench.tasks.classification`), not measurements.
    """

    name: str
    direction: Literal["higher", "lower", "zero"]
    description: str
    unit: Literal["target", ""]
    function: Callable[[Sample, Resamples], Float64]
    needs_distribution: bool = False
    of_classes: bool = False

    def of(self, sample: Sample) -> Statistic:
        """Return the metric as a function of resamples of `sample`."""
        return lambda resamples: self.function(sample, resamples)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("r2", "higher", "coefficient of determination, 1 - SS_residual / SS_total", "", _r2),
            Metric("rmse", "lower", "root mean square of prediction minus label", "target", _rmse),
            Metric("mae", "lower", "mean absolute difference of prediction and label", "target", _mae),
            Metric("bias", "zero", "mean of prediction minus label", "target", _bias),
            Metric("spearman", "higher", "Spearman's rank correlation of prediction and label", "", _spearman),
            Metric("dz_bias", "zero", "median dz = (z_predicted - z) / (1 + z)", "", _dz_bias),
            Metric("sigma_nmad", "lower", "1.4826 median |dz - median dz|", "", _sigma_nmad),
            Metric("outlier_fraction_0.15", "lower", "share with |dz| > 0.15", "", _outlier_fraction(0.15)),
            Metric("outlier_fraction_0.05", "lower", "share with |dz| > 0.05", "", _outlier_fraction(0.05)),
            Metric("outlier_fraction_0.003", "lower", "share with |dz| > 0.003", "", _outlier_fraction(0.003)),
            Metric(
                "pit_uniformity",
                "lower",
                "Kolmogorov-Smirnov distance of the probability integral transform from uniform",
                "",
                _pit_uniformity,
                needs_distribution=True,
            ),
            Metric(
                "crps",
                "lower",
                "mean continuous ranked probability score of the neighbours' labels",
                "target",
                _crps,
                needs_distribution=True,
            ),
            Metric(
                "balanced_accuracy",
                "higher",
                "mean over the classes of the share of their objects that are found",
                "",
                classification.balanced_accuracy,
                of_classes=True,
            ),
            Metric("accuracy", "higher", "share of right classes", "", classification.accuracy, of_classes=True),
            Metric(
                "weighted_f1",
                "higher",
                "F1 score of each class, averaged by number of objects",
                "",
                classification.weighted_f1,
                of_classes=True,
            ),
            Metric(
                "macro_f1",
                "higher",
                "F1 score of each class, averaged",
                "",
                classification.macro_f1,
                of_classes=True,
            ),
        )
    }
)


def get_metrics(names: Iterable[str]) -> list[Metric]:
    """Return the metrics of these names, in this order.

    Raises
    ------
    TaskError
        If a name is unknown.
    """
    names = list(names)
    for name in names:
        if name not in METRICS:
            raise TaskError(f"there is no metric {name!r}", f"some of {', '.join(METRICS)}")
    return [METRICS[name] for name in names]


def score(
    names: Iterable[str],
    sample: Sample | Sequence[Sample],
    pixels: NDArray[np.integer],
    *,
    keep_replicates: bool = False,
) -> dict[str, Estimate]:
    """Evaluate metrics by name, with intervals from resampling sky pixels.

    With fewer than `MINIMUM_OBJECTS` objects every value is None: the number of objects stands alone.

    Parameters
    ----------
    sample
        One; or several, of the same objects in the same order, where a probe was trained with several seeds.
        The value is then the mean of the metric over them, and so is every replicate: the interval tells what another
        patch of sky would change, with these probes, and nothing of the seeds. That is what `seed_spread` tells.
    """
    metrics, samples = get_metrics(names), _several(sample)
    n = len(samples[0].label)
    if n < MINIMUM_OBJECTS:
        return {metric.name: Estimate(None, None, None, None, n) for metric in metrics}
    statistics = {metric.name: _mean_over(metric, samples) for metric in metrics}
    return bootstrap(statistics, pixels, keep_replicates=keep_replicates)


def _several(sample: Sample | Sequence[Sample]) -> Sequence[Sample]:
    return [sample] if isinstance(sample, Sample) else sample


def _mean_over(metric: Metric, samples: Sequence[Sample]) -> Statistic:
    def mean(resamples: Resamples) -> Float64:
        values: Float64 = np.mean([metric.function(sample, resamples) for sample in samples], axis=0)
        return values

    return metric.of(samples[0]) if len(samples) == 1 else mean


def seed_spread(names: Iterable[str], samples: Sequence[Sample]) -> dict[str, Estimate]:
    """Return the standard deviation (n - 1) of each metric over samples, by its name with `SEED_SPREAD` behind.

    It has no interval: of three seeds, it is a rough figure itself.
    """
    n = len(samples[0].label)
    once = Resamples(np.ones((1, 1)), np.zeros(n, np.int64))
    spread = {}
    for metric in get_metrics(names):
        values = [metric.function(sample, once)[0] for sample in samples] if n >= MINIMUM_OBJECTS else [np.nan]
        value = float(np.std(values, ddof=1)) if np.isfinite(values).all() else None
        spread[metric.name + SEED_SPREAD] = Estimate(value, None, None, None, n)
    return spread


def score_groups(
    names: Iterable[str],
    sample: Sample | Sequence[Sample],
    pixels: NDArray[np.integer],
    groups: Mapping[str, NDArray[np.bool_]],
) -> dict[str, dict[str, Estimate]]:
    """Evaluate metrics as `score` does on subsets given by masks (n,); pixels are resampled within each subset."""
    names, samples = list(names), _several(sample)
    return {
        group: score(names, [sample.subset(mask) for sample in samples], pixels[mask]) for group, mask in groups.items()
    }
