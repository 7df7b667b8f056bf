"""The bricks of the Legacy Surveys: where on the sky a brick number lies.

A brick is a piece of sky 0.25 degrees high and at most as wide. Rows of constant declination run from pole to pole,
centred on multiples of 0.25 degrees; each is cut into an even number of equal columns, as few as keep a brick no wider
than high at the edge nearer to the equator; each pole is one brick. Numbers count from 1 at the south pole, along the
rows. (Definition: ``desiutil.brick``; the surveys' own table is ``survey-bricks.fits``.)
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError

BRICK_SIZE_DEG = 0.25
N_BRICKS = 662_174

FloatArray = npt.NDArray[np.float64]


def brick_centre(brick_id: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return right ascension and declination (degrees) of the centres of bricks.

    Every object of a brick lies within 0.18 degrees of its centre.

    Raises
    ------
    DataError
        If a number is not from 1 to `N_BRICKS`.
    """
    brick = np.asarray(brick_id, np.int64)
    if ((brick < 1) | (brick > N_BRICKS)).any():
        raise DataError(f"brick numbers from {brick.min()} to {brick.max()}", f"1 to {N_BRICKS}")
    dec, columns, first = _rows()
    row = np.searchsorted(first, brick, side="right") - 1
    ra = (brick - first[row] + 0.5) * 360.0 / columns[row]
    return np.asarray(ra), np.asarray(dec[row])


@cache
def _rows() -> tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return of each row its declination, number of columns, and the number of its first brick."""
    dec = np.linspace(-90.0, 90.0, round(180.0 / BRICK_SIZE_DEG) + 1)
    edge = np.abs(dec) - BRICK_SIZE_DEG / 2
    pairs = np.ceil(360.0 / BRICK_SIZE_DEG * np.cos(np.radians(edge)) / 2).astype(np.int64)
    columns = 2 * pairs
    columns[[0, -1]] = 1
    return dec, columns, 1 + np.concatenate([[0], np.cumsum(columns)[:-1]])
