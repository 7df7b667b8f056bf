"""Probes: from reference embeddings and targets to predictions for query embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import TaskError
from astroclip_bench.tasks.neighbours import Progress, nearest_neighbours
from astroclip_bench.tasks.protocols import Protocol, scale

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Prediction:
    """What a k-NN probe predicts for m queries and t targets.

    Parameters
    ----------
    values
        Predicted targets, (m, t).
    neighbours
        One (m, k) array of reference rows per target; targets that are known for the same rows share one array.
    weights
        One (m, k) array of votes per target, each row summing to one; shared likewise.
    """

    values: Float64
    neighbours: tuple[Int64, ...]
    weights: tuple[Float64, ...]


def knn_regress(
    reference: NDArray[np.floating],
    targets: NDArray[np.floating],
    query: NDArray[np.floating],
    protocol: Protocol,
    *,
    progress: Progress | None = None,
) -> Prediction:
    """Predict targets as the weighted mean over the nearest reference embeddings.

    Equal to scikit-learn's ``KNeighborsRegressor(k, weights="distance")`` on the scaled embeddings. One search serves
    all targets known for the same reference rows.

    Parameters
    ----------
    reference, query
        Embeddings (n, d) and (m, d), finite; scaled here as the protocol says, by the statistics of all n references.
    targets
        Labels of the reference, (n,) or (n, t); NaN where unknown. A row without a label does not vote for it.
    protocol
        A protocol with `k`.
    progress
        Called as ``progress(done, total)`` with numbers of query-reference pairs; restarts with every search.

    Raises
    ------
    TaskError
        If fewer than `k` reference objects carry a label, or the shapes do not fit.
    """
    if protocol.k is None:
        raise TaskError(f"protocol {protocol.name!r} does not predict", "a k-NN protocol")
    targets = np.asarray(targets, dtype=np.float64)
    columns = targets.reshape(len(targets), -1)
    if len(columns) != len(reference):
        raise TaskError(f"{len(columns)} labels for {len(reference)} reference embeddings", "one label an object")
    scaled_reference, scaled_query = scale(reference, query, protocol)
    values = np.empty((len(query), columns.shape[1]))
    found: dict[bytes, tuple[Int64, Float64]] = {}
    keys = []
    for column in range(columns.shape[1]):
        known = ~np.isnan(columns[:, column])
        key = np.packbits(known).tobytes()
        if key not in found:
            found[key] = _search(scaled_reference, scaled_query, known, protocol, progress)
        keys.append(key)
        indices, weights = found[key]
        values[:, column] = np.einsum("ij,ij->i", weights, columns[indices, column])
    return Prediction(values, tuple(found[key][0] for key in keys), tuple(found[key][1] for key in keys))


def _search(
    reference: NDArray[np.float32],
    query: NDArray[np.float32],
    known: NDArray[np.bool_],
    protocol: Protocol,
    progress: Progress | None,
) -> tuple[Int64, Float64]:
    assert protocol.k is not None
    rows = np.flatnonzero(known)
    if len(rows) < protocol.k:
        raise TaskError(
            f"protocol {protocol.name!r} needs {protocol.k} reference objects with a label, and there are {len(rows)}",
            todo="use a larger data set, a larger --limit, or leave this protocol out",
        )
    complete = len(rows) == len(reference)
    distances, indices = nearest_neighbours(
        reference if complete else reference[rows], query, protocol.k, progress=progress
    )
    return indices if complete else rows[indices], inverse_distance_weights(distances)


def inverse_distance_weights(distances: Float64) -> Float64:
    """Return the votes (m, k), each row summing to one: 1 / distance, all of it to exact matches where there are any."""
    exact = distances == 0
    weights = np.where(exact.any(axis=1, keepdims=True), exact, 1.0 / np.where(exact, 1.0, distances))
    normalised: Float64 = weights / weights.sum(axis=1, keepdims=True)
    return normalised
