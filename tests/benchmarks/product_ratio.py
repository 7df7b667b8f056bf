"""CPU time of a function as a multiple of the bare float32 matrix product of the same size, taken in turns."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

ROWS = 1_000


def unit_vectors(n: int, d: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def multiply(query: np.ndarray, reference: np.ndarray) -> None:
    """Compute every product of a query and a reference in blocks of rows, and keep none."""
    left, right = torch.from_numpy(query), torch.from_numpy(reference)
    block = torch.empty(ROWS, len(reference))
    for start in range(0, len(left), ROWS):
        rows = left[start : start + ROWS]
        torch.mm(rows, right.T, out=block[: len(rows)])


def cpu_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def ratio_to_product(
    benchmark, function: Callable[[], object], query: np.ndarray, reference: np.ndarray, rounds: int
) -> float:
    """Return the smallest ratio of several rounds: on a shared machine noise only adds."""
    assert torch.get_float32_matmul_precision() == "highest"
    bare: list[float] = []
    ours: list[float] = []
    multiply(query[:ROWS], reference)
    benchmark.pedantic(
        lambda: ours.append(cpu_seconds(function)),
        setup=lambda: bare.append(cpu_seconds(lambda: multiply(query, reference))),
        rounds=rounds,
    )
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    benchmark.extra_info["cpu_ratio_to_bare_product"] = [round(ratio, 3) for ratio in ratios]
    benchmark.extra_info["bare_product_cpu_seconds"] = [round(seconds, 2) for seconds in bare]
    return min(ratios)
