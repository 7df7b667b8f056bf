"""Cross-modal retrieval: where an object's own other half stands among all, by cosine similarity.

Ranks are counts: how many others are more similar than the true pair, and how many are equally similar. Both
directions come from the same blocks of one float32 product. A similarity that lies so close to the true pair's that
float32 cannot tell is computed again in float64, so that the counts do not depend on how a product was rounded, and
equal vectors tie. Every score is the expected value under a random order of the ties: an embedder that gives every
object the same vector scores as chance does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import EmbedderError, TaskError
from astroclip_bench.tasks.bootstrap import LONG_PART_BYTES, Resamples, Statistic
from astroclip_bench.tasks.neighbours import Progress
from astroclip_bench.tasks.order_statistics import weighted_median
from astroclip_bench.tasks.workers import workers

if TYPE_CHECKING:
    from torch import Tensor

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

POOL_SIZE = 1_000
SMALLEST_POOL = 2
"""In a pool of one every search succeeds."""
RECALL_AT = (1, 5, 10)
RETURNED_PERCENT = (1, 5, 10, 20, 50)
MEDIAN_RANK = "median_rank_fraction"

# Eight truth values are added as one 64-bit number; a byte holds a count below 256, hence at most 8 x 255 columns.
BLOCK = 2_000
STRIP = 128  # rows compared at once; below 256 for the same reason
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

    def take(self, rows: slice) -> _Thresholds:
        return _Thresholds(self.exact[rows], self.low[rows], self.high[rows])


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
        widest = _even(count, BLOCK)
        tallest = _even(count, max(1, min(BLOCK, BLOCK_ROWS_HELD // threads.count)))
        free: SimpleQueue[Tensor] = SimpleQueue()
        for _ in range(threads.count):
            free.put(torch.empty(tallest * widest))

        def compare(blocks: tuple[slice, slice]) -> tuple[slice, slice, Int64, Int64]:
            rows, columns = blocks
            height, width = rows.stop - rows.start, columns.stop - columns.start
            buffer = free.get()
            try:
                block = buffer[: height * width].view(height, width)
                torch.mm(_tensor(query[rows]), _tensor(reference[columns]).T, out=block)
                return rows, columns, *_count_block(query, reference, block.numpy(), rows, columns, thresholds)
            finally:
                free.put(buffer)

        every = [(rows, columns) for rows in _blocks(count, tallest) for columns in _blocks(count, widest)]
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
    directions = _compare(similarity, thresholds.take(rows), thresholds.take(columns))
    if directions is None:
        return _count_exactly(query, reference, rows, columns, thresholds)
    counts = []
    for axis, (found, block) in enumerate(zip(directions, (rows, columns), strict=True)):
        row, column = (np.concatenate(part) for part in zip(*found.pairs, strict=True))
        owner = (row, column)[axis]
        above = np.empty(len(row))
        for part in _blocks(len(row), PAIRS_AT_ONCE):
            left, right = query[rows][row[part]], reference[columns][column[part]]
            above[part] = np.einsum("ij,ij->i", left, right, dtype=np.float64)
        above -= thresholds.exact[block][owner]
        size = len(found.certain)
        greater = found.certain + np.bincount(owner[above > TIE], minlength=size)
        counts.append(np.stack([greater, np.bincount(owner[np.abs(above) <= TIE], minlength=size)]))
    return counts[0], counts[1]


@dataclass
class _Found:
    """Of one direction of a block: what is certainly greater, and the pairs (row, column) that float32 cannot tell."""

    certain: Int64
    pairs: list[tuple[Int64, Int64]]


def _compare(similarity: Float32, by_row: _Thresholds, by_column: _Thresholds) -> tuple[_Found, _Found] | None:
    """Compare a block with the thresholds of its rows and of its columns, strip by strip in the processor's cache.

    Returns None where more than `DOUBTFUL_SHARE` of a strip is doubtful.
    """
    height, width = similarity.shape
    rows, columns = _Found(np.zeros(height, dtype=np.int64), []), _Found(np.zeros(width, dtype=np.int64), [])
    padded = np.zeros((2, min(STRIP, height), -(-width // 8) * 8), dtype=np.bool_)
    for strip in _blocks(height, STRIP):
        part = similarity[strip]
        used = padded[:, : len(part)]
        certain, possible = masks = used[:, :, :width]
        np.greater(part, by_row.high[strip, None], out=certain)
        np.greater(part, by_row.low[strip, None], out=possible)
        bytewise = np.add.reduce(used.view(np.uint64), axis=2)
        high, low = bytewise.view(np.uint8).reshape(2, len(part), 8).sum(axis=2, dtype=np.int64)
        if (low - high).sum() > DOUBTFUL_SHARE * part.size:
            return None
        rows.certain[strip] = high
        some = np.flatnonzero(low > high)
        row, column = np.nonzero(certain[some] ^ possible[some])
        rows.pairs.append((some[row] + strip.start, column))
        np.greater(part, by_column.high, out=certain)
        np.greater(part, by_column.low, out=possible)
        high, low = np.add.reduce(masks.view(np.uint8), axis=1, dtype=np.uint8).astype(np.int64)
        if (low - high).sum() > DOUBTFUL_SHARE * part.size:
            return None
        columns.certain[:] += high
        some = np.flatnonzero(low > high)
        row, column = np.nonzero(certain[:, some] ^ possible[:, some])
        columns.pairs.append((row + strip.start, some[column]))
    return rows, columns


def _count_exactly(
    query: Float32, reference: Float32, rows: slice, columns: slice, thresholds: _Thresholds
) -> tuple[Int64, Int64]:
    similarity = (_tensor(query[rows]).double() @ _tensor(reference[columns]).double().T).numpy()
    own = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
    similarity[own - rows.start, own - columns.start] = -np.inf
    by_direction = []
    for axis, pair in ((1, thresholds.exact[rows][:, None]), (0, thresholds.exact[columns])):
        greater = np.count_nonzero(similarity > pair + TIE, axis=axis)
        by_direction.append(np.stack([greater, np.count_nonzero(similarity >= pair - TIE, axis=axis) - greater]))
    return by_direction[0], by_direction[1]


def pools(object_ids: Sequence[str], size: int = POOL_SIZE) -> list[Int64]:
    """Deal the objects into disjoint pools of `size`, in the order of the BLAKE2b hash of their ids.

    A rest smaller than `size` is left out; if there are no more than `size` objects, they are the only pool.
    """
    if len(object_ids) <= size:
        return [np.arange(len(object_ids))]
    digests = [hashlib.blake2b(name.encode(), digest_size=16).digest() for name in object_ids]
    order = np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)
    return list(order[: len(order) // size * size].reshape(-1, size))


@dataclass(frozen=True)
class Pool:
    """Objects searched among each other.

    Parameters
    ----------
    members
        Their rows, (n,).
    counted
        Which of them are scored as queries, (n,): the others only stand beside them.
    """

    members: Int64
    counted: NDArray[np.bool_]


def dealt(object_ids: Sequence[str], things: Iterable[str | None] | None = None, size: int = POOL_SIZE) -> list[Pool]:
    """Deal the objects into pools, so that each is scored once among `size` things, of each of which there is one.

    Parameters
    ----------
    things
        What each object shows; those of the same thing share a view, so that each is a right answer for the others and
        no rival. They stand in different pools, object i of a thing in the i-th; a thing that has fewer objects than
        another is there again, and not counted. An object without one (None) is a thing of its own, as all are by
        default.
    """
    if things is None:
        return [Pool(members, np.ones(len(members), np.bool_)) for members in pools(object_ids, size)]
    objects: dict[tuple[bool, str], list[int]] = {}
    for row, (name, thing) in enumerate(zip(object_ids, things, strict=True)):
        objects.setdefault((thing is None, name if thing is None else thing), []).append(row)
    rows = [np.array(found, np.int64) for found in objects.values()]
    dealt_out = []
    for chosen in pools([f"{key}" for key in objects], size):
        shown = [rows[number] for number in chosen]
        for turn in range(max(len(found) for found in shown)):
            members = np.array([found[turn % len(found)] for found in shown])
            dealt_out.append(Pool(members, np.array([turn < len(found) for found in shown])))
    return dealt_out


def first_of_each(things: NDArray[Any]) -> Int64:
    """Return the row of the first object of each thing, rising; an object without one (None) is a thing of its own."""
    alone = np.flatnonzero(things == None)  # noqa: E711 - elementwise
    named = np.flatnonzero(things != None)  # noqa: E711
    return np.union1d(alone, named[np.unique(things[named].astype(str), return_index=True)[1]])


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
        return resamples.in_parts(lambda part: weighted_median(part.running(order), scores[order]), LONG_PART_BYTES)

    return median


def statistics(names: Sequence[str], counts: Counts, pool: int) -> dict[str, Statistic]:
    """Return the scores of these names over queries in pools of one size, as functions of resamples."""
    scores = query_scores(counts, pool)
    return {name: statistic(name, scores[name]) for name in names}


def outcomes(counts: Counts, pool: int) -> dict[str, NDArray[Any]]:
    """Return what is kept of each query: see `astroclip_bench.results.outcomes.OUTCOME_COLUMNS`."""
    return {
        "greater": counts.greater,
        "ties": counts.ties,
        "rank": 1 + counts.greater + counts.ties / 2,
        "pool": np.full(len(counts.greater), pool),
    }


def random_floor(pool: int) -> dict[str, float]:
    """Return the expected value of every score for random ranks in a pool of this size."""
    return {
        **{f"recall@{k}": min(1.0, k / pool) for k in RECALL_AT},
        "mrr": float(np.sum(1 / np.arange(1, pool + 1)) / pool),
        MEDIAN_RANK: (pool + 1) / (2 * pool),
        **{f"accuracy@{percent}%": returned(percent, pool) / pool for percent in RETURNED_PERCENT},
    }
