"""Skill and bands, on numbers that can be reckoned by hand."""

from __future__ import annotations

import numpy as np
import pytest

from leaderboard.ranking import Contender, rank, skill_of

ENDS = {"a": (0.0, 0.5), "b": (0.2, 1.2)}


def contender(name: str, a: float, b: float, noise: np.ndarray) -> Contender:
    return Contender(name, {"a": a, "b": b}, {"a": a + noise, "b": b + noise})


def test_skill_is_0_at_one_end_and_1_at_the_other():
    assert skill_of({"a": 0.0, "b": 0.2}, ENDS) == 0
    assert skill_of({"a": 0.5, "b": 1.2}, ENDS) == 1
    assert skill_of({"a": 0.25, "b": 1.2}, ENDS) == pytest.approx((0.5 + 1) / 2)
    np.testing.assert_allclose(skill_of({"a": [0.0, 0.5], "b": [1.2, 0.2]}, ENDS), [0.5, 0.5])


def test_rows_that_the_sky_cannot_tell_apart_share_a_rank():
    noise = np.random.default_rng(0).normal(0, 0.05, (3, 1000))
    best = contender("best", 0.5, 1.0, noise[0])
    near = contender("near", 0.48, 0.98, noise[1])
    far = contender("far", 0.1, 0.5, noise[2])
    found = rank([far, near, best], ENDS)
    assert list(found) == ["best", "near", "far"]
    assert [standing.rank for standing in found.values()] == [1, 1, 3]


def test_a_small_difference_on_the_same_resamples_is_a_difference():
    noise = np.random.default_rng(0).normal(0, 0.05, 1000)
    found = rank([contender("one", 0.5, 1.0, noise), contender("other", 0.49, 0.99, noise)], ENDS)
    assert [standing.rank for standing in found.values()] == [1, 2]
    low, high = np.percentile(skill_of({"a": 0.5 + noise, "b": 1.0 + noise}, ENDS), (2.5, 97.5))
    assert (found["one"].low, found["one"].high) == (pytest.approx(low), pytest.approx(high))


def test_a_band_is_led_by_its_best_row():
    """Each is like its neighbour, but the third is not like the first: it leads the next band."""
    noise = np.random.default_rng(1).normal(0, 0.02, (3, 1000))
    rows = [
        contender(name, value, value * 2 + 0.2, drawn)
        for name, value, drawn in zip("xyz", (0.4, 0.37, 0.34), noise, strict=True)
    ]
    assert [standing.rank for standing in rank(rows, ENDS).values()] == [1, 1, 3]


def test_equal_rows_are_in_order_of_name():
    noise = np.zeros(10)
    found = rank([contender("b", 0.1, 0.3, noise), contender("a", 0.1, 0.3, noise)], ENDS)
    assert list(found) == ["a", "b"]
    assert {standing.rank for standing in found.values()} == {1}
