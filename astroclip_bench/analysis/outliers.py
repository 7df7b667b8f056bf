"""The strangest objects: those where the embedding space is emptiest (the use of Spender in Liang et al. 2023).

No label and no flag takes part in the search; they stand beside what is found, so that the reader can judge it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.analysis.diagnostics import NEIGHBOURS, without_self
from astroclip_bench.tasks.neighbours import nearest_neighbours

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Strangeness:
    """How alone each object is.

    Parameters
    ----------
    distance
        Mean distance to its nearest others, (n,). Where the density of objects is p, it goes as p^(-1/d), so that the
        order is that of the density (Loftsgaarden and Quesenberry 1965).
    neighbours
        Their rows, (n, k), nearest first.
    """

    distance: Float64
    neighbours: Int64

    @property
    def rank(self) -> Int64:
        """Place of each object, the strangest 1, (n,)."""
        rank = np.empty(len(self.distance), np.int64)
        rank[np.argsort(-self.distance, kind="stable")] = np.arange(1, len(rank) + 1)
        return rank


def strangeness(vectors: NDArray[np.floating], k: int = NEIGHBOURS) -> Strangeness:
    """Measure how far each of n vectors (n, d) lies from its `k` nearest others.

    Raises
    ------
    TaskError
        If there are not more than `k` objects.
    """
    distances, found = nearest_neighbours(vectors, vectors, k + 1)
    # The object itself, or an exact copy in its place, is at distance 0: the sum does not know it.
    return Strangeness(distances.sum(axis=1) / k, without_self(found))


def disagreement(values: NDArray[np.floating], neighbours: Int64) -> tuple[Float64, Float64]:
    """Compare a label with that of the neighbours.

    Parameters
    ----------
    values
        Label of each object, (n,); NaN where unknown.
    neighbours
        Rows of the neighbours, (n, k).

    Returns
    -------
    expected
        Median label of the neighbours that have one, (n,); NaN where none has.
    deviation
        Label minus `expected` in units of 1.4826 times the median absolute deviation among the neighbours, (n,); NaN
        where either is unknown or the neighbours do not differ.
    """
    around = values[neighbours]
    known = np.isfinite(around).any(axis=1)
    expected, spread = np.full(len(values), np.nan), np.full(len(values), np.nan)
    expected[known] = np.nanmedian(around[known], axis=1)
    spread[known] = 1.4826 * np.nanmedian(np.abs(around[known] - expected[known, None]), axis=1)
    deviation = np.divide(values - expected, spread, out=np.full(len(values), np.nan), where=spread > 0)
    return expected, deviation


def flag_enrichment(distance: Float64, flags: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Return how well the distance finds objects of a nonzero flag: the area under the ROC curve, 0.5 by chance.

    Parameters
    ----------
    distance
        From `strangeness`, (n,).
    flags
        Whole-number columns, each (n,); those that are zero, or nonzero, everywhere are left out.
    """
    from sklearn.metrics import roc_auc_score

    found = {}
    for name, column in flags.items():
        raised = column != 0
        if raised.any() and not raised.all():
            found[name] = float(roc_auc_score(raised, distance))
    return found
