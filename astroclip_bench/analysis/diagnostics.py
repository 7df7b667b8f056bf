"""Numbers that describe an embedding space without any label, and how alike two spaces are.

Vectors are compared as the harness compares them: divided by their length. Everything is computed in blocks or from
sums over the objects; nothing holds a number for each pair of objects.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import TaskError
from astroclip_bench.tasks.neighbours import nearest_neighbours
from astroclip_bench.tasks.protocols import l2_normalise

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Vectors = NDArray[np.floating]

BLOCK_ROWS = 2_048
NEIGHBOURS = 10
"""k of hubness (Radovanovic et al. 2010, section 3) and of the mutual neighbours (Huh et al. 2024, section 2)."""
ALIGNMENT_POWER = 2.0
UNIFORMITY_SCALE = 2.0
UNBIASED_MINIMUM = 4
"""Objects that the unbiased estimate of CKA takes at least."""


def modality_gap(one: Vectors, other: Vectors) -> float:
    """Return the distance between the mean vectors of two modalities, each vector of length one.

    From 0 (no gap) to 2. Liang et al. 2022, arXiv:2203.02053, section 2.

    Parameters
    ----------
    one, other
        (n, d) and (m, d).

    Raises
    ------
    TaskError
        If there are no objects, or the dimensions differ.
    """
    _require_rows(one, other)
    if one.shape[1] != other.shape[1]:
        raise TaskError(f"embeddings of {one.shape[1]} and {other.shape[1]} dimensions", "one space")
    means = [l2_normalise(side).mean(axis=0, dtype=np.float64) for side in (one, other)]
    return float(np.linalg.norm(means[0] - means[1]))


def alignment(one: Vectors, other: Vectors) -> float:
    """Return the mean squared distance between the two halves of a pair, vectors of length one: 0 is best.

    Wang and Isola 2020, arXiv:2005.10242, equation 1, with alpha = 2.

    Parameters
    ----------
    one, other
        The same objects in two modalities, (n, d).

    Raises
    ------
    TaskError
        If there are no objects, or the shapes differ.
    """
    _require_pairs(one, other)
    if one.shape != other.shape:
        raise TaskError(f"embeddings of shapes {one.shape} and {other.shape}", "pairs in one space")
    total = 0.0
    for rows in _blocks(len(one)):
        apart = l2_normalise(one[rows]).astype(np.float64) - l2_normalise(other[rows])
        total += float((np.einsum("ij,ij->i", apart, apart) ** (ALIGNMENT_POWER / 2)).sum())
    return total / len(one)


def uniformity(vectors: Vectors) -> float:
    """Return the log of the mean of exp(-2 d^2) over all pairs of different objects, vectors of length one.

    0 if all are in one place; lower is more uniform on the sphere. Wang and Isola 2020, equation 2, with t = 2.

    Parameters
    ----------
    vectors
        (n, d).

    Raises
    ------
    TaskError
        With fewer than two objects.
    """
    count = len(vectors)
    if count < 2:
        raise TaskError(f"{count} objects have no pairs", "at least 2")
    unit = l2_normalise(vectors).astype(np.float64)
    squares = np.einsum("ij,ij->i", unit, unit)
    total = 0.0
    for rows in _blocks(count):
        for columns in _blocks(count, rows.start):
            apart = squares[rows, None] + squares[columns] - 2 * (unit[rows] @ unit[columns].T)
            near = np.exp(-UNIFORMITY_SCALE * np.maximum(apart, 0.0))
            total += float(np.triu(near, 1).sum() if rows == columns else near.sum())
    return float(np.log(total / (count * (count - 1) / 2)))


def effective_dimension(vectors: Vectors) -> dict[str, float]:
    """Return how many directions the vectors, of length one, spread over: from 1 to d.

    Returns
    -------
    dict
        ``participation_ratio``, (sum of l)^2 / sum of l^2 over the eigenvalues l of the covariance, and
        ``entropy_rank``, the exponential of the entropy of l / sum of l (Roy and Vetterli 2007, section 2, there of
        singular values). NaN where the vectors do not vary.
    """
    _require_rows(vectors)
    unit = l2_normalise(vectors)
    values = np.linalg.eigvalsh(_covariance(unit, unit))
    # Rounding of an eigenvalue is of the order of the largest one's; below it there is nothing.
    values = np.where(values > len(values) * np.finfo(np.float64).eps * values.max(initial=0.0), values, 0.0)
    total = values.sum()
    if total <= np.finfo(np.float32).eps ** 2:
        return {"participation_ratio": float("nan"), "entropy_rank": float("nan")}
    share = values[values > 0] / total
    return {
        "participation_ratio": float(1 / (share**2).sum()),
        "entropy_rank": float(np.exp(-(share * np.log(share)).sum())),
    }


def neighbour_lists(vectors: Vectors, k: int = NEIGHBOURS) -> Int64:
    """Return the rows (n, k) of the nearest other objects of each object, nearest first, vectors of length one.

    Raises
    ------
    TaskError
        If there are not more than `k` objects.
    """
    unit = l2_normalise(vectors)
    _, found = nearest_neighbours(unit, unit, k + 1)
    return without_self(found)


def without_self(found: Int64) -> Int64:
    """Return lists (n, k) from the lists (n, k + 1) of a search among the queries themselves.

    The query is its own nearest, but among exact copies it may stand later, or be missing: then the last one goes.
    """
    n, width = found.shape
    own = found == np.arange(n)[:, None]
    own[~own.any(axis=1), -1] = True
    others: Int64 = found[~own].reshape(n, width - 1)
    return others


def hubness(neighbours: Int64) -> dict[str, float]:
    """Return how unevenly objects occur in the neighbour lists of others.

    Parameters
    ----------
    neighbours
        From `neighbour_lists`, (n, k).

    Returns
    -------
    dict
        ``skewness`` of the number of lists that an object is in, and ``antihub_share``, the share of objects in none.
        Radovanovic, Nanopoulos and Ivanovic 2010, JMLR 11, 2487, section 3.
    """
    from scipy.stats import skew

    occurrences = np.bincount(neighbours.ravel(), minlength=len(neighbours))
    return {"skewness": float(skew(occurrences)), "antihub_share": float((occurrences == 0).mean())}


def mutual_neighbours(one: Int64, other: Int64) -> float:
    """Return the mean share of neighbours that two spaces have in common; k / (n - 1) by chance.

    Huh et al. 2024, arXiv:2405.07987, section 2 and appendix A.

    Parameters
    ----------
    one, other
        `neighbour_lists` (n, k) of the same objects in the two spaces.

    Raises
    ------
    TaskError
        If the shapes differ.
    """
    _require_pairs(one, other)
    if one.shape != other.shape:
        raise TaskError(f"neighbour lists of shapes {one.shape} and {other.shape}", "lists of the same length")
    common = sum(int((one[rows, :, None] == other[rows, None, :]).sum()) for rows in _blocks(len(one)))
    return common / one.size


def linear_cka(one: Vectors, other: Vectors, *, unbiased: bool = False) -> float:
    """Return linear centred kernel alignment: 1 for spaces that differ by a rotation and a scale.

    Vectors are taken as they are, not divided by their length. Kornblith et al. 2019, arXiv:1905.00414, section 3;
    unbiased as in Nguyen, Raghu and Kornblith 2021, arXiv:2010.15327, equation 3 (the estimate of Song et al. 2012),
    which is about 0 for unrelated spaces however few the objects. Both from sums of d x d terms, never n x n.

    Parameters
    ----------
    one, other
        The same objects in two spaces, (n, d) and (n, e).

    Returns
    -------
    float
        NaN where one of them does not vary.

    Raises
    ------
    TaskError
        If the numbers of objects differ, or there are too few.
    """
    _require_pairs(one, other)
    if unbiased and len(one) < UNBIASED_MINIMUM:
        raise TaskError(f"{len(one)} objects", f"at least {UNBIASED_MINIMUM} for the unbiased estimate")
    measure = _unbiased_hsic if unbiased else _hsic
    own = measure(one, one) * measure(other, other)
    return measure(one, other) / float(np.sqrt(own)) if own > 0 else float("nan")


def _hsic(one: Vectors, other: Vectors) -> float:
    return float((_covariance(one, other) ** 2).sum())


def _unbiased_hsic(one: Vectors, other: Vectors) -> float:
    """Return the estimate of Song et al. 2012 (equation 5), for kernels whose diagonals are put to zero."""
    n = len(one)
    # Moving all vectors leaves it unchanged, and keeps the sums accurate.
    means = [side.mean(axis=0, dtype=np.float64) for side in (one, other)]
    product = np.zeros((one.shape[1], other.shape[1]))
    sums = [np.zeros(one.shape[1]), np.zeros(other.shape[1])]
    for rows in _blocks(n):
        x, y = one[rows] - means[0], other[rows] - means[1]
        product += x.T @ y
        sums = [sums[0] + x.sum(axis=0), sums[1] + y.sum(axis=0)]
    diagonals = row_products = 0.0
    totals = np.zeros(2)
    for rows in _blocks(n):
        x, y = one[rows] - means[0], other[rows] - means[1]
        own = [np.einsum("ij,ij->i", side, side) for side in (x, y)]
        row_sums = [side @ total - diagonal for side, total, diagonal in zip((x, y), sums, own, strict=True)]
        diagonals += float(own[0] @ own[1])
        row_products += float(row_sums[0] @ row_sums[1])
        totals += [part.sum() for part in row_sums]
    trace = float((product**2).sum()) - diagonals
    everything = totals[0] * totals[1] / ((n - 1) * (n - 2))
    return float((trace + everything - 2 * row_products / (n - 2)) / (n * (n - 3)))


def _covariance(one: Vectors, other: Vectors) -> Float64:
    """Return the mean product of the centred components, (d, e)."""
    means = [side.mean(axis=0, dtype=np.float64) for side in (one, other)]
    product = np.zeros((one.shape[1], other.shape[1]))
    for rows in _blocks(len(one)):
        product += (one[rows] - means[0]).T @ (other[rows] - means[1])
    return product / len(one)


def _blocks(count: int, start: int = 0) -> list[slice]:
    return [slice(first, min(first + BLOCK_ROWS, count)) for first in range(start, count, BLOCK_ROWS)]


def _require_rows(*sides: NDArray[np.generic]) -> None:
    if not all(len(side) for side in sides):
        raise TaskError("no objects", "at least one")


def _require_pairs(one: NDArray[np.generic], other: NDArray[np.generic]) -> None:
    _require_rows(one, other)
    if len(one) != len(other):
        raise TaskError(f"{len(one)} and {len(other)} objects", "the same objects in both spaces")
