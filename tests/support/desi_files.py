"""Miniature DESI files in the layout of the releases: coadds, redrock, redshift catalogues."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

ARMS = {"B": (3600.0, 2751), "R": (5760.0, 2326), "Z": (7520.0, 2881)}
"""Arm -> its first wavelength, angstrom, and number of pixels 0.8 angstrom apart."""
UNITS = {"FLUX": "10**-17 erg/(s cm2 Angstrom)", "IVAR": "10**+34 (s2 cm4 Angstrom2) / erg2"}


def random_arms(count: int, resolution: bool = False, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the images of all arms, HDU name -> array: some pixels masked, some without weight, some with both."""
    random = np.random.default_rng(seed)
    images = {}
    for arm, (_, width) in ARMS.items():
        shape = (count, width)
        images[f"{arm}_FLUX"] = random.standard_normal(shape, np.float32)
        images[f"{arm}_IVAR"] = random.random(shape, np.float32) * (random.random(shape) > 0.2)
        bits = random.integers(1, 2**32, shape, np.uint32)
        images[f"{arm}_MASK"] = np.where(random.random(shape) > 0.3, np.uint32(0), bits)
        if resolution:
            images[f"{arm}_RESOLUTION"] = random.random((count, 11, width), np.float32)
    return images


def fibermap(target_id: Collection[int], **columns: Any) -> Table:
    """Return the FIBERMAP of good targets; `columns` replace or add."""
    count = len(target_id)
    values = {
        "TARGETID": np.asarray(target_id, np.int64),
        "COADD_FIBERSTATUS": np.zeros(count, np.int32),
        "TARGET_RA": 150.0 + 0.01 * np.arange(count),
        "TARGET_DEC": 2.0 + 0.01 * np.arange(count),
        "OBJTYPE": np.full(count, "TGT"),
        "MORPHTYPE": np.full(count, "DEV "),
        "EBV": np.full(count, 0.02, np.float32),
        "FLUX_R": np.arange(1, count + 1, dtype=np.float32),
    }
    return Table(values | columns)


def write_coadd(
    path: Path,
    table: Table,
    images: Mapping[str, np.ndarray],
    *,
    header: Mapping[str, Any] | None = None,
    units: Mapping[str, str] = UNITS,
    offset_angstrom: float = 0.0,
    without: Collection[str] = (),
    backwards: bool = False,
) -> Path:
    """Write a coadd file: the HDUs in the order of the data model, or backwards, some left out."""
    scores = Table({"TARGETID": table["TARGETID"], "MEDIAN_COADD_SNR_R": np.arange(len(table), dtype=np.float32)})
    hdus = [fits.BinTableHDU(table, name="FIBERMAP"), fits.BinTableHDU(table[["TARGETID"]], name="EXP_FIBERMAP")]
    for arm, (start, width) in ARMS.items():
        hdus.append(fits.ImageHDU(start + offset_angstrom + 0.8 * np.arange(width), name=f"{arm}_WAVELENGTH"))
        for name in (name for name in images if name.startswith(arm)):
            hdu = fits.ImageHDU(images[name], name=name)
            if name[2:] in units:
                hdu.header["BUNIT"] = units[name[2:]]
            hdus.append(hdu)
    hdus.append(fits.BinTableHDU(scores, name="SCORES"))
    kept = [hdu for hdu in hdus if hdu.name not in without]
    primary = fits.PrimaryHDU(header=fits.Header(header or {}))
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([primary, *(kept[::-1] if backwards else kept)]).writeto(path)
    return path


def redshift_table(target_id: Collection[int], **columns: Any) -> Table:
    """Return the redshifts of galaxies that pass the bright-galaxy cuts; `columns` replace or add."""
    count = len(target_id)
    values = {
        "TARGETID": np.asarray(target_id, np.int64),
        "Z": 0.1 + 0.001 * np.arange(count),
        "ZERR": np.full(count, 1e-5),
        "ZWARN": np.zeros(count, np.int64),
        "SPECTYPE": np.full(count, "GALAXY"),
        "DELTACHI2": np.full(count, 1000.0),
    }
    return Table(values | columns)


def write_table(path: Path, table: Table, name: str) -> Path:
    """Write one table HDU, of redrock (REDSHIFTS) or a catalogue (ZCATALOG)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table, name=name)]).writeto(path, overwrite=True)
    return path
