"""Exact nearest neighbours by Euclidean distance: a fast inexact product proposes, float64 differences decide.

How a search stays exact. A low-precision matrix product gives, for every pair, an upper bound of a key that falls with
the distance (`key_bounds`). The references of the largest bounds are the candidates, and their distances are recomputed
as float64 differences. No other reference has a key above the last candidate's bound, so where the k-th exact key lies
above it, the row is proven. Rows without the proof go to the next stage: bfloat16 products (where the processor has
them), float32 products, and last float64 products with every reference that the error bound cannot exclude.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import EmbedderError, TaskError
from astroclip_bench.tasks.key_bounds import (
    UNDERFLOW,
    Placed,
    chunks,
    empty_side,
    fill_query_side,
    fill_reference_side,
    key_limit,
    place,
)
from astroclip_bench.tasks.workers import Workers, workers

if TYPE_CHECKING:
    from torch import Tensor

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Progress = Callable[[int, int], None]

BLOCK_BYTES = 128 * 2**20
REFERENCE_ROWS = 32_768
GROUP = 16
PILOT_ROWS = 1_024
# A bfloat16 pass costs about 0.4 of a float32 pass: it is worth its price when it proves more rows than that.
PILOT_SHARE = 0.4
# Candidates beyond k: at least these, or half of k.
MORE_CANDIDATES = 16
# References that tell a query's shift: about where its nearest neighbours' keys begin.
SAMPLE_ROWS = 1_024
# Float64 differences at once: they stay in a core's cache.
RERANK_ELEMENTS = 2**17
FLOAT64_ROUNDOFF = 2.0**-53


@dataclass(frozen=True)
class _Search:
    """The data of one search and its answers, filled row by row."""

    reference: Placed
    query: Placed
    k: int
    block_bytes: int
    workers: Workers
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
        search = _Search(*place(reference, query), k, block_bytes, threads, *answers)
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


def _run_stages(search: _Search, progress: Progress | None) -> Int64:
    """Fill in the rows that a bfloat16 or float32 product proves; return the others."""
    rows = np.arange(len(search.query.vectors))
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
    count, dimension = search.reference.vectors.shape
    wanted = min(count, search.k + max(MORE_CANDIDATES, search.k // 2))
    dtype = torch.bfloat16 if coarse else torch.float32
    width = min(REFERENCE_ROWS, -(-count // GROUP) * GROUP)
    height = max(1, min(len(rows), search.block_bytes // (dtype.itemsize * width)) // search.workers.count)
    right = empty_side(dimension, width, dtype)
    free: SimpleQueue[tuple[Tensor, Tensor]] = SimpleQueue()
    for _ in range(search.workers.count):
        free.put((empty_side(dimension, height, dtype), torch.empty(height, width, dtype=dtype)))
    parts = list(chunks(len(rows), height))
    shift = torch.zeros(len(rows))
    bounds = torch.full((len(rows), wanted), -torch.inf)
    candidates = torch.zeros((len(rows), wanted), dtype=torch.int64)

    def product(part: slice, use: Callable[[slice, Tensor], None]) -> int:
        left, block = free.get()
        try:
            used: int = part.stop - part.start
            fill_query_side(left, search.query, rows[part], shift[part])
            use(part, torch.mm(left[:used], right.T, out=block[:used]))
            return used
        finally:
            free.put((left, block))

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
        fill_reference_side(right, search.reference, np.arange(0, count, count // SAMPLE_ROWS), search.workers)
        list(search.workers.pool.map(product, parts, repeat(set_shift)))
    done = 0
    for columns in chunks(count, width):
        fill_reference_side(right, search.reference, np.arange(columns.start, columns.stop), search.workers)
        for used in search.workers.pool.map(product, parts, repeat(keep_largest)):
            done += used * (columns.stop - columns.start)
            if progress:
                progress(done, len(rows) * count)
    threshold = key_limit(bounds[:, -1].double().numpy(), shift.double().numpy(), right)
    # All references are candidates where no more were there to choose from: nothing is left out.
    return _rerank(search, rows, candidates.numpy(), np.full(len(rows), -np.inf) if wanted == count else threshold)


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
        last = squares[:, -1] * search.query.scale**2
        own = search.query.squares[rows[part]]
        # The float64 sums are off by at most d 2^-53 of themselves.
        margin = (own + last) * 2 * search.query.vectors.shape[1] * FLOAT64_ROUNDOFF + UNDERFLOW
        proven[part] = (own - last) / 2 - margin > threshold[part]

    height = max(1, RERANK_ELEMENTS // (candidates.shape[1] * search.query.vectors.shape[1]))
    list(search.workers.pool.map(rerank, chunks(len(rows), height)))
    return rows[~proven]


def _squared_distances(search: _Search, rows: Int64, columns: Int64) -> Float64:
    """Return the squared distances of query `rows` and reference `columns` (broadcast) as float64 differences."""
    differences = np.subtract(search.query.vectors[rows], search.reference.vectors[columns], dtype=np.float64)
    squares: Float64 = np.einsum("...i,...i->...", differences, differences)
    return squares


def _decide(search: _Search, rows: Int64) -> None:
    """Fill in `rows` with float64 products: every reference that their error cannot exclude is compared exactly.

    Equal references are searched once and then listed in turn, so that a model which gives every object the same
    vector costs no more than any other.
    """
    import torch

    dimension = search.reference.vectors.shape[1]
    # Adding zero turns -0 into 0: equal values must be equal bytes.
    keys = (search.reference.vectors + np.float32(0)).view(np.dtype((np.void, 4 * dimension))).ravel()
    _, first, member_of = np.unique(keys, return_index=True, return_inverse=True)
    members = np.argsort(member_of, kind="stable")
    sizes = np.bincount(member_of)
    starts = np.cumsum(sizes) - sizes
    k = min(search.k, len(first))
    centre = search.query.centre.astype(np.float64)
    right = torch.from_numpy(search.reference.vectors[first] - centre)
    lengths = torch.linalg.vector_norm(right, dim=1)
    slack = 4 * (dimension + 8) * FLOAT64_ROUNDOFF

    def decide(part: slice) -> None:
        left = torch.from_numpy(search.query.vectors[rows[part]] - centre)
        key = torch.addmm(-lengths.square() / 2, left, right.T)
        error = slack * (torch.linalg.vector_norm(left, dim=1)[:, None] + lengths) ** 2
        floor = (key - error).topk(k, dim=1).values[:, -1:]
        row, column = np.nonzero((key + error >= floor).numpy())
        squares = np.empty(len(row))
        for some in chunks(len(row), max(1, RERANK_ELEMENTS // dimension)):
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

    # Four arrays of a block's size live at once.
    height = search.block_bytes // (4 * 8 * len(first)) // search.workers.count
    list(search.workers.pool.map(decide, chunks(len(rows), max(1, height))))


def _first_of_each(row: Int64, squares: Float64, index: Int64, k: int) -> Int64:
    """Return the positions of the `k` nearest entries of every row, by distance and then by index."""
    order = np.lexsort((index, squares, row))
    ranked = row[order]
    begins = np.searchsorted(ranked, ranked)  # where the entry's own row begins
    chosen: Int64 = order[np.arange(len(order)) - begins < k]
    return chosen
