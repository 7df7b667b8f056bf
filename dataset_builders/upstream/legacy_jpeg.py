"""Pictures of the Legacy Survey viewer (``/viewer/jpeg-cutout``), turned back into approximate fluxes.

A picture says neither its pixel scale nor its layer: the caller must know the first, and ``dr2_rgb`` is assumed for the
second, as the layers ls-dr3 to ls-dr9 have it. Its first row is the northern edge; east is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError, MissingExtraError
from astroclip_bench.files import storage_errors
from astroclip_bench.records import PIXEL_SCALE_ARCSEC
from dataset_builders.display import inverse_dr2_rgb
from dataset_builders.fits import DOWNLOAD_AGAIN
from dataset_builders.resample_image import mean_over_pixels

CLIPPED_LEVEL = 254
"""A colour this bright (of 255) is taken for clipped: the compression moves clipped colours by about one step."""


@dataclass(frozen=True)
class Picture:
    """Fluxes read from a picture.

    Parameters
    ----------
    image
        (3, size, size) float32 in the order g, r, z; nanomaggies a pixel of 0.262 arcsec, first row south.
    clipped
        (size, size), whether a clipped colour has part in the pixel: all its fluxes are then lower bounds.
    """

    image: npt.NDArray[np.float32]
    clipped: npt.NDArray[np.bool_]


def read_picture(path: Path | str, scale_arcsec: float, size: int) -> Picture:
    """Read the middle of a picture and bring it to the native pixel scale, with the flux conserved.

    Parameters
    ----------
    scale_arcsec
        Side of the picture's pixels.
    size
        Number of native pixels along each side of the result.

    Raises
    ------
    StorageError
        If the file does not exist or cannot be read.
    DataError
        If it is no whole picture in three colours, or its field is too small.
    """
    colours = _colours(path)[::-1]
    field_arcsec = min(colours.shape[:2]) * scale_arcsec
    if field_arcsec < size * PIXEL_SCALE_ARCSEC:
        raise DataError(
            f"{path}: a field of {field_arcsec:.1f} arcsec", f"at least {size * PIXEL_SCALE_ARCSEC:.1f} arcsec"
        )
    clipped = colours.max(axis=2) >= CLIPPED_LEVEL
    image = inverse_dr2_rgb(colours.astype(np.float32) / 255)
    planes = np.concatenate([image, clipped[None]])
    resampled = mean_over_pixels(planes, scale_arcsec, size, PIXEL_SCALE_ARCSEC)
    return Picture(resampled[:3].astype(np.float32), resampled[3] > 0)


def _colours(path: Path | str) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3), as the file has them."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", "surveys") from error
    with storage_errors(path), Path(path).open("rb") as handle:
        try:
            with Image.open(handle) as picture:
                mode, colours = picture.mode, np.asarray(picture)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: not a readable picture ({error})", todo=DOWNLOAD_AGAIN) from error
    if mode != "RGB":
        raise DataError(f"{path}: a picture of mode {mode}", "the colours red, green and blue")
    return colours
