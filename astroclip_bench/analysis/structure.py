"""The shape of an embedding space on a plane: map, islands, clusters, and what each of them holds.

After the report of Vrakkis, section 4.4: UMAP of the embeddings, DBSCAN on the plane (eps 0.2, at least 5), and k-means
in the full space with k by the silhouette.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import MissingExtraError, TaskError
from astroclip_bench.tasks.protocols import l2_normalise

Int64 = NDArray[np.int64]
Plane = NDArray[np.float64]
"""Positions (n, 2) on a map."""

JOINT = "joint"
"""Name of the space of the mean over the modalities, beside theirs."""
NO_ISLAND = -1

MAP_NEIGHBOURS, MAP_MINIMUM_DISTANCE = 15, 0.1
ISLAND_EPS, ISLAND_MINIMUM = 0.2, 5
"""Those of the report, chosen there for a map of some 20,000 galaxies: a map of fewer falls into more pieces."""
CLUSTER_COUNTS = tuple(range(2, 13))
CLUSTER_STARTS = 4
SILHOUETTE_OBJECTS = 5_000
"""Objects that the silhouette is taken on: it compares every two of them."""
MOST_VALUES = 8
"""A column of text with more different values than this is a name, and not a class."""


@dataclass(frozen=True)
class Clusters:
    """A division by k-means: cluster of each object (n,), the largest numbered 0; and the silhouette of every k tried."""

    labels: Int64
    silhouettes: Mapping[int, float]

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(np.unique(self.labels))


def spaces(vectors: Mapping[str, NDArray[np.float32]], shared: bool) -> dict[str, NDArray[np.float32]]:
    """Return the vectors (n, d) of each modality at length one and, in a shared space, their mean as `JOINT`.

    Parameters
    ----------
    vectors
        Modality -> (n, d), the same objects in the same order.
    shared
        Whether vectors of different modalities may be compared.
    """
    found = {name: l2_normalise(array) for name, array in vectors.items()}
    if shared and len(found) > 1:
        found[JOINT] = np.mean(list(found.values()), axis=0, dtype=np.float32)
    return found


def project(vectors: NDArray[np.float32], seed: int = 0) -> Plane:
    """Return the UMAP of vectors (n, d) by cosine distance.

    McInnes, Healy and Melville 2018, arXiv:1802.03426, with the defaults of umap-learn. Equal on one machine for one
    seed; positions have no meaning of their own.

    Raises
    ------
    MissingExtraError
        If umap-learn is not installed.
    TaskError
        With fewer than four objects.
    """
    if len(vectors) < 4:
        raise TaskError(f"a map of {len(vectors)} objects", "at least 4")
    try:
        from umap import UMAP
    except ImportError as error:
        raise MissingExtraError("umap-learn", "report") from error
    start = "spectral" if len(vectors) > MAP_NEIGHBOURS else "random"  # too few objects have no spectrum
    mapper = UMAP(
        n_neighbors=min(MAP_NEIGHBOURS, len(vectors) - 1),
        min_dist=MAP_MINIMUM_DISTANCE,
        metric="cosine",
        init=start,
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(mapper.fit_transform(vectors), np.float64)


def find_islands(plane: Plane, eps: float = ISLAND_EPS, minimum: int = ISLAND_MINIMUM) -> Int64:
    """Return the island (n,) of each object on the map, the largest numbered 0; `NO_ISLAND` where it is alone.

    DBSCAN (Ester et al. 1996): islands are chains of objects that have `minimum` others, itself counted, within `eps`.
    """
    from sklearn.cluster import DBSCAN

    return number_by_size(DBSCAN(eps=eps, min_samples=minimum).fit_predict(plane))


def find_clusters(vectors: NDArray[np.float32], counts: Sequence[int] = CLUSTER_COUNTS, seed: int = 0) -> Clusters:
    """Divide vectors (n, d) by k-means into the number of clusters whose mean silhouette is highest.

    Raises
    ------
    TaskError
        If there are too few different vectors for any of the `counts`.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    different = len(np.unique(vectors, axis=0))
    found: dict[int, tuple[float, Int64]] = {}
    for k in counts:
        if 1 < k < different:
            labels = KMeans(k, n_init=CLUSTER_STARTS, random_state=seed).fit_predict(vectors)
            sample = SILHOUETTE_OBJECTS if len(vectors) > SILHOUETTE_OBJECTS else None
            found[k] = float(silhouette_score(vectors, labels, sample_size=sample, random_state=seed)), labels
    if not found:
        raise TaskError(f"{different} different embeddings cannot be clustered", f"more than {min(counts)}")
    best = max(found, key=lambda k: found[k][0])
    return Clusters(number_by_size(found[best][1]), {k: score for k, (score, _) in found.items()})


def number_by_size(labels: NDArray[np.integer]) -> Int64:
    """Return labels (n,) numbered from 0 by falling size; negative ones stay as they are."""
    names, sizes = np.unique(labels[labels >= 0], return_counts=True)
    numbered = labels.astype(np.int64)
    for number, name in enumerate(names[np.argsort(-sizes, kind="stable")]):
        numbered[labels == name] = number
    return numbered


def describe_parts(labels: Int64, columns: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Return what each part holds, and first, as part None, the whole.

    Parameters
    ----------
    labels
        Part of each object, (n,).
    columns
        Labels and properties, each (n,): numbers with NaN, or text with None, where unknown.

    Returns
    -------
    list
        Of ``{"part", "n", "median": {column: number}, "mean": {column: number}, "share": {column: {value: share}}}``;
        columns without a known value in the part are left out of it.
    """
    parts: list[tuple[int | None, NDArray[np.bool_]]] = [(None, np.ones(len(labels), bool))]
    parts += [(int(label), labels == label) for label in np.unique(labels)]
    return [{"part": part, "n": int(rows.sum()), **_describe(columns, rows)} for part, rows in parts]


def explained(labels: Int64, column: NDArray[np.floating]) -> float:
    """Return the share of a column's variance that lies between the parts: 0 if they do not tell it, 1 if wholly.

    The correlation ratio eta^2, over objects with a known value; NaN where it does not vary.
    """
    known = np.isfinite(column)
    values, (_, part) = column[known], np.unique(labels[known], return_inverse=True)
    if not len(values):
        return float("nan")
    sizes = np.bincount(part)
    means = np.bincount(part, values) / sizes
    total = float(((values - values.mean()) ** 2).sum())
    return float((sizes * (means - values.mean()) ** 2).sum() / total) if total > 0 else float("nan")


def _describe(columns: Mapping[str, NDArray[Any]], rows: NDArray[np.bool_]) -> dict[str, dict[str, Any]]:
    median, mean, share = {}, {}, {}
    for name, column in columns.items():
        if column.dtype.kind in "fiu":
            values = column[rows][np.isfinite(column[rows])]
            if len(values):
                median[name], mean[name] = float(np.median(values)), float(values.mean())
        elif column.dtype.kind == "O" and len({value for value in column if value is not None}) <= MOST_VALUES:
            texts, counts = np.unique([value for value in column[rows] if value is not None], return_counts=True)
            if len(texts):
                share[name] = {str(text): float(n / counts.sum()) for text, n in zip(texts, counts, strict=True)}
    return {"median": median, "mean": mean, "share": share}
