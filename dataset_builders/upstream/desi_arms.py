"""The three arms of DESI spectra: where they lie on the common wavelength grid, and how they become one spectrum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from astroclip_bench.files import storage_errors
from astroclip_bench.records import N_WAVELENGTH, WAVELENGTH_START_ANGSTROM, WAVELENGTH_STEP_ANGSTROM
from dataset_builders.fits import named_hdu, native, open_fits

NAMES = ("B", "R", "Z")
GRID_TOLERANCE_ANGSTROM = 1e-3
UNITS = {"FLUX": "1e-17 erg / (s cm2 Angstrom)", "IVAR": "1e34 s2 cm4 Angstrom2 / erg2"}
UNSIGNED_ZERO = 2**31
"""BZERO of an image of unsigned 32-bit integers, which FITS can only store as signed ones."""
N_DIAGONALS = 11
"""Diagonals of the resolution matrix that DESI files keep."""

FloatArray = npt.NDArray[np.floating[Any]]


class Arm(NamedTuple):
    """One arm of n spectra, in any byte order.

    `flux`, `ivar` and `mask` are (n, width), `resolution` is (n, 11, width) or None; the arm covers the pixels
    `start` to `start` + width of the common grid. What `mask` means is its bits combined by XOR with `mask_zero`.
    """

    start: int
    flux: FloatArray
    ivar: FloatArray
    mask: npt.NDArray[np.integer[Any]]
    mask_zero: int = 0
    resolution: FloatArray | None = None

    @property
    def stop(self) -> int:
        """Return the first pixel of the common grid after the arm."""
        return self.start + int(self.flux.shape[1])

    def rows(self, rows: npt.NDArray[np.int64]) -> Arm:
        """Return some of the spectra, by increasing number; views where the numbers have no gap."""
        gapless = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        here = slice(rows[0], rows[-1] + 1) if gapless else rows
        matrix = None if self.resolution is None else self.resolution[here]
        return Arm(self.start, self.flux[here], self.ivar[here], self.mask[here], self.mask_zero, matrix)


class Spectra(NamedTuple):
    """Whole spectra: `flux` and `ivar` float32, `mask` uint32, (n, 7781); `resolution` float32, (n, 11, 7781)."""

    flux: npt.NDArray[np.float32]
    ivar: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint32]
    resolution: npt.NDArray[np.float32] | None = None

    @classmethod
    def empty(cls, n: int, resolution: bool = False) -> Spectra:
        """Return arrays for n spectra, with values to be filled in."""
        shape = (n, N_WAVELENGTH)
        matrix = np.zeros((n, N_DIAGONALS, N_WAVELENGTH), np.float32) if resolution else None
        return cls(np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint32), matrix)

    def rows(self, rows: slice | npt.NDArray[np.int64]) -> Spectra:
        """Return some of the spectra; views where `rows` is a slice."""
        matrix = None if self.resolution is None else self.resolution[rows]
        return Spectra(self.flux[rows], self.ivar[rows], self.mask[rows], matrix)


@dataclass(frozen=True)
class CoaddRule:
    """How masks take part in combining the arms; see `RULES`."""

    description: str
    drop_masked: bool
    combine_masks: Callable[[Any, Any], Any]
    clear_mask_where_used: bool


RULES = {
    "desispec-0.70": CoaddRule(
        "copied outside the overlaps; inside, mean weighted by ivar, masks or-ed; mask cleared where ivar > 0",
        drop_masked=False,
        combine_masks=np.bitwise_or,
        clear_mask_where_used=True,
    ),
    "desispec-edr": CoaddRule(
        "flux and ivar 0 where masked; in the overlaps mean of what is not masked, weighted by ivar, masks and-ed",
        drop_masked=True,
        combine_masks=np.bitwise_and,
        clear_mask_where_used=False,
    ),
}
"""Rules of `desispec.coaddition.coadd_cameras`, which was rewritten in desispec 0.70.0 (PR 2488).

