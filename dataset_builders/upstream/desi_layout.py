"""Where the three arms of DESI spectra lie in a coadd file and on the common wavelength grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from astroclip_bench.files import storage_errors
from astroclip_bench.records import N_WAVELENGTH, WAVELENGTH_START_ANGSTROM, WAVELENGTH_STEP_ANGSTROM
from dataset_builders.fits import stored_hdus
from dataset_builders.upstream.desi_arms import N_DIAGONALS, Arm

NAMES = ("B", "R", "Z")
GRID_TOLERANCE_ANGSTROM = 1e-3
UNITS = {"FLUX": "1e-17 erg / (s cm2 Angstrom)", "IVAR": "1e34 s2 cm4 Angstrom2 / erg2"}
DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
"""BITPIX -> type of the values as they are stored."""
UNSIGNED_ZERO = 2**31
"""BZERO of an image of unsigned 32-bit integers, which FITS can only store as signed ones."""


class StoredImage(NamedTuple):
    """Where the values of an image lie in its file, in bytes, their type as stored, and their shape."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self, path: Path) -> npt.NDArray[Any]:
        """Return the values, read from the file."""
        with storage_errors(path):
            values = np.fromfile(path, self.dtype, math.prod(self.shape), offset=self.offset)
        return values.reshape(self.shape)

    def view(self, file: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Return the values as a view of the bytes of the file."""
        size = self.dtype.itemsize * math.prod(self.shape)
        return file[self.offset : self.offset + size].view(self.dtype).reshape(self.shape)


class StoredArm(NamedTuple):
    """Where an arm lies in its file; `resolution` is None where it is not asked for."""

    start: int
    flux: StoredImage
    ivar: StoredImage
    mask: StoredImage
    mask_zero: int
    resolution: StoredImage | None

    @property
    def stop(self) -> int:
        """Return the first pixel of the common grid after the arm."""
        return self.start + self.flux.shape[1]

    def view(self, file: npt.NDArray[np.uint8]) -> Arm:
        """Return the arm as views of the bytes of its file."""
        flux, ivar, mask = (image.view(file) for image in (self.flux, self.ivar, self.mask))
        matrix = None if self.resolution is None else self.resolution.view(file)
        return Arm(self.start, flux, ivar, mask, self.mask_zero, matrix)


def mapped_arms(path: Path, resolution: bool) -> list[Arm]:
    """Return the three arms of a coadd file, in order of wavelength, mapped into memory: nothing is read yet.

    Headers are read once and then remembered, while size and time of the file stay the same: a build asks for the
    spectra of a file in several batches, and its headers take as long to read as a hundred of its spectra.

    Raises
    ------
    DataError, StorageError
        As `read_layout`.
    """
    with storage_errors(path):
        state = path.stat()
        file = np.asarray(np.memmap(path, np.uint8, "r")) if state.st_size else np.empty(0, np.uint8)
    return [arm.view(file) for arm in _remembered_arms(path, state.st_size, state.st_mtime_ns, resolution)]


@lru_cache(maxsize=1024)
def _remembered_arms(path: Path, _size: int, _mtime_ns: int, resolution: bool) -> list[StoredArm]:
    return read_layout(path, resolution)


forget = _remembered_arms.cache_clear
"""Read the headers of every file anew from now on."""


def read_layout(path: Path, resolution: bool) -> list[StoredArm]:
    """Return where the three arms of a coadd file lie, in order of wavelength.

    Raises
    ------
    StorageError
        If the file cannot be read.
    DataError
        If it is damaged or compressed, or an HDU is missing or has another shape, unit or wavelengths than it should.
    """
    if path.suffix != ".fits":
        raise DataError(f"{path}: compressed, or no FITS file", "a file *.fits", "decompress it first")
    hdus = stored_hdus(path)

    def header(name: str) -> Any:
        if name not in hdus:
            names = ", ".join(name or "(unnamed)" for name in hdus)
            raise DataError(f"{path}: HDU {name} is missing", f"it among {names}")
        return hdus[name].header

    def image(name: str, shape: tuple[int, ...]) -> StoredImage:
        return _stored(header(name), hdus[name].offset, name, shape, path)

    count = header("FIBERMAP").get("NAXIS2", 0)
    arms = []
    for name in NAMES:
        wavelength = image(f"{name}_WAVELENGTH", (header(f"{name}_WAVELENGTH").get("NAXIS1", 0),)).read(path)
        shape = (count, len(wavelength))
        flux, ivar, mask = (image(f"{name}_{kind}", shape) for kind in ("FLUX", "IVAR", "MASK"))
        for kind, unit in UNITS.items():
            _check_unit(header(f"{name}_{kind}").get("BUNIT"), unit, f"{path}: {name}_{kind}")
        matrix = image(f"{name}_RESOLUTION", (count, N_DIAGONALS, len(wavelength))) if resolution else None
        mask_zero = header(f"{name}_MASK").get("BZERO", 0)
        arms.append(StoredArm(_first_pixel(wavelength, name, path), flux, ivar, mask, mask_zero, matrix))
    _check_coverage(arms, path)
    return arms


def _check_coverage(arms: Sequence[StoredArm], path: Path) -> None:
    """Check that the arms fill the grid: pixels of none of them would never be written."""
    gaps = [right.start - left.stop for left, right in pairwise(arms)]
    if arms[0].start != 0 or arms[-1].stop != N_WAVELENGTH or max(gaps) > 0:
        found = ", ".join(f"{name} pixels {arm.start} to {arm.stop - 1}" for name, arm in zip(NAMES, arms, strict=True))
        raise DataError(f"{path}: {found} of the common grid", f"every pixel from 0 to {N_WAVELENGTH - 1} in an arm")


def _stored(header: Any, offset: int, name: str, shape: tuple[int, ...], path: Path) -> StoredImage:
    """Return where the image lies in the file; astropy would read and scale the whole of one with BZERO."""
    found = tuple(header[f"NAXIS{axis}"] for axis in range(header["NAXIS"], 0, -1))
    if found != shape:
        raise DataError(f"{path}: {name} has shape {found}", f"{shape}")
    bits, scale, zero = header["BITPIX"], header.get("BSCALE", 1), header.get("BZERO", 0)
    if bits not in DTYPES:
        raise DataError(f"{path}: {name} has BITPIX {bits}", f"one of {', '.join(map(str, DTYPES))}")
    if scale != 1 or zero not in ((0, UNSIGNED_ZERO) if bits == 32 else (0,)):
        raise DataError(f"{path}: {name} is scaled (BSCALE {scale}, BZERO {zero})", "values stored as they are")
    return StoredImage(offset, np.dtype(DTYPES[bits]), shape)


def _first_pixel(wavelength: npt.NDArray[np.float64], name: str, path: Path) -> int:
    if not (len(wavelength) and np.isfinite(wavelength).all()):
        raise DataError(f"{path}: {name}_WAVELENGTH is empty or not finite", "wavelengths in angstrom")
    start = round((float(wavelength[0]) - WAVELENGTH_START_ANGSTROM) / WAVELENGTH_STEP_ANGSTROM)
    grid = WAVELENGTH_START_ANGSTROM + WAVELENGTH_STEP_ANGSTROM * (start + np.arange(len(wavelength)))
    on_grid = np.abs(wavelength - grid).max() < GRID_TOLERANCE_ANGSTROM
    if not on_grid or start < 0 or start + len(wavelength) > N_WAVELENGTH:
        raise DataError(
            f"{path}: {name}_WAVELENGTH runs from {wavelength[0]:g} to {wavelength[-1]:g} angstrom in {len(wavelength)} pixels",
            f"the common grid, {WAVELENGTH_START_ANGSTROM:g} + {WAVELENGTH_STEP_ANGSTROM:g} i angstrom",
        )
    return start


def _check_unit(found: str | None, expected: str, what: str) -> None:
    if found is not None and not _same_unit(found, expected):
        raise DataError(f"{what} is in {found}", expected)


@cache
def _same_unit(found: str, expected: str) -> bool:
    from astropy import units

    try:
        return bool(np.isclose(units.Unit(found).to(units.Unit(expected)), 1.0))
    except (ValueError, units.UnitConversionError):
        return False
