"""In-modal retrieval: what the nearest objects in the same modality have in common with the query.

Nobody knows which galaxy ought to be found next to another; but near ones should have its redshift, mass and shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.tasks.neighbours import nearest_neighbours

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

NEIGHBOURS_AT = (10, 5, 1)
NEIGHBOURS = max(NEIGHBOURS_AT)
AGREEMENT, DIFFERENCE = "agreement", "difference"


def score_names() -> list[str]:
    """Return the names of the scores: ``agreement@k`` of classes, ``difference@k`` of numbers."""
    return [f"{measure}@{k}" for measure in (AGREEMENT, DIFFERENCE) for k in NEIGHBOURS_AT]


def outcome_of(name: str) -> str:
    """Return the column of `astroclip_bench.results.outcomes.OUTCOME_COLUMNS` that keeps a score of each query."""
    return f"nearest_{name.partition('@')[2]}"


def direction_of(name: str) -> Literal["higher", "lower"]:
    """Return whether more or less of a score is better."""
    return "higher" if name.startswith(AGREEMENT) else "lower"


def nearest_others(vectors: NDArray[np.floating], k: int) -> Int64:
    """Return the rows of the `k` nearest other vectors of each, (n, k), by Euclidean distance; ties by row."""
    _, found = nearest_neighbours(vectors, vectors, k + 1)
    own = found == np.arange(len(vectors))[:, None]
    # Where more than k others are as near as the object itself, it may be absent: the farthest goes.
    own[~own.any(axis=1), -1] = True
    others: Int64 = found[~own].reshape(-1, k)
    return others


def neighbour_scores(vectors: NDArray[np.floating], label: Float64, names: Sequence[str]) -> dict[str, Float64]:
    """Return the scores of every query, (n,): its nearest others' mean agreement with it, or difference from it.

    Parameters
    ----------
    vectors
        Embeddings of the objects that have the label, (n, d), scaled.
    label
        Numbers or classes, (n,).
    names
        Some of `score_names`.
    """
    others = label[nearest_others(vectors, NEIGHBOURS)]
    scores = {}
    for name in names:
        measure, _, k = name.partition("@")
        scores[name] = _COMPARED[measure](others[:, : int(k)], label[:, None]).mean(axis=1)
    return scores


def random_floor(label: Float64, names: Sequence[str]) -> dict[str, Float64]:
    """Return the same for neighbours drawn at random among the others."""
    return {name: _EXPECTED[name.partition("@")[0]](label) for name in names}


def _mean_difference(label: Float64) -> Float64:
    """Return the mean absolute difference of each label from all others, from running sums over the sorted ones."""
    order = np.argsort(label, kind="stable")
    ranked = label[order] - label.mean()
    count = len(ranked)
    below = np.concatenate([[0.0], np.cumsum(ranked)[:-1]])
    place = np.arange(count)
    total = ranked * (2 * place - count + 1) + ranked.sum() - 2 * below - ranked
    mean = np.empty(count)
    mean[order] = total / (count - 1)
    return mean


def _mean_agreement(label: Float64) -> Float64:
    """Return the share of all others that are of each object's class."""
    _, member_of, sizes = np.unique(label, return_inverse=True, return_counts=True)
    share: Float64 = (sizes[member_of] - 1) / (len(label) - 1)
    return share


_COMPARED: dict[str, Callable[[Float64, Float64], Float64]] = {
    AGREEMENT: lambda others, own: (others == own).astype(np.float64),
    DIFFERENCE: lambda others, own: np.abs(others - own),
}
_EXPECTED = {AGREEMENT: _mean_agreement, DIFFERENCE: _mean_difference}