Under both, flux in an overlap is the sum of ivar times flux over the sum of ivar (0 where that is 0), and ivar adds.
The older code (0.51 made EDR) multiplies ivar by (mask == 0) everywhere, so that a masked pixel has flux and ivar 0;
it ANDs the masks of the arms into an array of zeros, which gives 0 in every overlap: here the AND is that of the arms.
It also divides flux times ivar by ivar outside the overlaps, where here flux is copied; that is equal to rounding.
"""


def combine_arms(arms: Sequence[Arm], rule: CoaddRule, out: Spectra) -> None:
    """Combine the arms of n spectra, in order of wavelength, into `out`.

    Overlaps are computed in float64, the rest is copied. The resolution, where all arms and `out` have it, follows
    desispec 0.70 under every rule: copied outside the overlaps, inside a mean weighted by the ivar of the pixel that
    each element of the matrix comes from (desispec issue 2372).
    """
    for arm in arms:
        pixels = slice(arm.start, arm.stop)
        out.flux[:, pixels], out.ivar[:, pixels], out.mask[:, pixels] = arm.flux, arm.ivar, arm.mask
        out.mask[:, pixels] ^= np.uint32(arm.mask_zero)
        if out.resolution is not None and arm.resolution is not None:
            out.resolution[:, :, pixels] = arm.resolution
    if rule.drop_masked:
        out.ivar[out.mask != 0] = 0
        out.flux[~(out.ivar > 0)] = 0
    for left, right in pairwise(arms):
        _combine_overlap(left, right, rule, out)
    if rule.clear_mask_where_used:
        np.multiply(out.mask, ~(out.ivar > 0), out=out.mask)


def _combine_overlap(left: Arm, right: Arm, rule: CoaddRule, out: Spectra) -> None:
    pixels = slice(right.start, left.stop)
    sides = [(left, slice(right.start - left.start, None)), (right, slice(0, left.stop - right.start))]
    weights = [arm.ivar[:, part].astype(float) for arm, part in sides]
    masks = [arm.mask[:, part].astype(np.uint32) ^ np.uint32(arm.mask_zero) for arm, part in sides]
    if rule.drop_masked:
        weights = [weight * (mask == 0) for weight, mask in zip(weights, masks, strict=True)]
    out.flux[:, pixels] = _weighted_mean([arm.flux[:, part] for arm, part in sides], weights)
    out.ivar[:, pixels] = weights[0] + weights[1]
    out.mask[:, pixels] = rule.combine_masks(*masks)
    if out.resolution is not None and left.resolution is not None and right.resolution is not None:
        matrices = [left.resolution[:, :, sides[0][1]], right.resolution[:, :, sides[1][1]]]
        out.resolution[:, :, pixels] = _weighted_mean(
            matrices, [_weights_of_matrix(arm.ivar)[:, :, part] for arm, part in sides]
        )


def _weighted_mean(values: Sequence[FloatArray], weights: Sequence[FloatArray]) -> FloatArray:
    """Return the mean of two arrays, 0 where no weight is positive."""
    total = weights[0] + weights[1]
    mean: FloatArray = (weights[0] * values[0] + weights[1] * values[1]) / np.where(total > 0, total, 1.0)
    return mean


def _weights_of_matrix(ivar: FloatArray) -> FloatArray:
    """Return for each element of the banded matrix the ivar of its pixel: element (d, j) belongs to j + d - 5."""
    middle = N_DIAGONALS // 2
    return np.stack([np.roll(ivar.astype(float), middle - d, axis=1) for d in range(N_DIAGONALS)], axis=1)


class StoredImage(NamedTuple):
    """Where the values of an image lie in its file, in bytes, their type as stored, and their shape."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def view(self, file: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Return the image as a view of the bytes of its file."""
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
    spectra of a file in several batches, and its headers take as long to read as a quarter of its spectra.

    Raises
    ------
    DataError, StorageError
        As `stored_arms` and `open_fits`.
    """
    with storage_errors(path):
        state = path.stat()
        file = np.asarray(np.memmap(path, np.uint8, "r")) if state.st_size else np.empty(0, np.uint8)
    return [arm.view(file) for arm in remembered_arms(path, state.st_size, state.st_mtime_ns, resolution)]


@lru_cache(maxsize=1024)
def remembered_arms(path: Path, _size: int, _mtime_ns: int, resolution: bool) -> list[StoredArm]:
    """Return `stored_arms` of a file; its size and time tell one state of it from another."""
    with open_fits(path) as hdus:
        return stored_arms(hdus, path, resolution)


def stored_arms(hdus: Any, path: Path, resolution: bool) -> list[StoredArm]:
    """Return where the three arms of a coadd file lie, in order of wavelength.

    Raises
    ------
    DataError
        If an HDU is missing or has another shape, unit or wavelengths than it should, or the file is compressed.
    """
    if path.suffix != ".fits":
        raise DataError(f"{path}: compressed, or no FITS file", "a file *.fits", "decompress it first")
    by_name = {hdu.name: hdu for hdu in hdus}

    def image(name: str) -> Any:
        return by_name[name] if name in by_name else named_hdu(hdus, name, path)

    count = image("FIBERMAP").header["NAXIS2"]
    arms = []
    for name in NAMES:
        wavelength = native(image(f"{name}_WAVELENGTH").data)
        shape = (count, len(wavelength))
        flux, ivar, mask = (_stored(image(f"{name}_{kind}"), shape, path) for kind in ("FLUX", "IVAR", "MASK"))
        for kind, unit in UNITS.items():
            _check_unit(image(f"{name}_{kind}"), unit, path)
        matrix = _stored(image(f"{name}_RESOLUTION"), (count, N_DIAGONALS, shape[1]), path) if resolution else None
        mask_zero = image(f"{name}_MASK").header.get("BZERO", 0)
        arms.append(StoredArm(_first_pixel(wavelength, name, path), flux, ivar, mask, mask_zero, matrix))
    _check_coverage(arms, path)
    return arms


def _check_coverage(arms: Sequence[StoredArm], path: Path) -> None:
    """Check that the arms fill the grid: pixels of none of them would never be written."""
    gaps = [right.start - left.stop for left, right in pairwise(arms)]
    if arms[0].start != 0 or arms[-1].stop != N_WAVELENGTH or max(gaps) > 0:
        found = ", ".join(f"{name} pixels {arm.start} to {arm.stop - 1}" for name, arm in zip(NAMES, arms, strict=True))
        raise DataError(f"{path}: {found} of the common grid", f"every pixel from 0 to {N_WAVELENGTH - 1} in an arm")


def _stored(hdu: Any, shape: tuple[int, ...], path: Path) -> StoredImage:
    """Return where the image lies in the file; astropy would read and scale the whole of one with BZERO."""
    from astropy.io.fits.hdu.image import BITPIX2DTYPE

    if hdu.shape != shape:
        raise DataError(f"{path}: {hdu.name} has shape {hdu.shape}", f"{shape}")
    scale, zero = hdu.header.get("BSCALE", 1), hdu.header.get("BZERO", 0)
    if scale != 1 or zero not in ((0, UNSIGNED_ZERO) if hdu.header["BITPIX"] == 32 else (0,)):
        raise DataError(f"{path}: {hdu.name} is scaled (BSCALE {scale}, BZERO {zero})", "values stored as they are")
    dtype = np.dtype(BITPIX2DTYPE[hdu.header["BITPIX"]]).newbyteorder(">")
    return StoredImage(hdu.fileinfo()["datLoc"], dtype, shape)


def _first_pixel(wavelength: npt.NDArray[np.float64], name: str, path: Path) -> int:
    start = round((float(wavelength[0]) - WAVELENGTH_START_ANGSTROM) / WAVELENGTH_STEP_ANGSTROM)
    grid = WAVELENGTH_START_ANGSTROM + WAVELENGTH_STEP_ANGSTROM * (start + np.arange(len(wavelength)))
    on_grid = np.abs(wavelength - grid).max() < GRID_TOLERANCE_ANGSTROM
    if not on_grid or start < 0 or start + len(wavelength) > N_WAVELENGTH:
        raise DataError(
            f"{path}: {name}_WAVELENGTH runs from {wavelength[0]:g} to {wavelength[-1]:g} angstrom in {len(wavelength)} pixels",
            f"the common grid, {WAVELENGTH_START_ANGSTROM:g} + {WAVELENGTH_STEP_ANGSTROM:g} i angstrom",
        )
    return start


def _check_unit(hdu: Any, expected: str, path: Path) -> None:
    found = hdu.header.get("BUNIT")
    if found is not None and not _same_unit(found, expected):
        raise DataError(f"{path}: {hdu.name} is in {found}", expected)


@cache
def _same_unit(found: str, expected: str) -> bool:
    from astropy import units

    try:
        return bool(np.isclose(units.Unit(found).to(units.Unit(expected)), 1.0))
    except (ValueError, units.UnitConversionError):
        return False
