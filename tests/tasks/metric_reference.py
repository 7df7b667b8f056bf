"""Predictions to score, and every metric from public libraries or its plain definition."""

from __future__ import annotations

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

from astroclip_bench.tasks.metrics import Sample

N = 400


def make_sample(seed: int = 0, n: int = N) -> Sample:
    """Return labels, predictions and neighbours with ties in all of them."""
    generator = np.random.default_rng(seed)
    label = np.round(generator.uniform(0, 0.6, n), 2)
    prediction = np.round(label + 0.06 * generator.standard_t(2, n), 3)
    neighbours = np.round(label[:, None] + generator.normal(0, 0.03, (n, 8)), 2)
    weights = generator.random((n, 8))
    return Sample(label, prediction, neighbours, weights / weights.sum(axis=1, keepdims=True))


def expected_values(sample: Sample) -> dict[str, float]:
    """Return every metric from public libraries or its plain definition."""
    label, prediction = sample.label, sample.prediction
    dz = (prediction - label) / (1 + label)
    assert sample.neighbour_labels is not None
    assert sample.neighbour_weights is not None
    pit = np.array(
        [
            sum(w * (x < y) + 0.5 * w * (x == y) for x, w in zip(values, weights, strict=True))
            for y, values, weights in zip(label, sample.neighbour_labels, sample.neighbour_weights, strict=True)
        ]
    )
    pairs = np.abs(sample.neighbour_labels[:, :, None] - sample.neighbour_labels[:, None, :])
    spread = np.einsum("ni,nj,nij->n", sample.neighbour_weights, sample.neighbour_weights, pairs)
    error = (sample.neighbour_weights * np.abs(sample.neighbour_labels - label[:, None])).sum(axis=1)
    return {
        "r2": sklearn_metrics.r2_score(label, prediction),
        "rmse": sklearn_metrics.root_mean_squared_error(label, prediction),
        "mae": sklearn_metrics.mean_absolute_error(label, prediction),
        "bias": float(np.mean(prediction - label)),
        "spearman": stats.spearmanr(label, prediction).statistic,
        "dz_bias": float(np.median(dz)),
        "sigma_nmad": 1.4826 * stats.median_abs_deviation(dz),
        "outlier_fraction_0.15": float(np.mean(np.abs(dz) > 0.15)),
        "outlier_fraction_0.05": float(np.mean(np.abs(dz) > 0.05)),
        "outlier_fraction_0.003": float(np.mean(np.abs(dz) > 0.003)),
        "pit_uniformity": stats.kstest(pit, "uniform").statistic,
        "crps": float(np.mean(error - spread / 2)),
    }
