"""The weighted bootstrap against a loop that copies rows."""

from __future__ import annotations

import numpy as np
import pytest
from metric_reference import expected_values, make_sample

from astroclip_bench.tasks import bootstrap as module
from astroclip_bench.tasks.bootstrap import Resamples, bootstrap, cluster_counts
from astroclip_bench.tasks.metrics import METRICS, Sample, score

REPLICATES = 40


def copied_rows(pixels: np.ndarray, replicates: int) -> list[np.ndarray]:
    """Return the rows of every resample, each as often as its cluster was drawn."""
    found = np.unique(pixels)
    return [
        np.concatenate(
            [np.repeat(np.flatnonzero(pixels == pixel), int(times)) for pixel, times in zip(found, row, strict=True)]
        )
        for row in cluster_counts(len(found), replicates)
    ]


def test_every_replicate_of_every_metric_equals_the_naive_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 8 * 300 * 7)  # seven replicates a part
    sample = make_sample(n=300)
    pixels = np.random.default_rng(1).integers(1000, 1060, 300)
    found = bootstrap(
        {name: metric.of(sample) for name, metric in METRICS.items() if not metric.of_classes},
        pixels,
        replicates=REPLICATES,
        keep_replicates=True,
    )
    for replicate, rows in enumerate(copied_rows(pixels, REPLICATES)):
        assert sample.neighbour_labels is not None
        assert sample.neighbour_weights is not None
        copied = Sample(
            sample.label[rows], sample.prediction[rows], sample.neighbour_labels[rows], sample.neighbour_weights[rows]
        )
        for name, value in expected_values(copied).items():
            replicates = found[name].replicates
            assert replicates is not None
            assert replicates[replicate] == pytest.approx(value, abs=1e-12), name


def test_error_and_interval_are_those_of_the_replicates() -> None:
    sample = make_sample()
    estimate = score(["rmse"], sample, np.arange(400) // 5, keep_replicates=True)["rmse"]
    assert estimate.replicates is not None
    assert len(estimate.replicates) == 1_000
    assert estimate.standard_error == pytest.approx(np.std(estimate.replicates, ddof=1))
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.percentile(estimate.replicates, [2.5, 97.5])))
    assert estimate.low < estimate.value < estimate.high


def test_standard_error_of_a_mean_is_the_clustered_one() -> None:
    """All objects of a pixel alike: the error must be that of the pixels, not of the objects."""
    generator = np.random.default_rng(0)
    pixels = np.repeat(np.arange(200), 10)
    values = np.repeat(generator.standard_normal(200), 10)
    estimate = bootstrap({"mean": lambda resamples: resamples.mean(values)}, pixels)["mean"]
    assert estimate.standard_error == pytest.approx(values.std() / np.sqrt(200), rel=0.08)


def test_two_models_share_their_resamples() -> None:
    sample, pixels = make_sample(), np.arange(400) // 5
    better = Sample(sample.label, sample.label + 0.9 * sample.residual)
    one, two = (score(["rmse"], which, pixels, keep_replicates=True)["rmse"] for which in (sample, better))
    assert one.replicates is not None
    assert two.replicates is not None
    np.testing.assert_allclose(two.replicates, 0.9 * one.replicates)
    np.testing.assert_array_equal(cluster_counts(17), cluster_counts(17))


def test_counts_draw_as_many_clusters_as_there_are() -> None:
    counts = cluster_counts(30, 200)
    assert counts.shape == (200, 30)
    np.testing.assert_array_equal(counts.sum(axis=1), 30)
    assert 0.85 < counts.var() < 1.1  # of a binomial with 30 trials of 1/30: 0.967


def test_one_cluster_has_no_interval() -> None:
    estimate = score(["rmse"], make_sample(), np.zeros(400, dtype=int))["rmse"]
    assert estimate.value is not None
    assert estimate.standard_error is estimate.low is estimate.high is None


def test_no_objects() -> None:
    estimate = bootstrap({"mean": lambda resamples: resamples.mean(np.empty(0))}, np.empty(0, dtype=int))["mean"]
    assert (estimate.value, estimate.n) == (None, 0)


def test_sums_and_sizes_by_cluster() -> None:
    resamples = Resamples(np.array([[2.0, 0.0, 1.0]]), np.array([0, 1, 2, 2]))
    np.testing.assert_array_equal(resamples.weights, [[2, 0, 1, 1]])
    np.testing.assert_array_equal(resamples.size, [4])
    np.testing.assert_array_equal(resamples.sum(np.array([1.0, 10.0, 100.0, 1000.0])), [1102])
