"""Where on the sky a DESI target lies, as far as its TARGETID tells: the original pairs came without positions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from astroclip_bench.records import HEALPIX_NSIDE
from dataset_builders.splits import healpix_pixel
from dataset_builders.upstream.bricks import N_BRICKS, brick_centre
from dataset_builders.upstream.desi_targets import TERTIARY_RELEASE, decode_target_id

GAIA_NSIDE = 32
"""Targets that are in Gaia alone carry a HEALPix pixel (NESTED) of Gaia's files where others carry a brick."""

NOWHERE = -1


def target_pixel(target_id: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the HEALPix pixel (nside 64, NESTED) of TARGETIDs, or `NOWHERE`.

    It is that of the centre of the target's brick, so near a border it may be the neighbour's. Of the larger pixel
    that a Gaia target carries (``desitarget.gaiamatch``) it is the first of four. Negative and mock TARGETIDs, those of
    tertiary targets, and brick numbers that do not exist, are nowhere.
    """
    ids = np.asarray(target_id, np.int64)
    key = decode_target_id(np.maximum(ids, 0))
    observed = (ids > 0) & (key.mock == 0) & (key.release != TERTIARY_RELEASE)
    gaia_alone = observed & (key.gaia_dr > 0) & (key.release == 0)
    on_brick = observed & ~gaia_alone & (key.brick_id >= 1) & (key.brick_id <= N_BRICKS)
    in_gaia_file = gaia_alone & (key.brick_id < 12 * GAIA_NSIDE**2)
    pixel = np.full(ids.shape, NOWHERE, np.int64)
    pixel[on_brick] = healpix_pixel(*brick_centre(key.brick_id[on_brick]))
    pixel[in_gaia_file] = key.brick_id[in_gaia_file] * (HEALPIX_NSIDE // GAIA_NSIDE) ** 2
    return pixel
