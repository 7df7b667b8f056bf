"""The images of the pairs, whatever file they come in: the same pixels, the same orientation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from astroclip_bench.records import IMAGE_BANDS
from dataset_builders.upstream.legacy_cutout import LegacyCutouts
from dataset_builders.upstream.legacy_jpeg import read_picture
from dataset_builders.upstream.reader import GOOD

IMAGE_PIXELS = 96
"""Side of the images, 25.2 arcsec: what a picture of 256 pixels of 0.1 arcsec holds."""
PICTURE_SUFFIXES = (".jpeg", ".jpg", ".png")
FROM_PICTURE = "jpeg, inverted display"
FROM_FITS = "fits, resampled"


@dataclass(frozen=True)
class PairImage:
    """An image, or why there is none.

    Parameters
    ----------
    image
        (3, 96, 96) float32 in the order g, r, z; nanomaggies a pixel of 0.262 arcsec, first row south, east left.
    origin
        `FROM_PICTURE` or `FROM_FITS`.
    clipped_pixels
        Number of pixels whose fluxes are lower bounds.
    fault
        Why the image cannot be used, in fixed words, or `GOOD`.
    """

    image: npt.NDArray[np.float32]
    origin: str
    clipped_pixels: int
    fault: str


def load_image(path: Path, scale_arcsec: float) -> PairImage:
    """Read a picture or a FITS cut-out.

    Parameters
    ----------
    scale_arcsec
        Pixel scale of a picture; a FITS file has its own.

    Raises
    ------
    StorageError
        If the file cannot be read.
    """
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        payload = LegacyCutouts(path, resample=True).load(path, np.zeros(1, np.int64))
        image = payload.columns["image"][0]
        edge = (image.shape[-1] - IMAGE_PIXELS) // 2
        central = slice(edge, edge + IMAGE_PIXELS)
        return PairImage(image[:, central, central], FROM_FITS, 0, payload.faults[0])
    try:
        picture = read_picture(path, scale_arcsec, IMAGE_PIXELS)
    except DataError:
        nothing = np.zeros((len(IMAGE_BANDS), IMAGE_PIXELS, IMAGE_PIXELS), np.float32)
        return PairImage(nothing, FROM_PICTURE, 0, "picture damaged, without colours, or too small")
    return PairImage(picture.image, FROM_PICTURE, int(picture.clipped.sum()), GOOD)
