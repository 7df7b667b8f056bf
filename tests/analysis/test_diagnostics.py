"""Diagnostics against closed forms, dense formulas and other libraries."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from astroclip_bench.analysis import diagnostics
from astroclip_bench.analysis.diagnostics import (
    alignment,
    effective_dimension,
    hubness,
    linear_cka,
    modality_gap,
    mutual_neighbours,
    neighbour_lists,
    uniformity,
)
from astroclip_bench.errors import TaskError

AXES = np.eye(4, dtype=np.float32)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Let every sum run over several blocks, the last one short."""
    monkeypatch.setattr(diagnostics, "BLOCK_ROWS", 37)


def cloud(n=200, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def rotation(d, seed=5):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def test_gap_between_two_axes_is_root_two_whatever_the_lengths():
    one, other = np.tile(3 * AXES[0], (50, 1)), np.tile(0.1 * AXES[1], (70, 1))
    assert modality_gap(one, other) == pytest.approx(np.sqrt(2))
    assert modality_gap(one, one) == 0
    assert modality_gap(AXES[:1], -AXES[:1]) == pytest.approx(2)


def test_alignment_of_pairs_at_an_angle():
    angle = 0.3
    other = np.tile([np.cos(angle), np.sin(angle), 0, 0], (90, 1)).astype(np.float32)
    assert alignment(np.tile(AXES[0], (90, 1)), 7 * other) == pytest.approx(2 - 2 * np.cos(angle), rel=1e-5)


def test_uniformity_of_two_poles_and_of_one_place():
    assert uniformity(np.stack([AXES[0], -AXES[0]])) == pytest.approx(-8)
    assert uniformity(np.tile(AXES[0], (80, 1))) == pytest.approx(0, abs=1e-6)


def test_uniformity_is_that_of_all_pairs():
    from scipy.spatial.distance import pdist

    vectors = cloud().astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert uniformity(vectors) == pytest.approx(np.log(np.exp(-2 * pdist(unit, "sqeuclidean")).mean()), rel=1e-5)


def test_effective_dimension_of_equal_and_of_unequal_axes():
    both_ways = np.concatenate([AXES, -AXES])
    assert effective_dimension(both_ways) == {
        "participation_ratio": pytest.approx(4),
        "entropy_rank": pytest.approx(4),
    }
    first, second = np.stack([AXES[0], -AXES[0]]), np.stack([AXES[1], -AXES[1]])
    unequal = effective_dimension(np.concatenate([first, first, first, second]))
    assert unequal["participation_ratio"] == pytest.approx(1 / (0.75**2 + 0.25**2))
    assert unequal["entropy_rank"] == pytest.approx(0.75**-0.75 * 0.25**-0.25)


def test_effective_dimension_of_one_place_is_unknown():
    assert np.isnan(list(effective_dimension(np.tile(AXES[2], (30, 1))).values())).all()


def test_neighbours_are_scikit_learns_without_the_object_itself():
    from sklearn.neighbors import NearestNeighbors

    vectors = cloud()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = NearestNeighbors(n_neighbors=7).fit(unit).kneighbors(return_distance=False)
    assert np.array_equal(neighbour_lists(vectors, 7), expected)


def test_an_object_is_not_its_own_neighbour_even_among_copies():
    lists = neighbour_lists(np.tile(AXES[0], (30, 1)), 5)
    assert lists.shape == (30, 5)
    assert not (lists == np.arange(30)[:, None]).any()


def test_hubness_of_one_hub():
    lists = np.zeros((20, 1), np.int64)
    lists[0] = 1
    counts = np.array([19, 1] + [0] * 18)
    third, second = (((counts - counts.mean()) ** power).mean() for power in (3, 2))
    assert hubness(lists) == {
        "skewness": pytest.approx(third / second**1.5),
        "antihub_share": pytest.approx(18 / 20),
    }


def test_hubs_grow_with_the_dimension():
    # Away from the origin some directions are central; about it all are alike on the sphere.
    flat, high = (hubness(neighbour_lists(cloud(600, d) + 2))["skewness"] for d in (3, 100))
    assert high > flat + 0.5


def test_mutual_neighbours_of_equal_turned_and_unrelated_spaces():
    one = cloud(300, 8)
    lists = neighbour_lists(one)
    assert mutual_neighbours(lists, lists[:, ::-1]) == 1
    assert mutual_neighbours(lists, neighbour_lists((5 * one @ rotation(8)).astype(np.float32))) > 0.999
    chance = 10 / 299
    assert mutual_neighbours(lists, neighbour_lists(cloud(300, 8, seed=9))) == pytest.approx(chance, abs=0.02)


def test_mutual_neighbours_count_common_members_by_hand():
    one, other = np.array([[1, 2], [0, 2], [0, 1]]), np.array([[2, 1], [2, 3], [3, 4]])
    assert mutual_neighbours(one, other) == pytest.approx((2 + 1 + 0) / 6)


def dense_hsic(one, other):
    n = len(one)
    centre = np.eye(n) - 1 / n
    return np.trace(one @ one.T @ centre @ other @ other.T @ centre)


def dense_unbiased_hsic(one, other):
    """Song et al. 2012, equation 5, as it is printed."""
    n = len(one)
    left, right = (side @ side.T * (1 - np.eye(n)) for side in (one, other))
    ones = np.ones(n)
    both = np.trace(left @ right) + (ones @ left @ ones) * (ones @ right @ ones) / ((n - 1) * (n - 2))
    return (both - 2 / (n - 2) * (ones @ left @ right @ ones)) / (n * (n - 3))


@pytest.mark.parametrize(("unbiased", "dense"), [(False, dense_hsic), (True, dense_unbiased_hsic)])
def test_cka_is_the_dense_formula(unbiased, dense):
    one = cloud(120, 6).astype(np.float64) + 3.0
    other = np.concatenate([one[:, :3] ** 2, cloud(120, 5, seed=2)], axis=1)
    expected = dense(one, other) / np.sqrt(dense(one, one) * dense(other, other))
    assert linear_cka(one, other, unbiased=unbiased) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("unbiased", [False, True])
def test_cka_knows_no_rotation_scale_or_shift(unbiased):
    one = cloud(150, 6)
    moved = 4 * one @ rotation(6) + 2
    assert linear_cka(one, moved, unbiased=unbiased) == pytest.approx(1, rel=1e-5)


def test_only_the_unbiased_cka_of_unrelated_spaces_is_nothing():
    one, other = cloud(60, 200), cloud(60, 200, seed=1)
    assert linear_cka(one, other) > 0.6
    assert abs(linear_cka(one, other, unbiased=True)) < 0.15


def test_cka_with_what_does_not_vary_is_unknown():
    assert np.isnan(linear_cka(cloud(50), np.ones((50, 2))))


@pytest.mark.parametrize("measure", [uniformity, effective_dimension, lambda v: linear_cka(v, v, unbiased=True)])
def test_memory_does_not_grow_with_the_pairs(measure, monkeypatch):
    monkeypatch.undo()
    vectors = cloud(9_000, 8)
    tracemalloc.start()
    try:
        measure(vectors)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.4 * 8 * 9_000**2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: modality_gap(cloud(5, 3), cloud(5, 4)),
        lambda: modality_gap(cloud(0, 3), cloud(5, 3)),
        lambda: alignment(cloud(5, 3), cloud(6, 3)),
        lambda: alignment(cloud(5, 3), cloud(5, 4)),
        lambda: uniformity(cloud(1)),
        lambda: effective_dimension(cloud(0)),
        lambda: neighbour_lists(cloud(10), 10),
        lambda: mutual_neighbours(neighbour_lists(cloud(30), 3), neighbour_lists(cloud(30), 4)),
        lambda: linear_cka(cloud(5), cloud(6)),
        lambda: linear_cka(cloud(3), cloud(3), unbiased=True),
    ],
)
def test_what_cannot_be_measured_is_said(wrong):
    with pytest.raises(TaskError):
        wrong()
