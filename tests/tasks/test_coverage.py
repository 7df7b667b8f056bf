"""How often the intervals hold the truth, on a sky whose galaxies are alike within a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from astroclip_bench.tasks import retrieval
from astroclip_bench.tasks.bootstrap import Estimate, bootstrap
from astroclip_bench.tasks.metrics import METRICS, Sample

PIXELS, IN_PIXEL = 300, 6  # at least one galaxy a pixel, six on average
MEAN, LABEL, RESIDUAL, RANK = 0.3, (0.06, 0.08), (0.015, 0.02), (0.8, 1.0)
"""Standard deviations between pixels, and between the galaxies of one."""
FOUND_BELOW = -0.5
POOL = 1_000
REGRESSION = ("r2", "sigma_nmad", "dz_bias")


def variance(parts: tuple[float, float]) -> float:
    return parts[0] ** 2 + parts[1] ** 2


TRUTH = {
    # dz = (prediction - label) / (1 + label) is normal: residual = (1 + label) dz.
    "r2": 1 - variance(RESIDUAL) * ((1 + MEAN) ** 2 + variance(LABEL)) / variance(LABEL),
    "sigma_nmad": 1.4826 * stats.norm.ppf(0.75) * variance(RESIDUAL) ** 0.5,
    "dz_bias": 0.0,
    "recall@10": stats.norm.cdf(FOUND_BELOW / variance(RANK) ** 0.5),
}


def draw(random: np.random.Generator) -> tuple[np.ndarray, Sample, retrieval.Counts]:
    """Return pixels, predictions and ranks of the galaxies of one patch of sky."""
    pixels = np.repeat(np.arange(PIXELS), 1 + random.poisson(IN_PIXEL - 1, PIXELS))

    def alike(parts: tuple[float, float]) -> np.ndarray:
        return parts[0] * random.standard_normal(PIXELS)[pixels] + parts[1] * random.standard_normal(len(pixels))

    label = MEAN + alike(LABEL)
    sample = Sample(label, label + (1 + label) * alike(RESIDUAL))
    greater = np.where(alike(RANK) < FOUND_BELOW, 3, 300)
    return pixels, sample, retrieval.Counts(greater, np.zeros_like(greater))


def estimate(pixels: np.ndarray, sample: Sample, counts: retrieval.Counts) -> dict[str, Estimate]:
    statistics = {name: METRICS[name].of(sample) for name in REGRESSION}
    return bootstrap(statistics | retrieval.statistics(["recall@10"], counts, POOL), pixels)


def coverage(draws: int, clustered: bool = True) -> dict[str, float]:
    """Return the share of draws whose interval holds the truth, with pixels or single galaxies resampled."""
    held = dict.fromkeys(TRUTH, 0)
    for number in range(draws):
        pixels, sample, counts = draw(np.random.default_rng([7, number]))
        for name, found in estimate(pixels if clustered else np.arange(len(pixels)), sample, counts).items():
            assert found.low is not None
            assert found.high is not None
            held[name] += found.low <= TRUTH[name] <= found.high
    return {name: count / draws for name, count in held.items()}


@pytest.mark.slow
def test_intervals_hold_the_truth_in_93_to_97_percent_of_500_draws():
    found = coverage(500)
    assert all(0.93 <= share <= 0.97 for share in found.values()), found


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    # Of 100 draws with 95 %, fewer than 88 or all 100 come once in 200 times.
    found = coverage(100)
    assert all(88 <= round(100 * share) < 100 for share in found.values()), found


def test_intervals_from_single_galaxies_would_be_too_narrow():
    """What the test above can see: the same sky with its clustering ignored."""
    found = coverage(40, clustered=False)
    assert max(found.values()) < 0.9, found
