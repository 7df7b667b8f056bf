"""Exact nearest neighbours by Euclidean distance: a fast inexact product proposes, float64 differences decide.

How a search stays exact. With every vector taken from the mean of the reference (distances do not change), the key
``x.y - |y|^2 / 2`` of a query x and a reference y orders the references as the distance does, since it equals
``(|x|^2 - |x - y|^2) / 2``. A low-precision matrix product gives, for every pair, an *upper bound* of that key: the
product plus the largest error its rounding can have made, carried as five extra columns of the two matrices. The
references of the largest bounds are the candidates, and their distances are recomputed as float64 differences. No
other reference has a key above the last candidate's bound, so where the k-th exact key lies above it, the row is
proven. Rows without the proof go to the next stage: bfloat16 products, float32 products, and last float64 products
with every reference that the error bound cannot exclude.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import EmbedderError, TaskError

if TYPE_CHECKING:
    from torch import Tensor

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Progress = Callable[[int, int], None]

BLOCK_BYTES = 128 * 2**20
REFERENCE_ROWS = 16_384
GROUP = 32
PILOT_ROWS = 1_024
# A bfloat16 pass costs about 0.4 of a float32 pass: it is worth its price when it proves more rows than that.
PILOT_SHARE = 0.4
# Columns appended to the embeddings: three pieces of -|y|^2 / 2, and two products that make the error bound.
EXTRA_COLUMNS = 5
COLUMN_MULTIPLE = 32
FLOAT32_ROUNDOFF = 2.0**-24
FLOAT64_ROUNDOFF = 2.0**-53
# Room above a value so that it is not below it after rounding to bfloat16 (8 significant bits).
ROUND_UP = 1 + 2.0**-7
# Products below float32's normal range may be flushed to zero; the data are scaled to a largest norm of about one.
UNDERFLOW = 1e-30

_precision_lock = threading.RLock()


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Run torch's float32 matrix products at `precision` ("highest" or "medium"), then restore the setting.

    The setting is one per process: a lock keeps two users of this function apart, so keep the block short.
    """
    import torch

    with _precision_lock:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)


@dataclass(frozen=True)
class _Frame:
    """Where the data are moved to, and how they are scaled, before products are taken."""

    centre: Float32
    scale: float  # a power of two: scaling is exact

    def place(self, vectors: Float32) -> Float32:
        # Each difference is rounded once, relative to itself: 2^-24 of the centred value.
        return (vectors - self.centre) * np.float32(self.scale)


@dataclass(frozen=True)
class _Search:
    """The data of one search and its answers, filled row by row."""

    reference: Float32
    query: Float32
    k: int
    block_bytes: int
    frame: _Frame
    squares: Float64  # |x|^2 of each query in the frame
    distances: Float64
    indices: Int64


def nearest_neighbours(
    reference: NDArray[np.floating],
    query: NDArray[np.floating],
    k: int,
    *,
    block_bytes: int = BLOCK_BYTES,
    progress: Progress | None = None,
) -> tuple[Float64, Int64]:
    """Find the `k` nearest reference vectors of every query, exactly.

    Parameters
    ----------
    reference
        Vectors searched, (n, d), taken as float32.
    query
        Vectors asked about, (m, d), taken as float32.
    k
        Neighbours per query, 1 to n.
    block_bytes
        Size of the largest temporary array; the whole search needs about twice that.
    progress
        Called as ``progress(done, total)`` with numbers of query-reference pairs.

    Returns
    -------
    distances
        Euclidean distances (m, k), float64, rising; computed as float64 differences.
    indices
        Rows of `reference` (m, k), int64; of equal distances the lower row comes first.

    Raises
    ------
    TaskError
        If `k` is below 1 or above the number of references, or the shapes do not fit.
    EmbedderError
        If a vector holds NaN or infinity.
    """
    reference, query = _as_vectors(reference, "reference"), _as_vectors(query, "query")
    if reference.shape[1] != query.shape[1]:
        raise TaskError(
            f"the query embeddings have dimension {query.shape[1]}",
            f"{reference.shape[1]}, as the reference embeddings",
        )
    if not 1 <= k <= len(reference):
        raise TaskError(
            f"{k} neighbours asked of a reference set of {len(reference)} objects",
            f"a reference set of at least {max(k, 1)} objects",
            "use a larger data set, a larger --limit, or a protocol with a smaller k",
        )
    frame, squares = _frame(reference, query)
    rows = len(query)
    search = _Search(
        reference, query, k, block_bytes, frame, squares, np.empty((rows, k)), np.empty((rows, k), dtype=np.int64)
    )
    undecided = _run_stages(search, progress)
    if len(undecided):
        _decide(search, undecided)
    return search.distances, search.indices


