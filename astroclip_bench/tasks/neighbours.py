"""Exact nearest neighbours by Euclidean distance: a fast inexact product proposes, float64 differences decide.

How a search stays exact. With every vector taken from the mean of the reference (distances do not change), the key
``x.y - |y|^2 / 2`` of a query x and a reference y orders the references as the distance does, since it equals
``(|x|^2 - |x - y|^2) / 2``. A low-precision matrix product gives, for every pair, an *upper bound* of that key: the
product plus the largest error its rounding can have made, carried as extra columns of the two matrices. The
references of the largest bounds are the candidates, and their distances are recomputed as float64 differences. No
other reference has a key above the last candidate's bound, so where the k-th exact key lies above it, the row is
proven. Rows without the proof go to the next stage: bfloat16 products (where the processor has them), float32 products, and last float64 products
with every reference that the error bound cannot exclude.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import EmbedderError, TaskError
from astroclip_bench.tasks.workers import Workers, workers

if TYPE_CHECKING:
    from torch import Tensor, dtype

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Progress = Callable[[int, int], None]

BLOCK_BYTES = 128 * 2**20
REFERENCE_ROWS = 32_768
PLACED_ROWS = 2_048
GROUP = 16
PILOT_ROWS = 1_024
# A bfloat16 pass costs about 0.4 of a float32 pass: it is worth its price when it proves more rows than that.
PILOT_SHARE = 0.4
# Candidates beyond k: at least these, or half of k.
MORE_CANDIDATES = 16
# References that tell a query's shift: about where its nearest neighbours' keys begin.
SAMPLE_ROWS = 1_024
# Columns appended to the embeddings: three pieces of -|y|^2 / 2, two products that make the error bound, the shift.
EXTRA_COLUMNS = 6
COLUMN_MULTIPLE = 32
# Float64 differences at once: they stay in a core's cache.
RERANK_ELEMENTS = 2**17
FLOAT32_ROUNDOFF = 2.0**-24
FLOAT64_ROUNDOFF = 2.0**-53
BFLOAT16_ROUNDOFF = 2.0**-8
# Room above a value so that it is not below it after rounding to bfloat16 (8 significant bits).
ROUND_UP = 1 + 2.0**-7
# Products below float32's normal range may be flushed to zero; the data are scaled to a largest norm of about one.
UNDERFLOW = 1e-30


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
    workers: Workers
    frame: _Frame
    reference_squares: Float64  # |y|^2 of each reference in the frame
    query_squares: Float64
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
        Size of the blocks of products held at once; the whole search needs about twice that.
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
    answers = np.empty((len(query), k)), np.empty((len(query), k), dtype=np.int64)
    with workers() as threads:
        search = _Search(reference, query, k, block_bytes, threads, *_frame(reference, query), *answers)
        undecided = _run_stages(search, progress)
        if len(undecided):
            _decide(search, undecided)
    return answers


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


def _frame(reference: Float32, query: Float32) -> tuple[_Frame, Float64, Float64]:
    """Return the frame around the reference, and the squared lengths of references and queries in it."""
    centre = reference.mean(axis=0, dtype=np.float64).astype(np.float32)
    reference_squares, query_squares = _squares(reference, centre), _squares(query, centre)
    largest = max(reference_squares.max(), query_squares.max(initial=0.0))
    exponent = -np.ceil(np.log2(largest) / 2) if largest > 0 else 0.0
    scale = float(2.0 ** np.clip(exponent, -126, 126))
    return _Frame(centre, scale), reference_squares * scale**2, query_squares * scale**2


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
    wanted = min(count, search.k + max(MORE_CANDIDATES, search.k // 2))
    dtype = torch.bfloat16 if coarse else torch.float32
    width = min(REFERENCE_ROWS, -(-count // GROUP) * GROUP)
    height = max(1, min(len(rows), search.block_bytes // (dtype.itemsize * width)) // search.workers.count)
    right = _empty_side(search, width, dtype)
    free: SimpleQueue[tuple[Tensor, Tensor]] = SimpleQueue()
    for _ in range(search.workers.count):
        free.put((_empty_side(search, height, dtype), torch.empty(height, width, dtype=dtype)))
    parts = list(_chunks(len(rows), height))
    shift = torch.zeros(len(rows))
    bounds = torch.full((len(rows), wanted), -torch.inf)
    candidates = torch.zeros((len(rows), wanted), dtype=torch.int64)

    def product(part: slice, use: Callable[[slice, Tensor], None]) -> int:
        left, block = free.get()
        used: int = part.stop - part.start
        _fill_query_side(left, search, rows[part], shift[part])
        torch.mm(left[:used], right.T, out=block[:used])
        use(part, block[:used])
        free.put((left, block))
        return used

    def set_shift(part: slice, block: Tensor) -> None:
        shift[part] = block.amax(dim=1).float()

    def keep_largest(part: slice, block: Tensor) -> None:
        values, local = _largest(block, wanted)
        values = torch.cat([bounds[part], values], dim=1)
        local = torch.cat([candidates[part], local + columns.start], dim=1)
        bounds[part], order = values.topk(wanted, dim=1)
        candidates[part] = local.gather(1, order)

    if coarse and count > SAMPLE_ROWS:
        # Near the last candidate's key the numbers must be small, for a bfloat16 result to tell them apart.
        _fill_reference_side(right, search, slice(None, None, count // SAMPLE_ROWS))
        list(search.workers.pool.map(product, parts, repeat(set_shift)))
    done = 0
    for columns in _chunks(count, width):
        _fill_reference_side(right, search, columns)
        for used in search.workers.pool.map(product, parts, repeat(keep_largest)):
            done += used * (columns.stop - columns.start)
            if progress:
                progress(done, len(rows) * count)
    last, moved = bounds[:, -1].double().numpy(), shift.double().numpy()
    threshold = last + np.abs(last) * (BFLOAT16_ROUNDOFF * 2 if coarse else 0) + moved + _slack(right) * np.abs(moved)
    # All references are candidates where no more were there to choose from: nothing is left out.
    return _rerank(search, rows, candidates.numpy(), np.full(len(rows), -np.inf) if wanted == count else threshold)


def _empty_side(search: _Search, height: int, dtype: dtype) -> Tensor:
    """Return a zero matrix for `height` vectors with the extra columns, of a width that suits the processor."""
    import torch

    width = search.reference.shape[1] + EXTRA_COLUMNS
    return torch.zeros(height, -(-width // COLUMN_MULTIPLE) * COLUMN_MULTIPLE, dtype=dtype)


def _fill_reference_side(matrix: Tensor, search: _Search, columns: slice) -> None:
    """Put the references of a block in the frame, with their extra columns; rows beyond the data get a key of -1e30."""
    errors = _fill_vectors(matrix, search.frame, search.reference[columns], search.workers)
    used, dimension = len(errors), search.reference.shape[1]
    squares = search.reference_squares[columns]
    rest = squares * (_slack(matrix) - 0.5)
    for column in range(dimension, dimension + 3):  # three pieces of 8 bits: as exact as float32
        piece = _to_bfloat16(rest)
        matrix[:used, column] = piece
        rest = rest - piece.double().numpy()
    matrix[:used, dimension + 3] = _to_bfloat16(np.sqrt(squares) * ROUND_UP)
    matrix[:used, dimension + 4] = _to_bfloat16(errors * ROUND_UP)
    matrix[:used, dimension + 5] = 1.0
    matrix[used:] = 0
    matrix[used:, dimension] = -1e30


def _fill_query_side(matrix: Tensor, search: _Search, rows: Int64, shift: Tensor) -> None:
    """Put queries in the frame, with the extra columns that complete those of `_fill_reference_side`.

    The keys of a query come out lower by its `shift`, a bfloat16 number.
    """
    errors = _fill_vectors(matrix, search.frame, search.query[rows])
    used, dimension = len(errors), search.reference.shape[1]
    lengths = np.sqrt(search.query_squares[rows])
    # |x.y - x'.y'| <= |x - x'| |y| + |x'| |y - y'| for rounded x' and y'.
    matrix[:used, dimension : dimension + 3] = 1.0
    matrix[:used, dimension + 3] = _to_bfloat16((errors + _slack(matrix) * lengths) * ROUND_UP)
    matrix[:used, dimension + 4] = _to_bfloat16((lengths + errors) * ROUND_UP)
    matrix[:used, dimension + 5] = -shift


def _slack(matrix: Tensor) -> float:
    """Return the most that float32 arithmetic can add to a key, relative to |x||y| + |y|^2.

    A sum of K products in any order is off by at most K 2^-24 (1 + small) of the sum of their sizes, which is here at
    most |x||y| + |y|^2 / 2 and a few hundredths. The factor two covers those, and the rounding of the centred values.
    """
    return matrix.shape[1] * 2 * FLOAT32_ROUNDOFF


def _fill_vectors(matrix: Tensor, frame: _Frame, vectors: Float32, threads: Workers | None = None) -> Float64:
    """Write the placed vectors, rounded to the matrix's type; return the lengths of what rounding took away."""
    import torch

    errors = np.empty(len(vectors))

    def fill(part: slice) -> None:
        placed = torch.from_numpy(frame.place(vectors[part]))
        rounded = matrix[part, : vectors.shape[1]]
        rounded.copy_(placed)
        # The differences are exact; their float32 norms are as good as ROUND_UP's room to spare.
        errors[part] = torch.linalg.vector_norm(placed.sub_(rounded), dim=1).numpy()

    parts = _chunks(len(vectors), PLACED_ROWS)
    list(threads.pool.map(fill, parts) if threads else map(fill, parts))
    return errors


