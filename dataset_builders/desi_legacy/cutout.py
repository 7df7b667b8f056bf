"""Read a Legacy Survey image cut-out at its native pixel scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from astroclip_bench.records import IMAGE_BANDS, IMAGE_SIZE, PIXEL_SCALE_ARCSEC
from dataset_builders.fits import native, open_fits

PIXEL_SCALE_TOLERANCE = 0.01
"""Relative difference of the pixel scale that still counts as native."""
MAX_ZERO_FRACTION = 0.5
"""A band with more pixels than this at exactly zero was not observed here."""


@dataclass(frozen=True)
class Cutout:
    """An image and where it points.

    Parameters
    ----------
    image
        (3, 152, 152) float32 in the order g, r, z; nanomaggies a pixel, north up.
    ra, dec
        Position that the header gives for the cut-out's reference, degrees.
    """

    image: npt.NDArray[np.float32]
    ra: float
    dec: float


def read_cutout(path: Path | str) -> Cutout:
    """Read the central 152 by 152 pixels of a cut-out as the Legacy Survey viewer writes it.

    The file's array is (bands, N, N) with N at least 152, its bands named by BANDS or BAND0, BAND1, ... in the header.

    Raises
    ------
    DataError
        If the file is damaged, the pixel scale is not 0.262 arcsec, a band is missing or mostly exactly zero, or the
        image is too small or not finite.
    """
    with open_fits(path) as hdus:
        header, data = hdus[0].header, hdus[0].data
        if data is None or data.ndim != 3:
            raise DataError(f"{path}: no image cube in the first HDU", "an array (bands, N, N)")
        cube = native(data)
    bands = _band_names(header, len(cube), path)
    height, width = cube.shape[1:]
    if min(height, width) < IMAGE_SIZE:
        raise DataError(f"{path}: {width} by {height} pixels", f"at least {IMAGE_SIZE} by {IMAGE_SIZE}")
    top, left = (height - IMAGE_SIZE) // 2, (width - IMAGE_SIZE) // 2
    planes = [cube[bands.index(band), top : top + IMAGE_SIZE, left : left + IMAGE_SIZE] for band in IMAGE_BANDS]
    image = np.stack(planes).astype(np.float32)
    _check_pixels(image, path)
    _check_scale(header, path)
    return Cutout(image, _number(header, "CRVAL1", path), _number(header, "CRVAL2", path))


def pixel_scale_arcsec(header: Any, path: Path | str) -> float:
    """Return the side of a pixel, in arcsec: the root of its area by the header's CD matrix or CDELT."""
    if "CD1_1" in header:
        matrix = [_number(header, key, path, 0.0) for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")]
        area = abs(matrix[0] * matrix[3] - matrix[1] * matrix[2])
    else:
        area = abs(_number(header, "CDELT1", path) * _number(header, "CDELT2", path))
    return float(np.sqrt(area) * 3600.0)


def _check_scale(header: Any, path: Path | str) -> None:
    scale = pixel_scale_arcsec(header, path)
    if abs(scale / PIXEL_SCALE_ARCSEC - 1) > PIXEL_SCALE_TOLERANCE:
        raise DataError(
            f"{path}: pixel scale {scale:.3f} arcsec",
            f"the native {PIXEL_SCALE_ARCSEC} arcsec",
            f"request the cut-out with pixscale={PIXEL_SCALE_ARCSEC}",
        )


def _band_names(header: Any, planes: int, path: Path | str) -> list[str]:
    bands = [str(header.get(f"BAND{index}", "")).strip() for index in range(planes)]
    if not all(bands):
        bands = list(str(header.get("BANDS", "")).strip())
    missing = [band for band in IMAGE_BANDS if band not in bands]
    if len(bands) != planes or missing:
        raise DataError(f"{path}: {planes} planes of bands {', '.join(bands) or 'unnamed'}", "the bands g, r and z")
    return bands


def _check_pixels(image: npt.NDArray[np.float32], path: Path | str) -> None:
    bad = int((~np.isfinite(image)).sum())
    if bad:
        raise DataError(f"{path}: {bad} pixels are not finite", todo="leave this object out")
    zero = (image == 0).mean(axis=(1, 2))
    for band, fraction in zip(IMAGE_BANDS, zero, strict=True):
        if fraction > MAX_ZERO_FRACTION:
            raise DataError(
                f"{path}: {fraction:.0%} of the {band} band is exactly zero, so the band is missing here",
                todo="leave this object out",
            )


def _number(header: Any, key: str, path: Path | str, default: float | None = None) -> float:
    value = header.get(key, default)
    if not isinstance(value, int | float):
        raise DataError(f"{path}: header key {key} is missing or no number", "the keys of a celestial WCS")
    return float(value)
