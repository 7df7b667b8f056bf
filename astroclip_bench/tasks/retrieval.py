"""Cross-modal retrieval: where an object's own other half stands among all, by cosine similarity.

Ranks are counts: how many others are more similar than the true pair, and how many are equally similar. Both
directions come from the same blocks of one float32 product. A similarity that lies so close to the true pair's that
float32 cannot tell is computed again in float64, so that the counts do not depend on how a product was rounded, and
equal vectors tie. Every score is the expected value under a random order of the ties: an embedder that gives every
object the same vector scores as chance does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import EmbedderError, TaskError
from astroclip_bench.tasks.bootstrap import Resamples, Statistic, weighted_median
from astroclip_bench.tasks.neighbours import Progress
from astroclip_bench.tasks.workers import workers

if TYPE_CHECKING:
    from torch import Tensor

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

POOL_SIZE = 1_000
RECALL_AT = (1, 5, 10)
RETURNED_PERCENT = (1, 5, 10, 20, 50)
MEDIAN_RANK = "median_rank_fraction"

# Eight truth values are added as one 64-bit number; a byte holds a count below 256, hence at most 8 x 255 columns.
BLOCK = 2_000
BLOCK_ROWS_HELD = 2 * BLOCK  # by all threads together: 32 MB
# Rounding of a float32 sum of d products grows as sqrt(d) 2^-24 of |x||y|; four times that is far beyond what occurs.
DOUBT = 4 * 2.0**-24
# Similarities of unit vectors closer than this are equal: float64 rounding of a sum of thousands of products.
TIE = 1e-12
# Above this share of doubtful pairs a float64 product of the block is cheaper than one pair after another.
DOUBTFUL_SHARE = 0.01
PAIRS_AT_ONCE = 4_096


@dataclass(frozen=True)
class Counts:
    """How the other objects of a pool compare with each query's own pair.

    Parameters
    ----------
    greater
        Number of others more similar to the query than its own pair, (n,).
    ties
        Number of others as similar, (n,).
    """

    greater: Int64
    ties: Int64

    def take(self, rows: Int64 | NDArray[np.bool_]) -> Counts:
        """Return the counts of some queries (their pool stays the same)."""
        return Counts(self.greater[rows], self.ties[rows])


@dataclass(frozen=True)
class TwoWayCounts:
    """The counts of both directions: queries in search of references (`forward`), and the reverse (`backward`)."""

    forward: Counts
    backward: Counts


@dataclass(frozen=True)
class _Thresholds:
    """Similarity of each true pair, and the float32 limits beyond which a comparison with it is certain."""

    exact: Float64
    low: Float32
    high: Float32


def retrieval_counts(query: Float32, reference: Float32, *, progress: Progress | None = None) -> TwoWayCounts:
    """Count, for every pair, the others that are more and as similar, in both directions.

    Parameters
    ----------
    query, reference
        Embeddings of the same objects in the same order, (n, d), scaled by the protocol "cosine" (unit length).
    progress
        Called as ``progress(done, total)`` with numbers of pairs.

    Raises
    ------
    TaskError
        If the two do not have the same shape.
    EmbedderError
        If a vector holds NaN or infinity.
    """
    import torch

    query, reference = (np.ascontiguousarray(side, dtype=np.float32) for side in (query, reference))
    if query.shape != reference.shape or query.ndim != 2:
        raise TaskError(f"embeddings of shapes {query.shape} and {reference.shape}", "pairs of the same shape")
    if not (np.isfinite(query).all() and np.isfinite(reference).all()):
        raise EmbedderError("the embeddings hold NaN or infinity", "finite values")
    count = len(query)
    thresholds = _thresholds(query, reference)
    totals = np.zeros((2, 2, count), dtype=np.int64)  # direction; greater, ties
    with workers() as threads:
        width = _even(count, BLOCK)
        height = _even(count, max(1, min(BLOCK, BLOCK_ROWS_HELD // threads.count)))
        free: SimpleQueue[Tensor] = SimpleQueue()
        for _ in range(threads.count):
            free.put(torch.empty(height, width))

        def compare(blocks: tuple[slice, slice]) -> tuple[slice, slice, Int64, Int64]:
            rows, columns = blocks
            buffer = free.get()
            block = buffer.view(-1)[: (rows.stop - rows.start) * (columns.stop - columns.start)]
            block = block.view(rows.stop - rows.start, columns.stop - columns.start)
            torch.mm(_tensor(query[rows]), _tensor(reference[columns]).T, out=block)
            counts = _count_block(query, reference, block.numpy(), rows, columns, thresholds)
            free.put(buffer)
            return rows, columns, *counts

        every = [(rows, columns) for rows in _blocks(count, height) for columns in _blocks(count, width)]
        for rows, columns, forward, backward in threads.pool.map(compare, every):
            totals[0][:, rows] += forward
            totals[1][:, columns] += backward
            if progress:
                progress(rows.start * count + (rows.stop - rows.start) * columns.stop, count * count)
    return TwoWayCounts(Counts(*totals[0]), Counts(*totals[1]))


def _even(count: int, size: int) -> int:
    """Return the size of blocks no larger than `size` that divide `count` as evenly as can be."""
    return -(-count // max(1, -(-count // size)))


def _tensor(array: Float32) -> Tensor:
    import torch

    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _blocks(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _thresholds(query: Float32, reference: Float32) -> _Thresholds:
    exact = np.empty(len(query))
    for part in _blocks(len(query), PAIRS_AT_ONCE):
        exact[part] = np.einsum("ij,ij->i", query[part], reference[part], dtype=np.float64)
    doubt = DOUBT * np.sqrt(query.shape[1])
    return _Thresholds(exact, (exact - doubt).astype(np.float32), (exact + doubt).astype(np.float32))


def _count_block(
    query: Float32, reference: Float32, similarity: Float32, rows: slice, columns: slice, thresholds: _Thresholds
) -> tuple[Int64, Int64]:
    """Return the counts (greater, ties) of a block, (2, rows) and (2, columns)."""
    own = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
    similarity[own - rows.start, own - columns.start] = -np.inf  # an object is not compared with itself
    low, high = thresholds.low, thresholds.high
    certain = _exceed(similarity, high[rows], high[columns])
    possible = _exceed(similarity, low[rows], low[columns])
    doubtful = [possible[axis] > certain[axis] for axis in (0, 1)]
    if max(int((possible[axis] - certain[axis]).sum()) for axis in (0, 1)) > DOUBTFUL_SHARE * similarity.size:
        return _count_exactly(query, reference, rows, columns, thresholds)
    forward, backward = (np.stack([counts, np.zeros_like(counts)]) for counts in certain)
    some = np.flatnonzero(doubtful[0])
    row, column = np.nonzero((similarity[some] > low[rows][some, None]) & (similarity[some] <= high[rows][some, None]))
    row = some[row]
    _settle(forward, row, query, reference, row + rows.start, column + columns.start, thresholds.exact[rows])
    some = np.flatnonzero(doubtful[1])
    row, column = np.nonzero((similarity[:, some] > low[columns][some]) & (similarity[:, some] <= high[columns][some]))
    column = some[column]
    _settle(backward, column, query, reference, row + rows.start, column + columns.start, thresholds.exact[columns])
    return forward, backward


def _exceed(similarity: Float32, row_limit: Float32, column_limit: Float32) -> tuple[Int64, Int64]:
    """Count the similarities above the limit of their row, by row, and of their column, by column."""
    height, width = similarity.shape
    padded = np.zeros((height, -(-width // 8) * 8), dtype=np.bool_)
    mask = padded[:, :width]
    np.greater(similarity, row_limit[:, None], out=mask)
    bytewise = np.add.reduce(padded.view(np.uint64), axis=1)
    by_row = bytewise.view(np.uint8).reshape(height, 8).sum(axis=1, dtype=np.int64)
    np.greater(similarity, column_limit, out=mask)
    by_column = np.add.reduce(mask.view(np.uint8), axis=0, dtype=np.uint16).astype(np.int64)
    return by_row, by_column


def _count_exactly(
    query: Float32, reference: Float32, rows: slice, columns: slice, thresholds: _Thresholds
) -> tuple[Int64, Int64]:
    similarity = query[rows].astype(np.float64) @ reference[columns].astype(np.float64).T
    own = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
    similarity[own - rows.start, own - columns.start] = -np.inf
    by_direction = []
    for axis, pair in ((1, thresholds.exact[rows][:, None]), (0, thresholds.exact[columns])):
        greater = np.count_nonzero(similarity > pair + TIE, axis=axis)
        by_direction.append(np.stack([greater, np.count_nonzero(similarity >= pair - TIE, axis=axis) - greater]))
    return by_direction[0], by_direction[1]


def _settle(
    counts: Int64, owner: Int64, query: Float32, reference: Float32, row: Int64, column: Int64, own: Float64
) -> None:
    """Compare doubtful pairs with the true pair of their `owner` in float64, and add them to its counts."""
    for part in _blocks(len(row), PAIRS_AT_ONCE):
        similarity = np.einsum("ij,ij->i", query[row[part]], reference[column[part]], dtype=np.float64)
        above = similarity - own[owner[part]]
        np.add.at(counts[0], owner[part][above > TIE], 1)
        np.add.at(counts[1], owner[part][np.abs(above) <= TIE], 1)


def pools(object_ids: Sequence[str], size: int = POOL_SIZE) -> list[Int64]:
    """Deal the objects into disjoint pools of `size`, in the order of the BLAKE2b hash of their ids.

    A rest smaller than `size` is left out; if there are no more than `size` objects, they are the only pool.
    """
    if len(object_ids) <= size:
        return [np.arange(len(object_ids))]
    digests = [hashlib.blake2b(name.encode(), digest_size=16).digest() for name in object_ids]
    order = np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)
    return list(order[: len(order) // size * size].reshape(-1, size))


def returned(percent: int, pool: int) -> int:
    """Return how many objects are `percent` of a pool, rounded up."""
    return -(-percent * pool // 100)


def score_names() -> list[str]:
    """Return the names of the retrieval scores."""
    return [
        *(f"recall@{k}" for k in RECALL_AT),
        "mrr",
        MEDIAN_RANK,
        *(f"accuracy@{percent}%" for percent in RETURNED_PERCENT),
    ]


def direction_of(name: str) -> Literal["higher", "lower"]:
    """Return whether more or less of a score is better."""
    return "lower" if name == MEDIAN_RANK else "higher"


def query_scores(counts: Counts, pool: int) -> dict[str, Float64]:
    """Return every score of every query, expected under a random order of ties.

    Parameters
    ----------
    counts
        Of queries in one pool, (n,).
    pool
        Number of objects in the pool.

    Returns
    -------
    dict
        By the names of `score_names`: ``recall@k`` is the chance to be among the first k; ``accuracy@p%`` the same for
        the first p percent; ``mrr`` the expected reciprocal rank; `MEDIAN_RANK` the mean rank (from 1) over the pool,
        whose median over the queries is the score.
    """

    def recall(k: int) -> Float64:
        return np.clip((k - counts.greater) / (counts.ties + 1), 0.0, 1.0)

    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, pool + 1))])
    reciprocal = (harmonic[counts.greater + counts.ties + 1] - harmonic[counts.greater]) / (counts.ties + 1)
    return {
        **{f"recall@{k}": recall(k) for k in RECALL_AT},
        "mrr": reciprocal,
        MEDIAN_RANK: (1 + counts.greater + counts.ties / 2) / pool,
        **{f"accuracy@{percent}%": recall(returned(percent, pool)) for percent in RETURNED_PERCENT},
    }


def statistic(name: str, scores: Float64) -> Statistic:
    """Return how the `scores` (n,) of the queries become one number: their mean, or the median for `MEDIAN_RANK`."""
    if name != MEDIAN_RANK:
        return lambda resamples: resamples.mean(scores)
    order = np.argsort(scores, kind="stable")

    def median(resamples: Resamples) -> Float64:
        return weighted_median(resamples.cumulative(order), scores[order])

    return median


def random_floor(pool: int) -> dict[str, float]:
    """Return the expected value of every score for random ranks in a pool of this size."""
    return {
        **{f"recall@{k}": min(1.0, k / pool) for k in RECALL_AT},
        "mrr": float(np.sum(1 / np.arange(1, pool + 1)) / pool),
        MEDIAN_RANK: (pool + 1) / (2 * pool),
        **{f"accuracy@{percent}%": returned(percent, pool) / pool for percent in RETURNED_PERCENT},
    }
