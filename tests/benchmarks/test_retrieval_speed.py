"""Two-way retrieval ranks against the bare product, and the memory they take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from product_ratio import ratio_to_product, unit_vectors

from astroclip_bench.tasks.protocols import l2_normalise
from astroclip_bench.tasks.retrieval import TwoWayCounts, retrieval_counts


def pairs(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs that a trained model could give: most objects are among the first percent."""
    latent = np.random.default_rng(9).standard_normal((n, d), dtype=np.float32)
    scale = 3 * np.sqrt(d)
    return tuple(l2_normalise(latent + scale * unit_vectors(n, d, seed)) for seed in (0, 1))


def unrelated(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    return unit_vectors(n, d, 0), unit_vectors(n, d, 1)


def assert_exact(query: np.ndarray, reference: np.ndarray, counts: TwoWayCounts) -> None:
    rows = np.arange(0, len(query), len(query) // 200)
    for left, right, found in ((query, reference, counts.forward), (reference, query, counts.backward)):
        similarity = left[rows].astype(np.float64) @ right.T.astype(np.float64)
        own = similarity[np.arange(len(rows)), rows].copy()[:, None]
        similarity[np.arange(len(rows)), rows] = -np.inf
        np.testing.assert_array_equal(found.greater[rows], (similarity > own + 1e-12).sum(axis=1))
        np.testing.assert_array_equal(found.ties[rows], (np.abs(similarity - own) <= 1e-12).sum(axis=1))


def memory_bytes(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what + ":"))


@pytest.mark.parametrize("make", [pairs, unrelated])
def test_ranks_of_5k(benchmark, make) -> None:
    """A size for every run: exact, and within a loose limit that a slow path would break."""
    query, reference = make(5_000, 256)
    ratio = ratio_to_product(benchmark, lambda: retrieval_counts(query, reference), query, reference, 3)
    assert_exact(query, reference, retrieval_counts(query, reference))
    assert ratio <= 4


@pytest.mark.slow
@pytest.mark.parametrize("make", [pairs, unrelated])
def test_ranks_of_20k(benchmark, make) -> None:
    query, reference = make(20_000, 512)
    ratio = ratio_to_product(benchmark, lambda: retrieval_counts(query, reference), query, reference, 5)
    assert_exact(query, reference, retrieval_counts(query, reference))
    assert ratio <= 1.4


@pytest.mark.slow
def test_memory_of_ranks_of_20k() -> None:
    """The peak of the resident memory above what was resident before, once the libraries have been used."""
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        pytest.skip("the peak of the resident memory can be reset on Linux only")
    query, reference = pairs(20_000, 512)
    retrieval_counts(query[:100], reference[:100])
    reset.write_text("5")
    before = memory_bytes("VmRSS")
    retrieval_counts(query, reference)
    assert memory_bytes("VmHWM") - before < 100e6
