"""Bootstrap clustered by sky pixel, by weights instead of copies: every statistic sees the same resamples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.tasks.workers import alone_in_each_thread

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]

REPLICATES = 1_000
SEED = 0
INTERVAL_PERCENT = (2.5, 97.5)
MINIMUM_OBJECTS = 10
# An array of float64 over resamples and objects takes this much at most: a cache holds a few like it.
PART_BYTES = 2**18
# The same where a bisection of all resamples at once follows, which wants many of them.
LONG_PART_BYTES = 2**23


@dataclass(frozen=True)
class Resamples:
    """Several resamples of n objects, as the number of times each object occurs.

    A `Statistic` is a function of this object that returns one value per resample, so that one definition gives both
    the value on the data (every object once) and the replicates.

    Parameters
    ----------
    counts
        Number of times each cluster was drawn, (resamples, clusters).
    clusters
        Cluster of each object, (n,).
    """

    counts: Float64
    clusters: Int64

    @cached_property
    def weights(self) -> Float64:
        """Occurrences of each object in each resample, (resamples, n)."""
        return self.counts.take(self.clusters, axis=1)

    @cached_property
    def size(self) -> Float64:
        """Number of objects in each resample, occurrences counted, (resamples,)."""
        return self.sum(np.ones(len(self.clusters)))

    def sum(self, values: Float64) -> Float64:
        """Return the sum of `values` (n,) over every resample, from the sums of the clusters."""
        sums: Float64 = self.counts @ np.bincount(self.clusters, values, minlength=self.counts.shape[1])
        return sums

    def mean(self, values: Float64) -> Float64:
        """Return the mean of `values` (n,) in every resample."""
        return self.sum(values) / self.size

    def in_parts(self, statistic: Statistic, part_bytes: int = PART_BYTES, values: int | None = None) -> Float64:
        """Return a statistic that needs so many `values` a resample, one an object if not said, from a few at a time."""
        width = max(2, part_bytes // (8 * max(1, len(self.clusters) if values is None else values)))
        starts = range(0, len(self.counts), width)
        return np.concatenate([statistic(Resamples(self.counts[at : at + width], self.clusters)) for at in starts])

    def running(self, order: Int64) -> Int32:
        """Return the number of occurrences before each place along `order` (n,), and of all: (resamples, n + 1)."""
        import torch

        # A cluster that is never drawn leads every row: counting starts from zero.
        counts = np.zeros((len(self.counts), self.counts.shape[1] + 1), np.int32)
        counts[:, 1:] = self.counts
        occurrences = torch.from_numpy(counts.take(np.concatenate([[0], 1 + self.clusters[order]]), axis=1))
        # numpy's sum along a row goes through memory at every place, and takes five times as long.
        return torch.cumsum(occurrences, 1, dtype=torch.int32, out=occurrences).numpy()


Statistic = Callable[[Resamples], Float64]


@dataclass(frozen=True)
class Estimate:
    """A statistic with its uncertainty from clustered resampling.

    Parameters
    ----------
    value
        On the data; None if there are too few objects or the statistic is not defined on them.
    standard_error
        Standard deviation of the replicates (n - 1 in the denominator); None without at least two clusters.
    low, high
        The 2.5 and 97.5 percentiles of the replicates; None likewise.
    n
        Number of objects.
    replicates
        The statistic on every resample, if they were asked for.
    """

    value: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    n: int
    replicates: Float64 | None = None


def cluster_counts(clusters: int, replicates: int = REPLICATES, seed: int = SEED) -> Float64:
    """Draw `clusters` clusters with replacement, `replicates` times; return how often each was drawn.

    Returns
    -------
    NDArray
        (replicates, clusters); a function of the arguments alone, so that two models share their resamples.
    """
    draws = np.random.default_rng(seed).integers(0, clusters, size=(replicates, clusters))
    draws += clusters * np.arange(replicates)[:, None]
    return np.bincount(draws.ravel(), minlength=replicates * clusters).reshape(replicates, clusters).astype(np.float64)


def bootstrap(
    statistics: Mapping[str, Statistic],
    pixels: NDArray[np.integer],
    *,
    replicates: int = REPLICATES,
    seed: int = SEED,
    keep_replicates: bool = False,
) -> dict[str, Estimate]:
    """Evaluate statistics on the data and on resamples of whole sky pixels.

    Parameters
    ----------
    statistics
        Functions of `Resamples`, by name.
    pixels
        HEALPix pixel of each object, (n,): the clusters.
    replicates, seed
        Number of resamples, and the seed of their draws.
    keep_replicates
        Also return every replicate, for paired differences between models.

    Returns
    -------
    dict
        An `Estimate` per statistic; replicates on which a statistic is undefined (NaN) are left out of its error.
    """
    if len(pixels) == 0:
        return {name: Estimate(None, None, None, None, 0) for name in statistics}
    found, clusters = np.unique(pixels, return_inverse=True)
    once = Resamples(np.ones((1, len(found))), clusters)
    values = {name: float(statistic(once)[0]) for name, statistic in statistics.items()}
    drawn = {name: np.empty(0) for name in statistics}
    if len(found) > 1:
        resamples = Resamples(cluster_counts(len(found), replicates, seed), clusters)
        with alone_in_each_thread():
            drawn = {name: statistic(resamples) for name, statistic in statistics.items()}
    return {name: estimate_of(values[name], drawn[name], len(clusters), keep_replicates) for name in statistics}


def estimate_of(value: float, replicates: Float64, n: int, keep: bool = False) -> Estimate:
    """Return a value on `n` objects with the error and the interval that its replicates, those not NaN, give."""
    kept = replicates if keep else None
    if not np.isfinite(value):
        return Estimate(None, None, None, None, n, kept)
    finite = replicates[np.isfinite(replicates)]
    if len(finite) < 2:
        return Estimate(value, None, None, None, n, kept)
    low, high = np.percentile(finite, INTERVAL_PERCENT)
    return Estimate(value, float(finite.std(ddof=1)), float(low), float(high), n, kept)
