"""The bound of every pair lies above the exact key, and not far above."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
import torch
from adversaries import ADVERSARIES

from astroclip_bench.tasks.key_bounds import (
    NO_KEY,
    Placed,
    empty_side,
    fill_query_side,
    fill_reference_side,
    key_limit,
    place,
)
from astroclip_bench.tasks.workers import Workers

N, D = 300, 70


def product(reference: Placed, query: Placed, dtype: torch.dtype, shift: torch.Tensor) -> torch.Tensor:
    left, right = empty_side(D, N, dtype), empty_side(D, N + 4, dtype)
    with ThreadPoolExecutor(1) as pool:
        fill_reference_side(right, reference, np.arange(N), Workers(pool, 1))
    fill_query_side(left, query, np.arange(N), shift)
    limits = key_limit(
        torch.mm(left, right.T).double().numpy(), shift.double().numpy()[:, None] * np.ones(N + 4), right
    )
    return torch.from_numpy(limits)


@pytest.mark.parametrize("kind", ADVERSARIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_key_exceeds_its_bound(kind: str, dtype: torch.dtype) -> None:
    reference, query = place(*(ADVERSARIES[kind](N, D, seed).astype(np.float32) for seed in (1, 2)))
    one, other = ((side.vectors.astype(np.float64) - side.centre) * side.scale for side in (query, reference))
    exact = one @ other.T - (other**2).sum(axis=1) / 2
    size = np.sqrt(query.squares[:, None] * reference.squares) + reference.squares
    shift = torch.from_numpy(exact.max(axis=1)).to(torch.bfloat16).float()
    for moved in (shift, 0 * shift):
        bounds = product(reference, query, dtype, moved).numpy()
        assert (bounds[:, N:] < 0.9 * NO_KEY).all()
        above = bounds[:, :N] - exact
        # float64 rounding of `exact` itself, where a bound is as tight as that
        assert (above >= -1e-12 * size - 1e-30).all()
        assert np.median(above / size) < (3e-4 if dtype == torch.float32 else 0.03)


def test_a_frame_is_exact_arithmetic() -> None:
    """Scaling by a power of two and one rounding of the difference are all that placing does."""
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((5, 3)).astype(np.float32)
    side, _ = place(vectors, vectors)
    for row in range(5):
        for value, centre, placed in zip(vectors[row], side.centre, side.placed(slice(row, row + 1))[0], strict=True):
            true = (Fraction(float(value)) - Fraction(float(centre))) * Fraction(side.scale)
            assert abs(Fraction(float(placed)) - true) <= abs(true) / 2**24
    assert np.log2(side.scale) == round(np.log2(side.scale))
    assert 0.25 <= side.squares.max() <= 1.0
