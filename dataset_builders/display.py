"""The colours in which the Legacy Survey viewer shows an image, and the way back to fluxes.

The viewer's ``dr2_rgb``: a stretch by the inverse hyperbolic sine of the mean over the bands, so that the ratio of two
colours stays the ratio of two fluxes (Lupton et al. 2004, PASP 116, 133, section 3).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from astroclip_bench.records import IMAGE_BANDS

OFFSET, SOFTENING = 0.03, 20.0
SCALES_PER_NANOMAGGY = {"g": 6.0, "r": 3.4, "z": 2.2}
COLOUR_BANDS = ("z", "r", "g")
"""The bands shown as red, green and blue."""

_COLOUR_OF_BAND = [COLOUR_BANDS.index(band) for band in IMAGE_BANDS]
_SCALE_OF_BAND = np.array([SCALES_PER_NANOMAGGY[band] for band in IMAGE_BANDS], np.float32)[:, None, None]


def dr2_rgb(image: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return the colours in which the viewer shows images.

    Parameters
    ----------
    image
        (..., 3, H, W), bands g, r, z; nanomaggies a pixel of 0.262 arcsec. Rows are not turned over: the first row
        of a FITS image is the southern edge, that of a picture the northern one.

    Returns
    -------
    colours
        (..., H, W, 3): red, green and blue from 0 to 1; empty sky is about 0.13.
    """
    planes = np.asarray(image, np.float32) * _SCALE_OF_BAND + np.float32(OFFSET)
    np.maximum(planes, 0, out=planes)
    intensity = planes.mean(axis=-3, keepdims=True)
    stretched = np.arcsinh(SOFTENING * intensity) / np.float32(np.sqrt(SOFTENING))
    planes *= stretched / np.where(intensity > 0, intensity, 1)
    np.minimum(planes, 1, out=planes)
    colours = planes[..., [IMAGE_BANDS.index(band) for band in COLOUR_BANDS], :, :]
    return np.moveaxis(colours, -3, -1)


def inverse_dr2_rgb(colours: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return the fluxes that `dr2_rgb` shows in these colours.

    Exact where no colour is clipped. A colour of 0 stands for any flux below -0.03 / scale and comes back as that
    bound, the other bands unharmed; where a colour is 1, all three fluxes are lower bounds. One step of 8-bit colours
    is 0.0002 (g) to 0.0005 (z) nanomaggies on empty sky, 1.6 to 2.5 per cent at 0.1 nanomaggies; a JPEG adds its own
    losses, mostly in colour.

    Parameters
    ----------
    colours
        (..., H, W, 3), 0 to 1 (8-bit values divided by 255).

    Returns
    -------
    image
        (..., 3, H, W), bands g, r, z; nanomaggies a pixel of 0.262 arcsec.
    """
    planes = np.moveaxis(np.asarray(colours, np.float32), -1, -3)[..., _COLOUR_OF_BAND, :, :]
    stretched = planes.mean(axis=-3, keepdims=True)
    intensity = np.sinh(np.float32(np.sqrt(SOFTENING)) * stretched) / np.float32(SOFTENING)
    scaled = planes * (intensity / np.where(stretched > 0, stretched, 1))
    return np.asarray((scaled - np.float32(OFFSET)) / _SCALE_OF_BAND)
