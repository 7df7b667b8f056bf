"""Read a DESI coadd file: one spectrum a target, its three arms combined on one grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from astroclip_bench.records import N_WAVELENGTH, WAVELENGTH_START_ANGSTROM, WAVELENGTH_STEP_ANGSTROM
from dataset_builders.fits import named_hdu, native, open_fits, table_column
from dataset_builders.selection import drop_by_reason

ARMS = ("B", "R", "Z")
COADD_RULE = (
    "desispec>=0.70: copied outside the overlaps; inside, ivar-weighted mean, masks or-ed, cleared where ivar>0"
)
"""Which rule of `desispec.coaddition.coadd_cameras` is followed; it was rewritten in desispec 0.70.0 (PR 2488)."""
GRID_TOLERANCE_ANGSTROM = 1e-3


@dataclass(frozen=True)
class Coadd:
    """The targets of one coadd file that carry a spectrum.

    Parameters
    ----------
    target_id, ra, dec
        TARGETID, and position in degrees, each (n,).
    flux, ivar
        (n, 7781) float32, 1e-17 erg/s/cm2/angstrom, and its inverse variance.
    mask
        (n, 7781) uint32, bits of `desispec.maskbits.specmask`; 0 is good.
    dropped
        Number of targets left out, by reason; each is counted under the first reason that holds.
    """

    target_id: npt.NDArray[np.int64]
    ra: npt.NDArray[np.float64]
    dec: npt.NDArray[np.float64]
    flux: npt.NDArray[np.float32]
    ivar: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint32]
    dropped: dict[str, int]
    rule: str = COADD_RULE


@dataclass(frozen=True)
class Arm:
    """One camera's part of the spectra, and the first pixel it covers on the common grid."""

    start: int
    flux: npt.NDArray[np.float64]
    ivar: npt.NDArray[np.float64]
    mask: npt.NDArray[np.uint32]


def read_coadd(path: Path | str) -> Coadd:
    """Read a `coadd-*.fits` file; HDUs are found by name, in any order.

    Left out are negative TARGETIDs (stuck fibres), sky fibres, and targets without a single pixel of positive ivar.

    Raises
    ------
    DataError
        If the file is damaged, an HDU or column is missing, or its wavelengths are not on the common grid.
    """
    with open_fits(path) as hdus:
        fibermap = named_hdu(hdus, "FIBERMAP", path)
        target_id = table_column(fibermap, "TARGETID", path).astype(np.int64)
        object_type = table_column(fibermap, "OBJTYPE", path)
        ra, dec = (table_column(fibermap, name, path).astype(np.float64) for name in ("TARGET_RA", "TARGET_DEC"))
        arms = [_read_arm(hdus, name, len(target_id), path) for name in ARMS]
    flux, ivar, mask = combine_arms(arms)
    reasons = {
        "negative TARGETID": target_id < 0,
        "sky fibre": np.char.strip(object_type.astype(str)) == "SKY",
        "no pixel with positive ivar": ~(ivar > 0).any(axis=1),
    }
    keep, dropped = drop_by_reason(reasons)
    return Coadd(target_id[keep], ra[keep], dec[keep], flux[keep], ivar[keep], mask[keep], dropped)


def combine_arms(
    arms: list[Arm],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.uint32]]:
    """Combine the arms of n spectra by `COADD_RULE`.

    Returns
    -------
    flux, ivar, mask
        Each (n, 7781). In an overlap where no arm has positive ivar, the flux is 0.
    """
    shape = (len(arms[0].flux), N_WAVELENGTH)
    flux, ivar, mask = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.uint32)
    arms_at_pixel = np.zeros(N_WAVELENGTH, int)
    for arm in arms:
        arms_at_pixel[arm.start : arm.start + arm.flux.shape[1]] += 1
    overlap = arms_at_pixel > 1
    for arm in arms:
        pixels = slice(arm.start, arm.start + arm.flux.shape[1])
        # Outside the overlaps the weight is 1, so that the flux of a masked pixel is copied as it is.
        flux[:, pixels] += np.where(overlap[pixels], arm.ivar, 1.0) * arm.flux
        ivar[:, pixels] += arm.ivar
        mask[:, pixels] |= arm.mask
    weight = np.where(overlap & (ivar > 0), ivar, 1.0)
    mask[ivar > 0] = 0
    return (flux / weight).astype(np.float32), ivar.astype(np.float32), mask


def _read_arm(hdus: Any, name: str, rows: int, path: Path | str) -> Arm:
    wavelength = native(named_hdu(hdus, f"{name}_WAVELENGTH", path).data)
    pixel = (wavelength - WAVELENGTH_START_ANGSTROM) / WAVELENGTH_STEP_ANGSTROM
    start = round(float(pixel[0]))
    offset = np.abs(pixel - start - np.arange(len(pixel))).max() * WAVELENGTH_STEP_ANGSTROM
    if offset > GRID_TOLERANCE_ANGSTROM or start < 0 or start + len(pixel) > N_WAVELENGTH:
        raise DataError(
            f"{path}: {name}_WAVELENGTH runs from {wavelength[0]:g} to {wavelength[-1]:g} angstrom in {len(pixel)} pixels",
            f"the common grid, {WAVELENGTH_START_ANGSTROM:g} + {WAVELENGTH_STEP_ANGSTROM:g} i angstrom",
        )
    parts = {}
    for kind in ("FLUX", "IVAR", "MASK"):
        data = native(named_hdu(hdus, f"{name}_{kind}", path).data)
        if data.shape != (rows, len(pixel)):
            raise DataError(f"{path}: {name}_{kind} has shape {data.shape}", f"{(rows, len(pixel))}")
        parts[kind] = data
    return Arm(start, parts["FLUX"].astype(float), parts["IVAR"].astype(float), parts["MASK"].astype(np.uint32))
