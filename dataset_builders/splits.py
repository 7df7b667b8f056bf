"""Splits by sky: a HEALPix pixel belongs to train, validation or test as a whole.

The rule, exactly: let `text` be the pixel's number (nside 64, NESTED) in decimal ASCII digits, and `u` the 8-byte
BLAKE2b digest of `text` (no key, no salt) read as a big-endian unsigned integer and divided by 2^64. The pixel is
``train`` if u < 0.70, ``validation`` if 0.70 <= u < 0.85, and ``test`` otherwise. Neighbouring sky therefore never
straddles a split, and every data set that covers a pixel puts it into the same split, without seed or order.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from astroclip_bench.records import HEALPIX_NSIDE, SPLITS

SPLIT_RULES = {
    "healpix": (
        f"HEALPix pixel, nside {HEALPIX_NSIDE}, NESTED; BLAKE2b (8 bytes, big-endian) of its decimal number as a "
        "fraction of 2^64: below 0.70 train, below 0.85 validation, else test"
    ),
    "astroclip-v1": (
        "place in the original AstroCLIP file: of the n rows of each group the first int(0.8 n) are train, the others "
        "test; there is no validation split, and neighbouring sky lies in both"
    ),
    "proposal": (
        "observing proposal; BLAKE2b (8 bytes, big-endian) of its decimal number as a fraction of 2^64: below 0.70 train, "
        "below 0.85 validation, else test"
    ),
    "as-in-files": "the file a row comes from: each of the input files belongs to one split as a whole",
}
"""What the name of a rule (`DatasetInfo.split_rule`) stands for, in words for the card and the manifest."""
UPPER_BOUNDS = (0.70, 0.85)


def healpix_pixel(ra: npt.ArrayLike, dec: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the HEALPix pixel (nside 64, NESTED) of each position.

    Parameters
    ----------
    ra, dec
        Right ascension and declination (ICRS), degrees, any equal shape. `ra` is taken modulo 360.

    Raises
    ------
    DataError
        If a coordinate is not finite or a declination lies outside -90 to 90 degrees.
    """
    import astropy.units as u
    from astropy_healpix import lonlat_to_healpix

    ra_deg, dec_deg = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
    good = np.isfinite(ra_deg) & np.isfinite(dec_deg) & (np.abs(dec_deg) <= 90.0)
    if not np.all(good):
        raise DataError(f"{np.sum(~good)} sky positions are not finite or not on the sphere", "ra and dec in degrees")
    pixels = lonlat_to_healpix(ra_deg % 360.0 * u.deg, dec_deg * u.deg, HEALPIX_NSIDE, order="nested")
    return np.asarray(pixels, np.int64)


def pixel_uniform(pixel: int) -> float:
    """Return the number in [0, 1] that the pixel's hash stands for."""
    digest = hashlib.blake2b(str(pixel).encode("ascii"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64


def split_of_pixel(healpix: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """Return the split name of each HEALPix pixel, in the shape of the input; hashes each distinct pixel once."""
    pixels = np.asarray(healpix, np.int64)
    unique, inverse = np.unique(pixels, return_inverse=True)
    uniform = np.array([pixel_uniform(int(pixel)) for pixel in unique], np.float64)
    names = np.array(SPLITS)[np.searchsorted(UPPER_BOUNDS, uniform, side="right")]
    return names[inverse].reshape(pixels.shape)


def split_of_proposal(numbers: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """Return the split name of each observing proposal by its number, in the shape of the input: the pixels' rule."""
    return split_of_pixel(numbers)
