"""Metrics against scikit-learn, scipy, and closed forms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from metric_reference import N, expected_values, make_sample
from scipy import integrate, stats
from sklearn import metrics as sklearn_metrics

from astroclip_bench.errors import TaskError
from astroclip_bench.tasks.metrics import METRICS, Sample, get_metrics, score, score_groups

NUMBERS = [name for name, metric in METRICS.items() if not metric.of_classes]


@pytest.mark.parametrize("n", [N, N + 1])
def test_every_metric_against_its_reference(n: int) -> None:
    sample = make_sample(n=n)
    expected = expected_values(sample)
    assert set(expected) == set(NUMBERS)
    found = score(NUMBERS, sample, np.arange(n) // 7)
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-12), name


def test_crps_is_the_integral_of_its_definition() -> None:
    sample = make_sample(n=20)
    assert sample.neighbour_labels is not None
    assert sample.neighbour_weights is not None
    for row in range(5):
        values, weights, truth = sample.neighbour_labels[row], sample.neighbour_weights[row], sample.label[row]
        edges = np.unique(np.append(values, truth))
        square = 0.0
        for low, high in pairwise(edges):
            middle = (low + high) / 2
            height = weights[values <= middle].sum() - float(truth <= middle)
            square += integrate.quad(lambda x, height=height: height**2, low, high)[0]
        assert sample.crps[row] == pytest.approx(square, abs=1e-12)


def test_a_perfect_prediction() -> None:
    label = np.linspace(0, 0.5, 50)
    found = score(
        NUMBERS, Sample(label, label, np.repeat(label[:, None], 3, axis=1), np.full((50, 3), 1 / 3)), np.arange(50)
    )
    assert found["r2"].value == found["spearman"].value == pytest.approx(1.0)
    for name in ("rmse", "mae", "bias", "dz_bias", "sigma_nmad", "outlier_fraction_0.003", "crps"):
        assert found[name].value == pytest.approx(0.0, abs=1e-15), name


def test_undefined_metrics_are_none_not_nan() -> None:
    constant = Sample(np.full(30, 0.2), np.linspace(0, 1, 30))
    found = score(["r2", "spearman", "rmse"], constant, np.arange(30))
    assert found["r2"].value is found["spearman"].value is None
    assert found["rmse"].value is not None


def test_groups_score_their_own_objects() -> None:
    sample, pixels = make_sample(), np.arange(N) // 7
    low = sample.label < 0.3
    few = np.arange(N) < 9
    found = score_groups(["r2", "sigma_nmad"], sample, pixels, {"low": low, "few": few})
    assert found["low"]["r2"].value == pytest.approx(
        sklearn_metrics.r2_score(sample.label[low], sample.prediction[low]), abs=1e-12
    )
    assert found["low"]["r2"].n == low.sum()
    assert found["few"]["r2"] == found["few"]["sigma_nmad"]
    assert (found["few"]["r2"].value, found["few"]["r2"].n) == (None, 9)


def test_unknown_metric_and_missing_distribution() -> None:
    with pytest.raises(TaskError, match="there is no metric 'r3'"):
        get_metrics(["r3"])
    with pytest.raises(TaskError, match="predictive distribution"):
        score(["crps"], Sample(np.arange(20.0), np.arange(20.0)), np.arange(20))


def test_metrics_of_a_calibrated_normal_distribution_have_their_closed_forms() -> None:
    random = np.random.default_rng(5)
    n, sigma = 20_000, 0.03
    centre = random.uniform(0.1, 0.5, n)
    label = centre + sigma * random.standard_normal(n)
    # Quantiles of the same distribution, all of the same weight.
    quantiles = stats.norm.ppf((np.arange(200) + 0.5) / 200)
    neighbours = centre[:, None] + sigma * quantiles
    sample = Sample(label, centre, neighbours, np.full((n, 200), 1 / 200))
    found = score(["pit_uniformity", "crps", "rmse", "mae", "r2"], sample, np.arange(n) // 500)
    assert found["crps"].value == pytest.approx(sigma / np.sqrt(np.pi), rel=0.02)
    assert found["pit_uniformity"].value is not None
    assert found["pit_uniformity"].value < 1.36 / np.sqrt(n) + 1 / 200  # 95 % of Kolmogorov's distribution; the steps
    assert found["rmse"].value == pytest.approx(sigma, rel=0.02)
    assert found["mae"].value == pytest.approx(sigma * np.sqrt(2 / np.pi), rel=0.02)
    assert found["r2"].value == pytest.approx(1 - sigma**2 / (0.4**2 / 12 + sigma**2), abs=0.01)
    # One object, by the formula of Gneiting & Raftery (2007), section 4.2.
    z = (label[:100] - centre[:100]) / sigma
    closed = sigma * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    np.testing.assert_allclose(sample.crps[:100], closed, atol=0.01 * sigma)


def test_distributions_that_are_too_narrow_are_not_uniform() -> None:
    random = np.random.default_rng(6)
    label = random.standard_normal(5_000)
    neighbours = 0.5 * np.tile(stats.norm.ppf((np.arange(100) + 0.5) / 100), (5_000, 1))
    sample = Sample(label, np.zeros(5_000), neighbours, np.full((5_000, 100), 0.01))
    # A share Phi(x) of the labels lies where Phi(2 x) is predicted: farthest apart at exp(-3 x^2 / 2) = 1 / 2.
    x = np.sqrt(2 * np.log(2) / 3)
    expected = stats.norm.cdf(2 * x) - stats.norm.cdf(x)
    assert score(["pit_uniformity"], sample, np.arange(5_000))["pit_uniformity"].value == pytest.approx(
        expected, abs=0.02
    )


def test_the_normalised_deviation_is_sigma_whatever_few_outliers_do() -> None:
    random = np.random.default_rng(7)
    label = random.uniform(0, 0.5, 40_000)
    prediction = label + (1 + label) * (0.01 + 0.02 * random.standard_normal(40_000))
    prediction[:400] = label[:400] + 0.5 * (1 + label[:400])
    found = score(
        ["sigma_nmad", "dz_bias", "outlier_fraction_0.15"], Sample(label, prediction), np.arange(40_000) // 800
    )
    assert found["sigma_nmad"].value == pytest.approx(0.02, rel=0.03)
    assert found["dz_bias"].value == pytest.approx(0.01, abs=0.001)
    assert found["outlier_fraction_0.15"].value == pytest.approx(0.01, abs=1e-9)
