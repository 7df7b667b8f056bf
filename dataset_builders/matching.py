"""Which rows of two catalogues are the same object: by TARGETID where both sides carry it, else by position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError, UserError
from dataset_builders.upstream.desi_targets import decode_target_id, has_imaging_key

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MAX_KEY_SEPARATION_ARCSEC = 5.0
"""Rows of the same TARGETID farther apart than this are not taken for the same object."""
NO_KEY = -1

BY_TARGET_ID, ON_THE_SKY = METHODS = ("target_id", "sky")
OUTCOMES = (
    "matched by TARGETID",
    "matched on the sky",
    "left unmatched: same TARGETID, positions disagree",
    "left unmatched: counterpart has a nearer partner",
    "left unmatched: no counterpart within the radius",
)
"""What can become of a left row; each row has one outcome."""
AMBIGUOUS = "matched on the sky, ambiguous"
RIGHT_UNMATCHED = "right unmatched"


@dataclass(frozen=True)
class Positions:
    """The rows of one catalogue.

    Parameters
    ----------
    ra, dec
        Right ascension (taken modulo 360) and declination, ICRS, degrees, float64 (n,).
    target_id
        DESI TARGETID, int64 (n,); -1 where unknown.

    Raises
    ------
    DataError
        If the lengths differ, or a coordinate is not finite or not on the sphere.
    """

    ra: FloatArray
    dec: FloatArray
    target_id: IntArray

    def __post_init__(self) -> None:
        if not len(self.ra) == len(self.dec) == len(self.target_id):
            raise DataError(f"{len(self.ra)} ra, {len(self.dec)} dec, {len(self.target_id)} target_id", "one of each")
        bad = ~(np.isfinite(self.ra) & (np.abs(self.dec) <= 90.0))
        if bad.any():
            raise DataError(f"{bad.sum()} positions are not finite or not on the sphere", "ra and dec in degrees")

    def __len__(self) -> int:
        return len(self.ra)


@dataclass(frozen=True)
class Matches:
    """The pairs found, each left and each right row at most once, in increasing `left`.

    Parameters
    ----------
    left, right
        Row numbers, int64 (m,).
    separation_arcsec
        Distance on the sky, float64 (m,).
    method
        ``target_id`` or ``sky``, str (m,).
    ambiguous
        Whether a pair on the sky had another candidate on either side, bool (m,).
    outcome
        For every left row its place in `OUTCOMES`, int64 (n_left,).
    counts
        Rows by outcome, ambiguous pairs, and right rows left over.
    """

    left: IntArray
    right: IntArray
    separation_arcsec: FloatArray
    method: npt.NDArray[np.str_]
    ambiguous: BoolArray
    outcome: IntArray
    counts: Mapping[str, int]


class _Pairs(NamedTuple):
    left: IntArray
    right: IntArray
    separation_arcsec: FloatArray

    def where(self, keep: Any) -> _Pairs:
        return _Pairs(self.left[keep], self.right[keep], self.separation_arcsec[keep])


def match(left: Positions, right: Positions, radius_arcsec: float = 1.0) -> Matches:
    """Pair the rows of two catalogues, one to one.

    1. Two rows with the same TARGETID, where it names an imaging object (`has_imaging_key`), are a pair if they lie
       within `MAX_KEY_SEPARATION_ARCSEC`. If they are farther apart the identifier tells nothing: they are no pair,
       and each takes part in step 2 like any other row.
    2. Among the rest, a left and a right row within `radius_arcsec` (inclusive) are candidates, unless both carry
       TARGETIDs of the same imaging release: one release gives an object one identifier, so these are two objects.
       Candidates that are each other's nearest are a pair. Of candidates equally near, the one first in right
       ascension, declination and TARGETID counts as the nearer; the row number decides only between rows that agree
       in all of these.

    A pair of step 2 is ambiguous if either of its rows has a second candidate.

    What becomes of a row depends on no row farther away than `reach_arcsec`, so pieces of sky with that much margin
    can be matched alone and give the same pairs. One count needs the whole sky: a row whose TARGETID is found
    farther away than the margin counts as having no counterpart.

    Time and memory grow with the number of candidates: a million rows a side, one candidate each, take about three
    seconds and 0.3 GB beside the input.

    Parameters
    ----------
    left, right
        The catalogues. TARGETIDs that name an imaging object are unique within each.
    radius_arcsec
        Largest distance of a pair on the sky, arcsec.

    Raises
    ------
    DataError
        If a TARGETID that names an imaging object occurs twice in one catalogue.
    UserError
        If the radius is not positive.
    """
    if not 0 < radius_arcsec < np.inf:
        raise UserError(f"a matching radius of {radius_arcsec} arcsec", "a positive number", "change the radius")
    left_vectors, right_vectors = _unit_vectors(left), _unit_vectors(right)
    by_key = _pairs_by_key(left, right, left_vectors, right_vectors)
    near = by_key.separation_arcsec <= MAX_KEY_SEPARATION_ARCSEC
    disagree, by_key = by_key.where(~near), by_key.where(near)

    free_left, free_right = _all_but(by_key.left, len(left)), _all_but(by_key.right, len(right))
    close = _pairs_within(left_vectors[free_left], right_vectors[free_right], radius_arcsec)
    close = close._replace(left=free_left[close.left], right=free_right[close.right])
    candidates = close.where(_may_be_same_object(left.target_id[close.left], right.target_id[close.right]))
    chosen = _first_of_each(candidates.left, candidates.right, candidates.separation_arcsec, right)
    chosen &= _first_of_each(candidates.right, candidates.left, candidates.separation_arcsec, left)
    on_sky = candidates.where(chosen)

    outcome = np.full(len(left), 4, np.int64)
    for place, rows in ((3, candidates.left), (2, disagree.left), (1, on_sky.left), (0, by_key.left)):
        outcome[rows] = place
    rivals = np.bincount(candidates.left, minlength=len(left)), np.bincount(candidates.right, minlength=len(right))
    ambiguous = (rivals[0][on_sky.left] > 1) | (rivals[1][on_sky.right] > 1)
    return _assemble(by_key, on_sky, ambiguous, outcome, len(right))


def reach_arcsec(radius_arcsec: float) -> float:
    """Return how far around a row other rows can decide what becomes of it, arcsec.

    A row's candidate lies within the radius, a rival for that candidate within twice the radius, and the rival is
    out of the race if a row within `MAX_KEY_SEPARATION_ARCSEC` of it has its TARGETID.
    """
    return 2 * radius_arcsec + MAX_KEY_SEPARATION_ARCSEC


def count_outcomes(outcome: IntArray, ambiguous: BoolArray) -> dict[str, int]:
    """Return the number of left rows by outcome, and of ambiguous pairs."""
    numbers = np.bincount(outcome, minlength=len(OUTCOMES))
    return {**dict(zip(OUTCOMES, numbers.tolist(), strict=True)), AMBIGUOUS: int(ambiguous.sum())}


def _assemble(by_key: _Pairs, on_sky: _Pairs, ambiguous: BoolArray, outcome: IntArray, n_right: int) -> Matches:
    rows = np.concatenate([by_key.left, on_sky.left])
    order = np.argsort(rows)
    unsure = np.concatenate([np.zeros(len(by_key.left), bool), ambiguous])[order]
    return Matches(
        left=rows[order],
        right=np.concatenate([by_key.right, on_sky.right])[order],
        separation_arcsec=np.concatenate([by_key.separation_arcsec, on_sky.separation_arcsec])[order],
        method=np.repeat(METHODS, [len(by_key.left), len(on_sky.left)])[order],
        ambiguous=unsure,
        outcome=outcome,
        counts={**count_outcomes(outcome, unsure), RIGHT_UNMATCHED: n_right - len(rows)},
    )


def _pairs_by_key(left: Positions, right: Positions, left_vectors: FloatArray, right_vectors: FloatArray) -> _Pairs:
    left_rows, right_rows = _rows_with_key(left, "left"), _rows_with_key(right, "right")
    _, first, second = np.intersect1d(
        left.target_id[left_rows], right.target_id[right_rows], assume_unique=True, return_indices=True
    )
    i, j = left_rows[first], right_rows[second]
    return _Pairs(i, j, _arcsec(np.linalg.norm(left_vectors[i] - right_vectors[j], axis=1)))


def _rows_with_key(positions: Positions, side: str) -> IntArray:
    rows = np.flatnonzero(has_imaging_key(positions.target_id))
    keys, number = np.unique(positions.target_id[rows], return_counts=True)
    twice = keys[number > 1]
    if len(twice):
        raise DataError(
            f"{len(twice)} TARGETIDs occur more than once in the {side} catalogue, such as {twice[0]}",
            "one row an object",
            "keep one row of each first",
        )
    return rows


def _may_be_same_object(left_id: IntArray, right_id: IntArray) -> BoolArray:
    left_release, right_release = _release(left_id), _release(right_id)
    return np.asarray((left_release != right_release) | (left_release == NO_KEY))


def _release(target_id: IntArray) -> IntArray:
    """Return the imaging release that gave the TARGETID, or `NO_KEY`."""
    return np.where(has_imaging_key(target_id), decode_target_id(np.maximum(target_id, 0)).release, NO_KEY)


def _pairs_within(left_vectors: FloatArray, right_vectors: FloatArray, radius_arcsec: float) -> _Pairs:
    """Return all pairs within the radius, from one walk down two k-d trees."""
    from scipy.spatial import KDTree

    # A hair wider than the radius, which is then applied to the angle as it is reported.
    chord = 2 * np.sin(np.radians(radius_arcsec / 3600) / 2) * (1 + 1e-9)
    trees = KDTree(left_vectors), KDTree(right_vectors)
    found = trees[0].sparse_distance_matrix(trees[1], chord, output_type="ndarray")
    pairs = _Pairs(found["i"].astype(np.int64), found["j"].astype(np.int64), _arcsec(found["v"]))
    return pairs.where(pairs.separation_arcsec <= radius_arcsec)


def _first_of_each(rows: IntArray, others: IntArray, separation: FloatArray, catalogue: Positions) -> BoolArray:
    """Flag for each of `rows` the pair whose other side, a row of `catalogue`, is the nearest."""
    ra, dec, target_id = catalogue.ra[others] % 360.0, catalogue.dec[others], catalogue.target_id[others]
    order = np.lexsort((others, target_id, dec, ra, separation, rows))
    first = np.zeros(len(rows), bool)
    first[order] = np.diff(rows[order], prepend=-1) != 0
    return first


def _unit_vectors(positions: Positions) -> FloatArray:
    ra, dec = np.radians(positions.ra % 360.0), np.radians(positions.dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _arcsec(chord: FloatArray) -> FloatArray:
    """Return the angle between unit vectors from the length of their difference."""
    return np.asarray(np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1.0))) * 3600)


def _all_but(rows: IntArray, n: int) -> IntArray:
    free = np.ones(n, bool)
    free[rows] = False
    return np.flatnonzero(free)
