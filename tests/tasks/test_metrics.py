"""Metrics against scikit-learn, scipy, and closed forms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from metric_reference import N, expected_values, make_sample
from scipy import integrate
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
