"""Medians and ranks on weighted resamples, from how often the objects before each place of an order occur.

What is called `running` is what `Resamples.running` gives along sorted values, (resamples, n + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.tasks.bootstrap import PART_BYTES, Resamples

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]
# Of an array over objects and clusters: 64 MB of float64.
MOST_VALUES = 2**23


def weighted_median(running: Int32, values: Float64) -> Float64:
    """Return the median of sorted `values` (n,) in every resample.

    As `numpy.median` of the resampled values: the middle one, or the mean of the two middle ones.
    """
    places = [_reaching(running, target) for target in _middle_places(running[:, -1])]
    median: Float64 = (values[places[0]] + values[places[1]]) / 2
    return median


def median_distance(running: Int32, values: Float64, centre: Float64) -> Float64:
    """Return the median of ``|values - centre|`` in every resample, without sorting again for every centre.

    Parameters
    ----------
    values
        Sorted, (n,).
    centre
        (resamples,).
    """
    targets = np.stack(_middle_places(running[:, -1]))
    above = _distances(running, values, centre, targets)
    below = _distances(running, -values[::-1], -centre, targets, mirrored=True)
    median: Float64 = np.minimum(above, below).mean(axis=0)
    return median


def _middle_places(size: Int32) -> tuple[Int32, Int32]:
    """Return the two places (from 1) whose values a median of `size` values averages; equal if the size is odd."""
    return (size + 1) // 2, size // 2 + 1


def _reaching(running: Int32, target: Int32) -> Int64:
    """Return, for each resample, the place of the value with which the number of occurrences reaches `target`."""
    rows = np.arange(len(running))
    low, high = np.zeros(len(rows), np.int64), np.full(len(rows), running.shape[1] - 2)
    for _ in range(running.shape[1].bit_length()):  # bisection, all resamples at once
        middle = (low + high) // 2
        enough = running[rows, middle + 1] >= target
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    return high


def _distances(running: Int32, values: Float64, centre: Float64, targets: Int32, *, mirrored: bool = False) -> Float64:
    """Return the least distances from the centre to a value above it within which, on both sides, `targets` values lie.

    Both are (m, resamples). Infinite where there is none. If `mirrored`, the values are in reverse order and they and the
    centre negated, but `running` is as it was.
    """
    rows, n = np.arange(len(running)), len(values)
    rounding = 4 * np.spacing(np.abs(values).max())
    low, high = np.searchsorted(values, centre), np.full(targets.shape, n)
    for _ in range(n.bit_length()):
        middle = (low + high) // 2
        last = np.minimum(middle, n - 1)
        first = np.searchsorted(values, 2 * centre - values[last] - rounding)
        start, end = (n - last - 1, n - first) if mirrored else (first, last + 1)
        enough = (middle == n) | (running[rows, end] - running[rows, start] >= targets)
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    return np.where(high == n, np.inf, values[np.minimum(high, n - 1)] - centre)


@dataclass(frozen=True)
class Ranks:
    """Where each of n values stands among them, whatever their weights.

    Parameters
    ----------
    order
        Sorts the values.
    edges
        Places in the order between runs of equal values, with both ends.
    run
        The run of each value.
    """

    order: Int64
    edges: Int64
    run: Int64

    @staticmethod
    def of(values: Float64) -> Ranks:
        """Return the ranks of values (n,)."""
        _, run, lengths = np.unique(values, return_inverse=True, return_counts=True)
        return Ranks(np.argsort(run, kind="stable"), np.concatenate([[0], np.cumsum(lengths)]), run)

    def on(self, resamples: Resamples) -> Float64:
        """Return, for every object, twice its value's average rank minus the mean rank: (resamples, n)."""
        edges = resamples.running(self.order)
        if len(self.edges) < edges.shape[1]:  # some values are equal
            edges = edges.take(self.edges, axis=1)
        # A run that takes the places a+1..b has the average rank (a + b + 1) / 2; the mean rank is (n + 1) / 2.
        ranks = edges[:, :-1] + edges[:, 1:]
        ranks -= edges[:, -1:]
        return ranks.take(self.run, axis=1).astype(np.float64)

    def among(self, resamples: Resamples) -> Float64:
        """Return how many more objects of each cluster have a lower value than have a higher one: (n, clusters)."""
        below = np.zeros((len(self.order) + 1, resamples.counts.shape[1]))
        below[np.arange(1, len(below)), resamples.clusters[self.order]] = 1
        below = np.cumsum(below, axis=0, out=below)[self.edges]
        return np.asarray((below[:-1] + below[1:] - below[-1])[self.run])

    def squares(self, resamples: Resamples) -> Float64:
        """Return the sum of the squares of what `on` returns, (resamples,): of n distinct ranks (n^3 - n) / 3.

        A run of t equal values counts as one term of t^3.
        """
        is_tied = (np.diff(self.edges) > 1)[self.run]
        sizes = np.bincount(resamples.clusters[~is_tied], minlength=resamples.counts.shape[1])
        runs, run = np.unique(self.run[is_tied], return_inverse=True)
        members = np.zeros((len(sizes), len(runs)))
        np.add.at(members, (resamples.clusters[is_tied], run), 1)
        tied = resamples.in_parts(lambda part: _cube(part.counts @ members).sum(axis=1), values=len(runs))
        squares: Float64 = (_cube(resamples.size) - _cube(resamples.counts) @ sizes - tied) / 3
        return squares


def _cube(values: Float64) -> Float64:
    return values * values * values


def rank_correlation(resamples: Resamples, first: Ranks, second: Ranks) -> Float64:
    """Return Spearman's correlation of two lists of values in every resample; NaN where one has equal values alone."""
    (count, clusters), n = resamples.counts.shape, len(resamples.clusters)
    # Timed, a resample: 8 ns an object, or 0.06 ns for each three clusters. What the latter needs first is worth it for
    # many resamples, and while an array of objects and clusters is small.
    few = clusters**3 <= 100 * n and clusters <= count and clusters * n <= MOST_VALUES
    covariance = (_covariance_of_clusters if few else _covariance)(resamples, first, second)
    variances = first.squares(resamples) * second.squares(resamples)
    defined = variances > 0
    return np.where(defined, covariance / np.sqrt(np.where(defined, variances, 1.0)), np.nan)


def _covariance(resamples: Resamples, first: Ranks, second: Ranks) -> Float64:
    """Return the sum of the products of two ranks over the objects of every resample."""
    return resamples.in_parts(lambda part: np.vecdot(part.weights * first.on(part), second.on(part)))


def _covariance_of_clusters(resamples: Resamples, first: Ranks, second: Ranks) -> Float64:
    """Return what `_covariance` does, without looking at objects: it is a cubic form of the clusters' occurrences.

    A rank is a sum over clusters (`Ranks.among`) weighted by how often each occurs, and so is the sum over objects. All
    numbers are whole, so that both ways give the same to the last bit.
    """
    one, other, count = first.among(resamples), second.among(resamples), resamples.counts.shape[1]
    members = [np.flatnonzero(resamples.clusters == cluster) for cluster in range(count)]
    form = np.stack([one[rows].T @ other[rows] for rows in members]).reshape(count, count**2)

    def value(part: Resamples) -> Float64:
        matrices = (part.counts @ form).reshape(-1, count, count)
        return np.asarray(np.vecdot((matrices @ part.counts[:, :, None])[:, :, 0], part.counts))

    return resamples.in_parts(value, 4 * PART_BYTES, values=count**2)
