"""Intervals of a rank correlation against scipy's, of explicitly copied rows."""

from __future__ import annotations

import numpy as np
from product_ratio import cpu_seconds
from scipy import stats

from astroclip_bench.tasks.bootstrap import REPLICATES, cluster_counts
from astroclip_bench.tasks.metrics import Sample, score

COPIES = 20


def test_rank_correlation_of_20k(benchmark) -> None:
    random = np.random.default_rng(0)
    label, pixels = random.random(20_000), random.integers(0, 300, 20_000)
    sample = Sample(label, label + 0.1 * random.standard_normal(len(label)))
    copied: list[float] = []
    ours: list[float] = []
    expected: list[float] = []
    found: list[np.ndarray] = []

    def copy_rows() -> None:
        expected.clear()
        for counts in cluster_counts(300)[:COPIES]:
            rows = np.repeat(np.arange(len(label)), counts[pixels].astype(int))
            expected.append(stats.spearmanr(label[rows], sample.prediction[rows]).statistic)

    def weigh() -> None:
        found.append(score(["spearman"], sample, pixels, keep_replicates=True)["spearman"].replicates)

    score(["spearman"], sample, np.zeros(len(label), int))  # imports
    benchmark.pedantic(
        lambda: ours.append(cpu_seconds(weigh) / REPLICATES),
        setup=lambda: copied.append(cpu_seconds(copy_rows) / COPIES),
        rounds=3,
    )
    ratios = [one / other for one, other in zip(ours, copied, strict=True)]
    benchmark.extra_info["cpu_ratio_to_copied_rows"] = [round(ratio, 3) for ratio in ratios]
    benchmark.extra_info["cpu_milliseconds_per_replicate"] = [round(1_000 * seconds, 3) for seconds in ours]
    np.testing.assert_allclose(found[-1][:COPIES], expected, rtol=1e-12)
    assert min(ratios) <= 0.1