def _as_vectors(vectors: NDArray[np.floating], name: str) -> Float32:
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise TaskError(f"the {name} embeddings have shape {vectors.shape}", "(objects, dimension)")
    array: Float32 = np.ascontiguousarray(vectors, dtype=np.float32)
    if not np.isfinite(array).all():
        raise EmbedderError(f"the {name} embeddings hold NaN or infinity", "finite float32 values")
    return array


def _chunks(rows: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _squares(vectors: Float32, centre: Float32) -> Float64:
    """Return the squared length of every centred vector, in float64."""
    squares = np.empty(len(vectors))
    for part in _chunks(len(vectors), 4_096):
        centred = vectors[part].astype(np.float64) - centre
        squares[part] = np.einsum("ij,ij->i", centred, centred)
    return squares


def _frame(reference: Float32, query: Float32) -> tuple[_Frame, Float64]:
    centre = reference.mean(axis=0, dtype=np.float64).astype(np.float32)
    squares = _squares(query, centre)
    largest = max(_squares(reference, centre).max(), squares.max(initial=0.0))
    scale = 2.0 ** -np.ceil(np.log2(largest) / 2) if largest > 0 else 1.0
    scale = float(np.clip(scale, 2.0**-126, 2.0**126))
    return _Frame(centre, scale), squares * scale**2


def _run_stages(search: _Search, progress: Progress | None) -> Int64:
    """Fill in the rows that a bfloat16 or float32 product proves; return the others."""
    rows = np.arange(len(search.query))
    if not _fast_bfloat16():
        return _propose(search, rows, False, progress)
    is_pilot = rows % max(1, len(rows) // PILOT_ROWS) == 0 if len(rows) > 2 * PILOT_ROWS else rows < 0
    pilot, rest = rows[is_pilot], rows[~is_pilot]
    undecided = _propose(search, pilot, True, None)
    if len(undecided) <= (1 - PILOT_SHARE) * len(pilot):
        rest = _propose(search, rest, True, progress)
        progress = None
    return _propose(search, np.concatenate([undecided, rest]), False, progress)


def _fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices several times faster than float32."""
    import torch

    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe and probe())


def _propose(search: _Search, rows: Int64, coarse: bool, progress: Progress | None) -> Int64:
    """Search for `rows` by candidates of a bfloat16 (`coarse`) or float32 product; return the rows left unproven."""
    import torch

    if len(rows) == 0:
        return rows
    count = len(search.reference)
    wanted = min(count, max(2 * search.k, search.k + 16))
    bounds = torch.full((len(rows), wanted), -torch.inf)
    candidates = torch.zeros((len(rows), wanted), dtype=torch.int64)
    width = min(REFERENCE_ROWS, -(-count // GROUP) * GROUP)
    height = max(1, search.block_bytes // (4 * width))
    buffer = torch.empty(min(height, len(rows)), width)
    done = 0
    for columns in _chunks(count, width):
        right = _reference_side(search, columns, width, coarse)
        for part in _chunks(len(rows), height):
            left = _query_side(search, rows[part], coarse)
            block = buffer[: len(left)]
            with matmul_precision("medium" if coarse else "highest"):
                torch.mm(left, right.T, out=block)
            values, local = _largest(block, wanted)
            values = torch.cat([bounds[part], values], dim=1)
            local = torch.cat([candidates[part], local + columns.start], dim=1)
            bounds[part], order = values.topk(wanted, dim=1)
            candidates[part] = local.gather(1, order)
            done += len(left) * (columns.stop - columns.start)
            if progress:
                progress(done, len(rows) * count)
    # All references are candidates where no more were there to choose from: nothing is left out.
    threshold = np.full(len(rows), -np.inf) if wanted == count else bounds[:, -1].double().numpy()
    return _rerank(search, rows, candidates.numpy(), threshold)


def _reference_side(search: _Search, columns: slice, width: int, coarse: bool) -> Tensor:
    """Return the references of a block in the frame, with the extra columns; rows beyond the data have key -inf."""
    import torch

    vectors = search.frame.place(search.reference[columns])
    matrix, lengths, errors = _rounded(vectors, width, coarse)
    used, dimension = len(vectors), vectors.shape[1]
    slack = matrix.shape[1] * 2 * FLOAT32_ROUNDOFF
    # The centred values carry one rounding each, so their squares may be off by 2^-23: inside `slack`.
    rest = torch.from_numpy(lengths**2 * (slack - 0.5))
    for column in range(dimension, dimension + 3):  # three pieces of 8 bits: exact in bfloat16, float32 in sum
        piece = rest.to(torch.bfloat16)
        matrix[:used, column] = piece.float()
        rest = rest - piece.double()
    matrix[:used, dimension + 3] = torch.from_numpy(lengths * ROUND_UP).to(torch.bfloat16).float()
    matrix[:used, dimension + 4] = torch.from_numpy(errors * ROUND_UP).to(torch.bfloat16).float()
    matrix[used:, dimension] = -1e30
    return matrix


def _query_side(search: _Search, rows: Int64, coarse: bool) -> Tensor:
    """Return the queries of a block in the frame, with the extra columns that complete `_reference_side`."""
    import torch

    vectors = search.frame.place(search.query[rows])
    matrix, lengths, errors = _rounded(vectors, len(vectors), coarse)
    dimension = vectors.shape[1]
    # |x.y - x'.y'| <= |x - x'||y| + |x'||y - y'|; summing K products in any order in float32 adds at most
    # K 2^-24 (1 + small) of the sum of their sizes, which is at most |x||y| + |y|^2 / 2 and a hundredth; the factor
    # two of `slack` covers that hundredth and the rounding of the centred values.
    slack = matrix.shape[1] * 2 * FLOAT32_ROUNDOFF
    matrix[:, dimension : dimension + 3] = 1.0
    matrix[:, dimension + 3] = torch.from_numpy((errors + slack * lengths) * ROUND_UP).to(torch.bfloat16).float()
    matrix[:, dimension + 4] = torch.from_numpy((lengths + errors) * ROUND_UP).to(torch.bfloat16).float()
    return matrix


def _rounded(vectors: Float32, height: int, coarse: bool) -> tuple[Tensor, Float64, Float64]:
    """Return a zero-padded matrix with the (rounded) vectors, their lengths, and the lengths of what rounding took."""
    import torch

    count, dimension = vectors.shape
    width = -(-(dimension + EXTRA_COLUMNS) // COLUMN_MULTIPLE) * COLUMN_MULTIPLE
    matrix = torch.zeros(height, width)
    original = torch.from_numpy(vectors)
    matrix[:count, :dimension] = original.to(torch.bfloat16).float() if coarse else original
    lengths: Float64 = torch.linalg.vector_norm(original, dim=1, dtype=torch.float64).numpy()
    errors = np.zeros(count)
    if coarse:
        lost = original - matrix[:count, :dimension]  # exact: both lie within a factor of two
        errors = torch.linalg.vector_norm(lost, dim=1, dtype=torch.float64).numpy()
    return matrix, lengths, errors


def _largest(block: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
    """Return the `wanted` largest values of every row and their columns, in no promised order of equal values.

    Groups of columns are ranked by their maximum first: a value among the `wanted` largest lies in one of the
    `wanted` groups of the largest maxima.
    """
    import torch

    rows, columns = block.shape
    groups = columns // GROUP
    if groups <= 2 * wanted:
        values, indices = block.topk(min(wanted, columns), dim=1)
        return values, indices
    maxima = torch.amax(block.view(rows, GROUP, groups), dim=1)
    chosen = maxima.topk(wanted, dim=1, sorted=False).indices
    members = (chosen[:, :, None] + groups * torch.arange(GROUP)).view(rows, wanted * GROUP)
    values, order = block.gather(1, members).topk(wanted, dim=1, sorted=False)
    return values, members.gather(1, order)


def _rerank(search: _Search, rows: Int64, candidates: Int64, threshold: Float64) -> Int64:
    """Order the candidates by exact distance, keep `k`, and return the rows whose `k`-th does not clear `threshold`."""
    proven = np.empty(len(rows), dtype=bool)
    for part in _chunks(len(rows), max(1, 2**20 // (candidates.shape[1] * search.query.shape[1]))):
        index = np.sort(candidates[part], axis=1)
        squares = _squared_distances(search, np.repeat(rows[part], index.shape[1]), index.ravel()).reshape(index.shape)
        order = np.argsort(squares, axis=1, kind="stable")[:, : search.k]
        squares = np.take_along_axis(squares, order, axis=1)
        search.distances[rows[part]] = np.sqrt(squares)
        search.indices[rows[part]] = np.take_along_axis(index, order, axis=1)
        last = squares[:, -1] * search.frame.scale**2
        own = search.squares[rows[part]]
        # The float64 sums are off by at most d 2^-53 of themselves.
        margin = (own + last) * 2 * search.query.shape[1] * FLOAT64_ROUNDOFF + UNDERFLOW
        proven[part] = (own - last) / 2 - margin > threshold[part]
    return rows[~proven]


def _squared_distances(search: _Search, rows: Int64, columns: Int64) -> Float64:
    """Return the squared distances of pairs (query row, reference row) as float64 differences."""
    import torch

    left = torch.from_numpy(search.query[rows]).double()
    right = torch.from_numpy(search.reference[columns])
    squares: Float64 = left.sub_(right).square_().sum(dim=1).numpy()
    return squares


def _decide(search: _Search, rows: Int64) -> None:
    """Fill in `rows` with float64 products: every reference that their error cannot exclude is compared exactly.

    Equal references are searched once and then listed in turn, so that a model which gives every object the same
    vector costs no more than any other.
    """
    import torch

    dimension = search.reference.shape[1]
    # Adding zero turns -0 into 0: equal values must be equal bytes.
    keys = (search.reference + np.float32(0)).view(np.dtype((np.void, 4 * dimension))).ravel()
    _, first, member_of = np.unique(keys, return_index=True, return_inverse=True)
    members = np.argsort(member_of, kind="stable")
    sizes = np.bincount(member_of)
    starts = np.cumsum(sizes) - sizes
    k = min(search.k, len(first))
    centre = search.frame.centre.astype(np.float64)
    right = torch.from_numpy(search.reference[first] - centre)
    lengths = torch.linalg.vector_norm(right, dim=1)
    slack = 4 * (dimension + 8) * FLOAT64_ROUNDOFF
    for part in _chunks(len(rows), max(1, search.block_bytes // (8 * len(first)))):
        left = torch.from_numpy(search.query[rows[part]] - centre)
        key = torch.addmm(-lengths.square() / 2, left, right.T)
        error = slack * (torch.linalg.vector_norm(left, dim=1)[:, None] + lengths) ** 2
        floor = (key - error).topk(k, dim=1).values[:, -1:]
        row, column = np.nonzero((key + error >= floor).numpy())
        squares = np.empty(len(row))
        for some in _chunks(len(row), max(1, 2**20 // dimension)):
            squares[some] = _squared_distances(search, rows[part][row[some]], first[column[some]])
        kept = _first_of_each(row, squares, first[column], k)
        row, squares, column = row[kept], squares[kept], column[kept]
        take = np.minimum(sizes[column], search.k)
        turn = np.arange(take.sum()) - np.repeat(np.cumsum(take) - take, take)
        index = members[np.repeat(starts[column], take) + turn]
        row, squares = np.repeat(row, take), np.repeat(squares, take)
        kept = _first_of_each(row, squares, index, search.k)
        search.distances[rows[part]] = np.sqrt(squares[kept]).reshape(-1, search.k)
        search.indices[rows[part]] = index[kept].reshape(-1, search.k)


def _first_of_each(row: Int64, squares: Float64, index: Int64, k: int) -> Int64:
    """Return the positions of the `k` nearest entries of every row, by distance and then by index."""
    order = np.lexsort((index, squares, row))
    ranked = row[order]
    begins = np.searchsorted(ranked, ranked)  # where the entry's own row begins
    chosen: Int64 = order[np.arange(len(order)) - begins < k]
    return chosen
