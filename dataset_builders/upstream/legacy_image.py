"""What the readers of Legacy Survey images share: the central pixels, their faults, and the object's key."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from astroclip_bench.records import IMAGE_BANDS, IMAGE_SIZE, PIXEL_SCALE_ARCSEC
from dataset_builders.upstream.desi_targets import BITS, encode_target_id
from dataset_builders.upstream.reader import GOOD

MAX_ZERO_FRACTION = 0.5
"""A band with more pixels than this at exactly zero was not observed here."""
NOT_FINITE = "image not finite"
BAND_MISSING = {band: f"{band} band missing (mostly exactly zero)" for band in IMAGE_BANDS}
OFF_THE_SKY = "position not on the sky"
BANDS_MISSING = "bands g, r, z not all in the file"
NOT_NATIVE = "pixel scale not native"

PIXEL_SCALE_TOLERANCE = 1e-3
"""Relative difference of the pixel scale that still counts as native: a tenth of a pixel at the edge."""

RELEASES = {
    "south": (5000, 7000, 8000, 9010, 9012, 9999, 10000, 10300),
    "north": (4000, 6000, 8001, 9011),
}
"""RELEASE numbers by camera (https://www.legacysurvey.org/release): south is DECam, north Bok and Mosaic-3.

In DR9 even numbers happen to be south (9012: bricks that were processed again), but 9999 of DR10 is south too.
"""
HEMISPHERE_OF_RELEASE = {release: name for name, releases in RELEASES.items() for release in releases}


def central_pixels(height: int, width: int) -> tuple[slice, slice]:
    """Return the slices of the central 152 by 152 pixels of an image at least as large."""
    top, left = (height - IMAGE_SIZE) // 2, (width - IMAGE_SIZE) // 2
    return slice(top, top + IMAGE_SIZE), slice(left, left + IMAGE_SIZE)


def image_faults(image: npt.NDArray[np.float32]) -> npt.NDArray[np.object_]:
    """Return for each image (n, 3, 152, 152) why it cannot be used, or `GOOD`; (n,)."""
    faults = np.full(len(image), GOOD, object)
    zero_fraction = (image == 0).mean(axis=(2, 3))
    for number, band in reversed(list(enumerate(IMAGE_BANDS))):
        faults[zero_fraction[:, number] > MAX_ZERO_FRACTION] = BAND_MISSING[band]
    faults[~np.isfinite(image).all(axis=(1, 2, 3))] = NOT_FINITE
    return faults


def is_native(scale_arcsec: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Tell which pixel scales are that of the survey."""
    return np.asarray(np.abs(np.asarray(scale_arcsec) / PIXEL_SCALE_ARCSEC - 1) <= PIXEL_SCALE_TOLERANCE)


def on_the_sky(ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Tell which positions, in degrees, are in range; NaN is not."""
    return (ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90)


def imaging_target_id(
    release: npt.NDArray[np.integer], brick_id: npt.NDArray[np.integer], object_id: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """Return the TARGETID that DESI gives objects of the imaging catalogues; -1 where a part cannot be one.

    The numbers of objects change from release to release: a DR10 object's identifier meets no target selected on DR9.
    """
    parts = {"release": release, "brick_id": brick_id, "brick_object_id": object_id}
    valid = np.asarray(release) > 0
    for name, part in parts.items():
        valid &= (np.asarray(part) >= 0) & (np.asarray(part) < 1 << BITS[name][1])
    target_id = np.full(len(valid), -1, np.int64)
    target_id[valid] = encode_target_id(release[valid], brick_id[valid], object_id[valid])
    return target_id


def hemispheres(release: npt.NDArray[np.integer], path: Path) -> npt.NDArray[np.object_]:
    """Return "north" or "south" by release; where that is not in the table, as the nearest folder's name says, or None."""
    otherwise = hemisphere_of_path(path)
    numbers, inverse = np.unique(release, return_inverse=True)
    names = np.array([HEMISPHERE_OF_RELEASE.get(int(number), otherwise) for number in numbers], object)
    return np.asarray(names[inverse])


def hemisphere_of_path(path: Path) -> str | None:
    """Return the hemisphere that the nearest folder names, as in ``images/south`` or ``dr10_south_21``."""
    for folder in path.parents:
        words = {"north", "south"} & set(re.split(r"[^a-z]+", folder.name.lower()))
        if len(words) == 1:
            return words.pop()
    return None
