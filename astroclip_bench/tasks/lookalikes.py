"""Hard pools of retrieval: each query is sought among the objects that are most like it in columns of the data set.

To find a galaxy among others of its redshift and magnitude takes more than to know both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.tasks.inmodal import nearest_others
from astroclip_bench.tasks.retrieval import TIE, Counts

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

LOOKALIKES = 50
"""Objects of a pool, the query's own among them."""
QUERIES_AT_ONCE = 1_024


def has_all(columns: Mapping[str, NDArray[Any]], names: Sequence[str]) -> NDArray[np.bool_]:
    """Return which objects have a number in all of the columns."""
    known: NDArray[np.bool_] = np.all([np.isfinite(columns[name]) for name in names], axis=0)
    return known


def lookalike_pools(columns: Mapping[str, NDArray[Any]], names: Sequence[str], size: int = LOOKALIKES) -> Int64:
    """Return for each object the rows of its pool, (n, size): itself first, then its closest in the columns.

    The distance is Euclidean, every column divided by its standard deviation.
    """
    values = np.stack([columns[name] for name in names], axis=1).astype(np.float64)
    spread = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    own = np.arange(len(values))[:, None]
    return np.concatenate([own, nearest_others(scaled.astype(np.float32), size - 1)], axis=1)


def lookalike_counts(query: NDArray[np.float32], reference: NDArray[np.float32], pools: Int64) -> Counts:
    """Count the others of each query's pool that are more and as similar to it than its own reference.

    Parameters
    ----------
    query, reference
        Embeddings of the same objects, (n, d), scaled to unit length.
    pools
        From `lookalike_pools`.
    """
    greater, ties = np.empty(len(pools), np.int64), np.empty(len(pools), np.int64)
    for start in range(0, len(pools), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        similarity = np.einsum("id,ikd->ik", query[part], reference[pools[part]], dtype=np.float64)
        above = similarity[:, 1:] - similarity[:, :1]
        greater[part], ties[part] = (above > TIE).sum(axis=1), (np.abs(above) <= TIE).sum(axis=1)
    return Counts(greater, ties)
