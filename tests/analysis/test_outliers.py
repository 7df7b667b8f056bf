"""The strangest objects, and how they differ from their neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.analysis.outliers import disagreement, flag_enrichment, strangeness


def test_distance_is_the_mean_of_scikit_learns_and_the_planted_one_comes_first():
    from sklearn.neighbors import NearestNeighbors

    vectors = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    vectors[123] = 20.0
    found = strangeness(vectors, k=6)
    distances, neighbours = NearestNeighbors(n_neighbors=6).fit(vectors).kneighbors()
    assert found.distance == pytest.approx(distances.mean(axis=1), rel=1e-5)
    assert np.array_equal(found.neighbours, neighbours)
    assert found.rank[123] == 1
    assert sorted(found.rank) == list(range(1, 301))


def test_copies_are_not_alone():
    found = strangeness(np.ones((30, 3), np.float32), k=5)
    assert not found.distance.any()
    assert found.rank.tolist() == list(range(1, 31))


def test_the_order_is_that_of_the_density():
    random = np.random.default_rng(1)
    width = np.repeat([0.1, 1.0], 200)
    vectors = (width[:, None] * random.normal(size=(400, 2)) + np.repeat([0, 50], 200)[:, None]).astype(np.float32)
    found = strangeness(vectors)
    assert found.rank[:200].min() > np.median(found.rank[200:])


def test_disagreement_is_in_units_of_the_neighbours_spread():
    values = np.array([10.0, 1.0, 2.0, 3.0, 5.0, np.nan])
    neighbours = np.array([[1, 2, 3, 4]] * 5 + [[5, 5, 5, 5]])
    expected, deviation = disagreement(values, neighbours)
    assert expected[0] == 2.5
    assert deviation[0] == pytest.approx((10 - 2.5) / (1.4826 * 1.0))
    assert np.isnan([expected[5], deviation[5]]).all()


def test_disagreement_leaves_unknown_neighbours_out_and_knows_no_spread_of_equal_ones():
    values = np.array([10.0, 1.0, np.nan, 1.0, 4.0])
    expected, deviation = disagreement(values, np.array([[1, 2, 3]] * 5))
    assert expected.tolist() == [1.0] * 5
    assert np.isnan(deviation).all()


def test_flags_that_stand_for_strangeness_are_found():
    distance = np.array([1.0, 2.0, 3.0, 4.0])
    flags = {
        "defect": np.array([0, 0, 0, 2]),
        "inverse": np.array([1, 0, 0, 0]),
        "half": np.array([0, 1, 1, 0]),
        "never": np.zeros(4, int),
        "always": np.ones(4, int),
    }
    assert flag_enrichment(distance, flags) == {"defect": 1.0, "inverse": 0.0, "half": 0.5}
