"""Vectors made to break shortcuts of a neighbour search."""

from __future__ import annotations

import numpy as np


def normal(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def near_duplicates(n: int, d: int, seed: int) -> np.ndarray:
    return normal(5, d, 0)[np.arange(n) % 5] * (1 + 1e-6 * normal(n, d, seed))


def tight_clusters(n: int, d: int, seed: int) -> np.ndarray:
    return normal(10, d, 0)[np.arange(n) % 10] + 1e-3 * normal(n, d, seed)


def one_outlier(n: int, d: int, seed: int) -> np.ndarray:
    vectors = normal(n, d, seed)
    vectors[n // 2] *= 1e6
    return vectors


ADVERSARIES = {
    "normal": normal,
    "unit": lambda n, d, seed: unit(normal(n, d, seed)),
    "narrow cone": lambda n, d, seed: unit(100 + normal(n, d, seed)),
    "far from zero": lambda n, d, seed: 1e4 + normal(n, d, seed),
    "near duplicates": near_duplicates,
    "tight clusters": tight_clusters,
    "one outlier": one_outlier,
    "tiny": lambda n, d, seed: 1e-25 * normal(n, d, seed),
    "huge": lambda n, d, seed: 1e15 * normal(n, d, seed),
    "few dimensions": lambda n, d, seed: normal(n, 3, seed),
    "uneven scales": lambda n, d, seed: normal(n, d, seed) * np.logspace(-6, 3, d, dtype=np.float32),
}
