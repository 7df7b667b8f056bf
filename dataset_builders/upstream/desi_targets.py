"""DESI target identifiers: the imaging object that a TARGETID stands for.

Bits of the 64-bit number, lowest first: OBJID 0-21, BRICKID 22-41, RELEASE 42-57, MOCK 58, SKY 59, GAIADR 60-61
(Myers et al. 2023, AJ 165, 50; ``desitarget.targets.encode_targetid``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError

BITS = {
    "brick_object_id": (0, 22),
    "brick_id": (22, 20),
    "release": (42, 16),
    "mock": (58, 1),
    "sky": (59, 1),
    "gaia_dr": (60, 2),
}
"""Part -> its lowest bit and its number of bits."""

FIRST_IMAGING_RELEASE = 1000
"""Below it stands the number of a secondary target class (``desitarget.targets.encode_targetid``)."""
TERTIARY_RELEASE = 8888
"""What tertiary targets carry for a release, with the number of their programme for a brick (``fiberassign``)."""

IntArray = npt.NDArray[np.int64]


class TargetKey(NamedTuple):
    """What TARGETIDs are made of: int64 arrays of one shape.

    `release` (such as 9010: DR9 south, 9011: DR9 north), `brick_id` and `brick_object_id` name an object of the Legacy
    Surveys' catalogues; `mock` and `sky` are flags; `gaia_dr` is the Gaia release of targets that are in Gaia alone.
    """

    release: IntArray
    brick_id: IntArray
    brick_object_id: IntArray
    mock: IntArray
    sky: IntArray
    gaia_dr: IntArray


def decode_target_id(target_id: npt.ArrayLike) -> TargetKey:
    """Take TARGETIDs apart.

    Raises
    ------
    DataError
        If one is negative (a fibre on no target): it has no parts. `has_imaging_key` tells them beforehand.
    """
    values = np.asarray(target_id, np.int64)
    if (values < 0).any():
        raise DataError(f"TARGETID {values.min()} is negative", "the identifier of a target", "drop such rows first")
    parts = {name: (values >> shift) & ((1 << width) - 1) for name, (shift, width) in BITS.items()}
    return TargetKey(**parts)


def encode_target_id(release: npt.ArrayLike, brick_id: npt.ArrayLike, brick_object_id: npt.ArrayLike) -> IntArray:
    """Return the TARGETIDs (int64) of objects of the Legacy Surveys' catalogues.

    Raises
    ------
    DataError
        If a part is negative or does not fit its bits.
    """
    parts = {"release": release, "brick_id": brick_id, "brick_object_id": brick_object_id}
    target_id: IntArray = np.zeros((), np.int64)
    for name, part in parts.items():
        shift, width = BITS[name]
        values = np.asarray(part, np.int64)
        if ((values < 0) | (values >= 1 << width)).any():
            raise DataError(f"{name} from {values.min()} to {values.max()}", f"0 to {(1 << width) - 1}")
        target_id = target_id | (values << shift)
    return np.asarray(target_id)


def has_imaging_key(target_id: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Tell which TARGETIDs name an object of the Legacy Surveys' catalogues.

    Others name a sky position, a mock, a Gaia source, or a secondary or tertiary target with coordinates of its own.
    """
    values = np.asarray(target_id, np.int64)
    key = decode_target_id(np.maximum(values, 0))
    of_imaging = (key.release >= FIRST_IMAGING_RELEASE) & (key.release != TERTIARY_RELEASE)
    return np.asarray(of_imaging & (key.mock == 0) & (key.sky == 0) & (key.gaia_dr == 0))
