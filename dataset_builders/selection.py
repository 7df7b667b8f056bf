"""Cuts that say how many rows each of them cost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt


def drop_by_reason(reasons: Mapping[str, npt.NDArray[np.bool_]]) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Return which rows to keep, and how many are dropped for each reason.

    Parameters
    ----------
    reasons
        For each reason the flag of the rows it holds for, each of shape (n,); at least one.

    Returns
    -------
    keep
        Flag of the rows for which no reason holds, (n,).
    dropped
        Reason -> number of rows, each row counted under the first reason that holds.
    """
    keep = np.ones(len(next(iter(reasons.values()))), bool)
    dropped = {}
    for reason, holds in reasons.items():
        dropped[reason] = int((holds & keep).sum())
        keep &= ~holds
    return keep, dropped