def _to_bfloat16(values: Float64) -> Tensor:
    import torch

    return torch.from_numpy(values).to(torch.bfloat16)


def _largest(block: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
    """Return the `wanted` largest values of every row and their columns, in no promised order of equal values.

    Groups of columns are ranked by their maximum first: a value among the `wanted` largest lies in one of the
    `wanted` groups of the largest maxima.
    """
    import torch

    rows, columns = block.shape
    groups = columns // GROUP
    if groups <= 2 * wanted:
        values, indices = block.float().topk(min(wanted, columns), dim=1)
        return values, indices
    maxima = torch.amax(block.view(rows, GROUP, groups), dim=1)
    chosen = maxima.float().topk(wanted, dim=1, sorted=False).indices
    members = (chosen[:, :, None] + groups * torch.arange(GROUP)).view(rows, wanted * GROUP)
    values, order = block.gather(1, members).float().topk(wanted, dim=1, sorted=False)
    return values, members.gather(1, order)


def _rerank(search: _Search, rows: Int64, candidates: Int64, threshold: Float64) -> Int64:
    """Order the candidates by exact distance, keep `k`, and return the rows whose `k`-th does not clear `threshold`."""
    proven = np.empty(len(rows), dtype=bool)

    def rerank(part: slice) -> None:
        index = np.sort(candidates[part], axis=1)
        squares = _squared_distances(search, rows[part][:, None], index)
        order = np.argsort(squares, axis=1, kind="stable")[:, : search.k]
        squares = np.take_along_axis(squares, order, axis=1)
        search.distances[rows[part]] = np.sqrt(squares)
        search.indices[rows[part]] = np.take_along_axis(index, order, axis=1)
        last = squares[:, -1] * search.frame.scale**2
        own = search.query_squares[rows[part]]
        # The float64 sums are off by at most d 2^-53 of themselves.
        margin = (own + last) * 2 * search.query.shape[1] * FLOAT64_ROUNDOFF + UNDERFLOW
        proven[part] = (own - last) / 2 - margin > threshold[part]

    height = max(1, RERANK_ELEMENTS // (candidates.shape[1] * search.query.shape[1]))
    list(search.workers.pool.map(rerank, _chunks(len(rows), height)))
    return rows[~proven]


def _squared_distances(search: _Search, rows: Int64, columns: Int64) -> Float64:
    """Return the squared distances of query `rows` and reference `columns` (broadcast) as float64 differences."""
    differences = np.subtract(search.query[rows], search.reference[columns], dtype=np.float64)
    squares: Float64 = np.einsum("...i,...i->...", differences, differences)
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
        for some in _chunks(len(row), max(1, RERANK_ELEMENTS // dimension)):
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
