"""The neighbour search against the bare product and scikit-learn, measured in turns in one process."""

from __future__ import annotations

import numpy as np
import pytest
from product_ratio import cpu_seconds, ratio_to_product, unit_vectors
from sklearn.neighbors import NearestNeighbors

from astroclip_bench.tasks.neighbours import nearest_neighbours

K = 16


def clustered(n: int, d: int, seed: int) -> np.ndarray:
    """Return embeddings as a trained model makes them: a curved sheet of ten dimensions with some noise."""
    fixed, generator = np.random.default_rng(1_000), np.random.default_rng(seed)
    inner, outer = fixed.standard_normal((10, 64), dtype=np.float32), fixed.standard_normal((64, d), dtype=np.float32)
    latent = generator.standard_normal((n, 10), dtype=np.float32)
    noise = 0.02 * generator.standard_normal((n, d), dtype=np.float32)
    vectors = np.tanh(0.5 * latent @ inner) @ outer / 8 + noise
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def assert_exact(reference: np.ndarray, query: np.ndarray, found: tuple[np.ndarray, np.ndarray], rows: int) -> None:
    for row in np.random.default_rng(0).choice(len(query), rows, replace=False):
        squares = ((reference.astype(np.float64) - query[row].astype(np.float64)) ** 2).sum(axis=1)
        order = np.argsort(squares, kind="stable")[:K]
        np.testing.assert_array_equal(found[1][row], order)
        np.testing.assert_allclose(found[0][row], np.sqrt(squares[order]), rtol=1e-13)


@pytest.mark.parametrize("make", [unit_vectors, clustered])
def test_search_of_20k(benchmark, make) -> None:
    """A size for every run: exact, and within a loose limit that a slow path would break."""
    reference, query = make(20_000, 256, 0), make(4_000, 256, 1)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    ratio = ratio_to_product(
        benchmark, lambda: found.append(nearest_neighbours(reference, query, K)), query, reference, 3
    )
    assert_exact(reference, query, found[0], 40)
    assert ratio <= 3


@pytest.mark.slow
@pytest.mark.parametrize("make", [unit_vectors, clustered])
def test_search_of_100k(benchmark, make) -> None:
    """100,000 references, 20,000 queries, 512 dimensions; scikit-learn is timed on 2,000 of the queries, times ten."""
    reference, query = make(100_000, 512, 0), make(20_000, 512, 1)
    found: list[tuple[np.ndarray, np.ndarray]] = []

    def search() -> None:
        found[:] = [nearest_neighbours(reference, query, K)]

    ratio = ratio_to_product(benchmark, search, query, reference, 3)
    assert_exact(reference, query, found[0], 40)
    brute = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(reference)
    theirs = [10 * cpu_seconds(lambda: brute.kneighbors(query[:2_000])) for _ in range(2)]
    ours = [cpu_seconds(search) for _ in range(2)]
    benchmark.extra_info["cpu_speedup_over_scikit_learn"] = round(min(theirs) / min(ours), 2)
    assert ratio <= 1.2
    assert min(theirs) / min(ours) >= 2.5
