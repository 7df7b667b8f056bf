"""Cut-outs that the Legacy Survey viewer writes (``/viewer/fits-cutout``): one FITS file an object.

The first HDU holds (bands, N, N) and a celestial WCS; BANDS, or BAND0, BAND1, ..., name the planes. For another pixel
scale than the native 0.262 arcsec the viewer interpolates the survey's pixels as they are: values stay nanomaggies *a
native pixel*, a surface brightness, whatever the scale of the file, and a plain sum is off by (0.262 / scale)^2.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from astroclip_bench.records import IMAGE_BANDS, IMAGE_SIZE, PIXEL_SCALE_ARCSEC
from dataset_builders.fits import native, open_fits
from dataset_builders.resample_image import mean_over_pixels
from dataset_builders.upstream.legacy_image import (
    BANDS_MISSING,
    NOT_NATIVE,
    PIXEL_SCALE_TOLERANCE,
    central_pixels,
    image_faults,
    is_native,
)
from dataset_builders.upstream.reader import GOOD, Index, Payload, list_files

log = logging.getLogger(__name__)

NORTH_FROM_DEC_DEG = 32.375
"""Above it, north of the Galactic plane, the surveys (and the viewer) use Bok and Mosaic-3 instead of DECam."""

DAMAGED = "file damaged"
NO_CUBE = "no image cube"
NO_WCS = "no celestial WCS"
NOT_NORTH_UP = "not north up and east left"
TOO_SMALL = "field too small"


class CutoutError(DataError):
    """A cut-out that cannot be used; `kind` is the reason in the fixed words that counts use."""

    def __init__(self, kind: str, found: str, expected: str | None = None, todo: str | None = None) -> None:
        super().__init__(found, expected, todo)
        self.kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the kind on the way out of a worker process."""
        return (CutoutError, (self.kind, self.found, self.expected, self.todo))


@dataclass(frozen=True)
class Cutout:
    """An image and where it points.

    Parameters
    ----------
    image
        (3, 152, 152) float32 in the order g, r, z; nanomaggies a pixel of 0.262 arcsec, north up, east left.
    ra, dec
        Position of the middle of the cut-out, degrees.
    """

    image: npt.NDArray[np.float32]
    ra: float
    dec: float


@dataclass(frozen=True)
class Frame:
    """What the header of a usable cut-out says."""

    bands: tuple[str, ...]
    scale_arcsec: float
    ra: float
    dec: float

    @property
    def native(self) -> bool:
        """Whether the pixels are those of the survey."""
        return bool(is_native(self.scale_arcsec))


@dataclass(frozen=True)
class LegacyCutouts:
    """Reader of a folder of cut-outs; each file is one row, and the middle of the field its position.

    A file that cannot be used is dropped and counted, and a warning names it: among very many, some are truncated.

    Parameters
    ----------
    resample
        Bring cut-outs of another pixel scale to 0.262 arcsec instead of dropping them.
    """

    folder: Path
    resample: bool = False
    name: str = "Legacy Survey cut-outs"

    def files(self) -> list[Path]:
        """Return the FITS files."""
        return list_files(self.folder, "*.fits")

    def options(self) -> Mapping[str, Any]:
        """Return whether other pixel scales are resampled."""
        return {"resample": self.resample}

    def index(self, path: Path) -> Index:
        """Return position and hemisphere of the object, from the header alone; no row if the file cannot be used."""
        try:
            with open_fits(path) as hdus:
                frame = read_frame(hdus[0].header, path, self.resample)
        except DataError as error:
            return Index(_columns([]), 1, {_kind(error): 1})
        return Index(_columns([frame]), 1, {})

    def load(self, path: Path, rows: npt.NDArray[np.int64]) -> Payload:
        """Return the image (3, 152, 152) once for each row asked for, and what is wrong with it."""
        image = np.zeros((1, len(IMAGE_BANDS), IMAGE_SIZE, IMAGE_SIZE), np.float32)
        try:
            image[0] = read_cutout(path, self.resample).image
            fault = GOOD
        except DataError as error:
            fault = _kind(error)
        return Payload({"image": image.repeat(len(rows), axis=0)}, np.full(len(rows), fault, object))


