"""Skill, its interval, and ranks as bands.

Skill of a score is 0 for the mean label predicted for every galaxy, and 1 for the supervised baseline of the same input; a
row's skill is the mean over the required tasks. Both ends are fixed numbers: the interval of a skill is that of the
model's scores. Two rows share a rank if the 95 % interval of their paired difference, on common resamples of the sky,
holds zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

INTERVAL_PERCENT = (2.5, 97.5)
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Contender:
    """A row that is ranked.

    Parameters
    ----------
    name
        Of the submission.
    values
        Column -> score.
    replicates
        Column -> the same score on each resample of the sky, (r,); the same resamples for every row.
    """

    name: str
    values: Mapping[str, float]
    replicates: Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Standing:
    """Where a row stands: its skill with a 95 % interval, and the first place of the band it shares."""

    skill: float
    low: float
    high: float
    rank: int


def skill_of(scores: Mapping[str, Any], ends: Mapping[str, tuple[float, float]]) -> Float64:
    """Return the mean skill over the columns of `ends`: of one value a column, or of one a resample."""
    skills = [(np.asarray(scores[key], np.float64) - zero) / (one - zero) for key, (zero, one) in ends.items()]
    return np.asarray(np.mean(skills, axis=0), np.float64)


def rank(contenders: Sequence[Contender], ends: Mapping[str, tuple[float, float]]) -> dict[str, Standing]:
    """Rank rows of one table, best first.

    A band is led by its best row, and holds the rows after it whose paired difference to that one has an interval with zero
    in it. The next row leads the next band; its rank is its place.

    Parameters
    ----------
    ends
        Column -> the scores of skill 0 and of skill 1: the columns that count.

    Returns
    -------
    dict
        Name -> standing, in the order of skill.
    """
    skills = {one.name: float(skill_of(one.values, ends)) for one in contenders}
    drawn = {one.name: skill_of(one.replicates, ends) for one in contenders}
    order = sorted(skills, key=lambda name: (-skills[name], name))
    if not order:
        return {}
    lows, highs = np.percentile([drawn[name] for name in order], INTERVAL_PERCENT, axis=1)
    found: dict[str, Standing] = {}
    leader, place = "", 0
    for number, (name, low, high) in enumerate(zip(order, lows, highs, strict=True), start=1):
        if not leader or not _ties(drawn[leader], drawn[name]):
            leader, place = name, number
        found[name] = Standing(skills[name], float(low), float(high), place)
    return found


def _ties(better: Float64, other: Float64) -> bool:
    low, high = np.percentile(better - other, INTERVAL_PERCENT)
    return bool(low <= 0 <= high)
