"""Medians and ranks on weighted resamples against numpy's and scipy's, of explicitly copied values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from astroclip_bench.tasks.bootstrap import Resamples, cluster_counts
from astroclip_bench.tasks.order_statistics import (
    Ranks,
    _covariance,
    _covariance_of_clusters,
    median_distance,
    rank_correlation,
    weighted_median,
)

N, CLUSTERS = 101, 13
WITH_AND_WITHOUT_TIES = pytest.mark.parametrize("decimals", [0, 1, 12])


def resampled(decimals: int) -> tuple[np.ndarray, Resamples, list[np.ndarray]]:
    """Return values, resamples of them, and the rows of each resample."""
    values = np.round(3 * np.random.default_rng(2).standard_normal(N), decimals)
    resamples = Resamples(cluster_counts(CLUSTERS, 40), np.arange(N) % CLUSTERS)
    return values, resamples, [np.repeat(np.arange(N), row.astype(int)) for row in resamples.weights]


@WITH_AND_WITHOUT_TIES
def test_running_counts(decimals: int) -> None:
    values, resamples, copies = resampled(decimals)
    order = np.argsort(values)
    expected = [[np.isin(rows, order[:place]).sum() for place in range(N + 1)] for rows in copies]
    np.testing.assert_array_equal(resamples.running(order), expected)


@WITH_AND_WITHOUT_TIES
def test_medians_and_median_distances(decimals: int) -> None:
    values, resamples, copies = resampled(decimals)
    order = np.argsort(values)
    running = resamples.running(order)
    median = weighted_median(running, values[order])
    np.testing.assert_allclose(median, [np.median(values[rows]) for rows in copies], rtol=1e-12)
    for centre in (median, median + 1.05, np.full(len(copies), -100.0)):
        expected = [np.median(np.abs(values[rows] - one)) for rows, one in zip(copies, centre, strict=True)]
        np.testing.assert_allclose(median_distance(running, values[order], centre), expected, rtol=1e-12, atol=1e-14)


@WITH_AND_WITHOUT_TIES
def test_ranks_and_their_correlation(decimals: int) -> None:
    values, resamples, copies = resampled(decimals)
    others = np.round(values + np.random.default_rng(3).standard_normal(N), decimals)
    ranks = Ranks.of(values).on(resamples)
    for row, rows in zip(ranks, copies, strict=True):
        np.testing.assert_array_equal(row[rows], 2 * stats.rankdata(values[rows]) - len(rows) - 1)
    expected = [stats.spearmanr(values[rows], others[rows]).statistic for rows in copies]
    np.testing.assert_allclose(rank_correlation(resamples, Ranks.of(values), Ranks.of(others)), expected, rtol=1e-12)


@WITH_AND_WITHOUT_TIES
def test_both_ways_to_a_covariance_give_the_same(decimals: int) -> None:
    values, resamples, _ = resampled(decimals)
    ranks = Ranks.of(values), Ranks.of(np.round(values**2, decimals))
    by_object, by_cluster = (way(resamples, *ranks) for way in (_covariance, _covariance_of_clusters))
    np.testing.assert_array_equal(by_cluster, by_object)
    np.testing.assert_array_equal(_covariance(resamples, ranks[0], ranks[0]), ranks[0].squares(resamples))


def test_equal_values_have_no_rank_correlation() -> None:
    values, resamples, _ = resampled(1)
    assert np.isnan(rank_correlation(resamples, Ranks.of(values), Ranks.of(np.ones(N)))).all()


@pytest.mark.parametrize("values", [[2.0], [1.0, 4.0], [0.1, 0.2, 0.3], [5.0, 5.0, 5.0]])
def test_median_distances_of_few_values(values: list[float]) -> None:
    """The centre between two values is equally far from both, but for rounding."""
    once = Resamples(np.ones((1, 1)), np.zeros(len(values), np.int64))
    running, array = once.running(np.arange(len(values))), np.array(values)
    for centre in (np.median(array), np.mean(array), 0.15, 7.0):
        expected = np.median(np.abs(array - centre))
        assert median_distance(running, array, np.array([centre])) == pytest.approx(expected, rel=1e-12, abs=1e-15)