def read_cutout(path: Path | str, resample: bool = False) -> Cutout:
    """Read the central 152 by 152 pixels, 40 arcsec, of a cut-out.

    Parameters
    ----------
    resample
        Bring an image of another pixel scale to 0.262 arcsec, with the flux conserved.

    Raises
    ------
    DataError
        If the file is damaged; a `CutoutError` if it is no such image, a band is missing or mostly exactly zero, the
        field is too small, pixels are not finite, or the pixel scale is not native and `resample` is false.
    """
    with open_fits(path) as hdus:
        frame = read_frame(hdus[0].header, path, resample)
        data = hdus[0].data
        cube = native(data[[frame.bands.index(band) for band in IMAGE_BANDS]])
    if frame.native:
        image = cube[:, *central_pixels(*cube.shape[1:])].astype(np.float32)
    else:
        # One pixel that is not finite spoils them all here, and is found below.
        image = mean_over_pixels(cube, frame.scale_arcsec, IMAGE_SIZE, PIXEL_SCALE_ARCSEC).astype(np.float32)
    (fault,) = image_faults(image[None])
    if fault != GOOD:
        zero = ", ".join(
            f"{band} {part:.0%}" for band, part in zip(IMAGE_BANDS, (image == 0).mean((1, 2)), strict=True)
        )
        raise CutoutError(fault, f"{path}: {fault}; exactly zero are {zero}", todo="leave this object out")
    return Cutout(image, frame.ra, frame.dec)


def read_frame(header: Any, path: Path | str, resample: bool = False) -> Frame:
    """Return what a cut-out's header says, checked.

    Raises
    ------
    CutoutError
        If it describes no image that `read_cutout` can use.
    """
    if header.get("NAXIS") != 3:
        raise CutoutError(NO_CUBE, f"{path}: no image cube in the first HDU", "an array (bands, N, N)")
    width, height, planes = (header[f"NAXIS{axis}"] for axis in (1, 2, 3))
    bands = _band_names(header, planes, path)
    scale, ra, dec = _celestial(header, path)
    frame = Frame(bands, scale, ra, dec)
    if not (frame.native or resample):
        raise CutoutError(
            NOT_NATIVE,
            f"{path}: pixel scale {scale:.3f} arcsec",
            f"the native {PIXEL_SCALE_ARCSEC} arcsec",
            f"request the cut-out with pixscale={PIXEL_SCALE_ARCSEC}, or give --resample",
        )
    pixels = min(width, height) * (1.0 if frame.native else scale / PIXEL_SCALE_ARCSEC)
    if pixels < IMAGE_SIZE - PIXEL_SCALE_TOLERANCE:
        raise CutoutError(
            TOO_SMALL,
            f"{path}: {width} by {height} pixels of {scale:.3f} arcsec",
            f"at least {IMAGE_SIZE} by {IMAGE_SIZE} of {PIXEL_SCALE_ARCSEC} arcsec",
        )
    return frame


def _band_names(header: Any, planes: int, path: Path | str) -> tuple[str, ...]:
    bands = [str(header.get(f"BAND{number}", "")).strip() for number in range(planes)]
    if not all(bands):
        bands = list(str(header.get("BANDS", "")).strip())
    if len(bands) != planes or not set(IMAGE_BANDS) <= set(bands):
        found = f"{path}: {planes} planes of bands {', '.join(bands) or 'unnamed'}"
        raise CutoutError(BANDS_MISSING, found, "the bands g, r and z, each named in the header")
    return tuple(bands)


def _celestial(header: Any, path: Path | str) -> tuple[float, float, float]:
    """Return the side of a pixel (arcsec), and right ascension and declination (degrees) of the middle."""
    from astropy.wcs import WCS, FITSFixedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header, naxis=2)
    if not wcs.has_celestial:
        raise CutoutError(NO_WCS, f"{path}: no celestial WCS in the header", "CTYPE1 RA---TAN and CTYPE2 DEC--TAN")
    matrix = wcs.pixel_scale_matrix * 3600.0
    scale = float(matrix[1, 1])
    if not np.abs(matrix - np.diag([-scale, scale])).max() <= PIXEL_SCALE_TOLERANCE * scale:
        raise CutoutError(
            NOT_NORTH_UP,
            f"{path}: pixel steps {np.array2string(matrix.ravel(), precision=3)} arcsec",
            "square pixels, north up and east left",
            "leave this object out",
        )
    width, height = header["NAXIS1"], header["NAXIS2"]
    ra, dec = wcs.pixel_to_world_values((width - 1) / 2, (height - 1) / 2)
    return scale, float(ra), float(dec)


def _hemisphere(ra: float, dec: float) -> str:
    """Return whose images the surveys use here; near the border the viewer also serves the other, if asked by name."""
    from astropy.coordinates import SkyCoord

    if dec <= NORTH_FROM_DEC_DEG:
        return "south"
    return "north" if SkyCoord(ra, dec, unit="deg").galactic.b.deg > 0 else "south"


def _columns(frames: list[Frame]) -> dict[str, npt.NDArray[Any]]:
    return {
        "row": np.arange(len(frames)),
        "target_id": np.full(len(frames), -1, np.int64),
        "ra": np.array([frame.ra for frame in frames], np.float64),
        "dec": np.array([frame.dec for frame in frames], np.float64),
        "hemisphere": np.array([_hemisphere(frame.ra, frame.dec) for frame in frames], object),
    }


def _kind(error: DataError) -> str:
    log.warning("left out: %s", error)
    return error.kind if isinstance(error, CutoutError) else DAMAGED
