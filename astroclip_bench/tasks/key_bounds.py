"""Upper bounds of how near vectors are, from one matrix product of any precision.

Distances do not change when every vector is taken from the mean of the reference. The key ``x.y - |y|^2 / 2`` of a query
x and a reference y then equals ``(|x|^2 - |x - y|^2) / 2``: the largest key is the nearest reference. Two matrices are
built here whose product is, for every pair, the key plus the most that rounding can have taken from it: the vectors,
with extra columns for -|y|^2 / 2 and for the bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.tasks.workers import Workers

if TYPE_CHECKING:
    from torch import Tensor, dtype

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

PLACED_ROWS = 2_048
SQUARED_ROWS = 4_096
# Columns appended to the vectors: three pieces of -|y|^2 / 2, two products that make the error bound, the shift.
EXTRA_COLUMNS = 6
COLUMN_MULTIPLE = 32
FLOAT32_ROUNDOFF = 2.0**-24
BFLOAT16_ROUNDOFF = 2.0**-8
# Room above a value so that it is not below it after rounding to bfloat16 (8 significant bits).
ROUND_UP = 1 + 2.0**-7
# Products below float32's normal range may be flushed to zero; the data are scaled to a largest norm of about one.
UNDERFLOW = 1e-30
# A key that no vector has, for rows without data; finite, so that zero times it is zero.
NO_KEY = -1e30


@dataclass(frozen=True)
class Placed:
    """Vectors, where they are moved to, and how they are scaled, before products are taken.

    Parameters
    ----------
    vectors
        As given, (n, d).
    squares
        Squared length of each vector in the frame, (n,), from float64 differences.
    centre, scale
        The frame: ``(vectors - centre) scale``. The scale is a power of two, so that scaling is exact.
    """

    vectors: Float32
    squares: Float64
    centre: Float32
    scale: float

    def placed(self, rows: Int64 | slice) -> Float32:
        """Return vectors in the frame; each difference is rounded once, relative to itself."""
        return (self.vectors[rows] - self.centre) * np.float32(self.scale)


def place(reference: Float32, query: Float32) -> tuple[Placed, Placed]:
    """Choose the frame: centred on the reference, with lengths of at most about one."""
    centre = reference.mean(axis=0, dtype=np.float64).astype(np.float32)
    squares = [_squares(vectors, centre) for vectors in (reference, query)]
    largest = max(values.max(initial=0.0) for values in squares)
    exponent = -np.ceil(np.log2(largest) / 2) if largest > 0 else 0.0
    scale = float(2.0 ** np.clip(exponent, -126, 126))
    one, other = (
        Placed(vectors, values * scale**2, centre, scale)
        for vectors, values in zip((reference, query), squares, strict=True)
    )
    return one, other


def _squares(vectors: Float32, centre: Float32) -> Float64:
    squares = np.empty(len(vectors))
    for part in chunks(len(vectors), SQUARED_ROWS):
        centred = vectors[part].astype(np.float64) - centre
        squares[part] = np.einsum("ij,ij->i", centred, centred)
    return squares


def chunks(rows: int, size: int) -> Iterator[slice]:
    """Cut a number of rows into pieces of at most `size`."""
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def empty_side(dimension: int, height: int, dtype: dtype) -> Tensor:
    """Return a zero matrix for `height` vectors with the extra columns, of a width that suits the processor."""
    import torch

    width = -(-(dimension + EXTRA_COLUMNS) // COLUMN_MULTIPLE) * COLUMN_MULTIPLE
    return torch.zeros(height, width, dtype=dtype)


def fill_reference_side(matrix: Tensor, reference: Placed, rows: Int64, threads: Workers) -> None:
    """Put references in the frame, with their extra columns; rows of the matrix beyond the data get `NO_KEY`."""
    errors = _fill_vectors(matrix, reference, rows, threads)
    used, dimension = len(rows), reference.vectors.shape[1]
    squares = reference.squares[rows]
    rest = squares * (slack(matrix) - 0.5)
    for column in range(dimension, dimension + 3):  # three pieces of 8 bits: as exact as float32
        piece = _to_bfloat16(rest)
        matrix[:used, column] = piece
        rest = rest - piece.double().numpy()
    matrix[:used, dimension + 3] = _to_bfloat16(np.sqrt(squares) * ROUND_UP)
    matrix[:used, dimension + 4] = _to_bfloat16(errors * ROUND_UP)
    matrix[:used, dimension + 5] = 1.0
    matrix[used:] = 0
    matrix[used:, dimension] = NO_KEY


def fill_query_side(matrix: Tensor, query: Placed, rows: Int64, shift: Tensor) -> None:
    """Put queries in the frame, with the extra columns that complete those of `fill_reference_side`.

    The keys of a query come out lower by its `shift`, a bfloat16 number.
    """
    errors = _fill_vectors(matrix, query, rows)
    used, dimension = len(rows), query.vectors.shape[1]
    lengths = np.sqrt(query.squares[rows])
    # |x.y - x'.y'| <= |x - x'| |y| + |x'| |y - y'| for rounded x' and y'.
    matrix[:used, dimension : dimension + 3] = 1.0
    matrix[:used, dimension + 3] = _to_bfloat16((errors + slack(matrix) * lengths) * ROUND_UP)
    matrix[:used, dimension + 4] = _to_bfloat16((lengths + errors) * ROUND_UP)
    matrix[:used, dimension + 5] = -shift


def slack(matrix: Tensor) -> float:
    """Return the most that float32 arithmetic can add to a key, relative to |x||y| + |y|^2 (and to the shift).

    A sum of K products in any order is off by at most K 2^-24 (1 + small) of the sum of their sizes, which is here at
    most |x||y| + |y|^2 / 2 and a few hundredths. The factor two covers those, and the rounding of the centred values.
    """
    return matrix.shape[1] * 2 * FLOAT32_ROUNDOFF


def key_limit(product: Float64, shift: Float64, matrix: Tensor) -> Float64:
    """Return the key that no pair exceeds whose product, as computed, is at most `product`."""
    import torch

    # The result itself is rounded to the matrix's type; twice the rounding leaves room.
    rounding = 2 * BFLOAT16_ROUNDOFF if matrix.dtype == torch.bfloat16 else 0.0
    return product + np.abs(product) * rounding + shift + slack(matrix) * np.abs(shift)


def _fill_vectors(matrix: Tensor, side: Placed, rows: Int64, threads: Workers | None = None) -> Float64:
    """Write the placed vectors, rounded to the matrix's type; return the lengths of what rounding took away."""
    import torch

    errors = np.empty(len(rows))

    def fill(part: slice) -> None:
        placed = torch.from_numpy(side.placed(rows[part]))
        rounded = matrix[part, : placed.shape[1]]
        rounded.copy_(placed)
        # The differences are exact; their float32 norms are as good as ROUND_UP's room to spare.
        errors[part] = torch.linalg.vector_norm(placed.sub_(rounded), dim=1).numpy()

    parts = chunks(len(rows), PLACED_ROWS)
    list(threads.pool.map(fill, parts) if threads else map(fill, parts))
    return errors


def _to_bfloat16(values: Float64) -> Tensor:
    import torch

    return torch.from_numpy(values).to(torch.bfloat16)
