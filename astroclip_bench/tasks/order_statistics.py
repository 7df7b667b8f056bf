"""Medians and ranks on weighted resamples, from how often the objects before each place of an order occur.

What is called `running` is what `Resamples.running` gives along sorted values, (resamples, n + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.tasks.bootstrap import Resamples

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]


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

    Both are (m, resamples). Infinite where there is none. If `mirrored`, `values` and `centre` are negated and the values in reverse order, but
    `running` is as it was.
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


def rank_correlation(resamples: Resamples, first: Ranks, second: Ranks) -> Float64:
    """Return Spearman's correlation of two lists of values in every resample; NaN where one has equal values alone."""
    one, other, weights = first.on(resamples), second.on(resamples), resamples.weights
    weighted_one, weighted_other = weights * one, weights * other
    variances = np.vecdot(weighted_one, one) * np.vecdot(weighted_other, other)
    defined = variances > 0
    return np.where(defined, np.vecdot(weighted_one, other) / np.sqrt(np.where(defined, variances, 1.0)), np.nan)
