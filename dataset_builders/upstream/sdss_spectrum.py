"""SDSS spectra ``spec-PLATE-MJD-FIBER.fits``, full or lite, resampled to the DESI grid.

The files hold one spectrum each: HDU COADD with the spectrum in bins of 1e-4 in log10 of the vacuum wavelength, and a
table of one row with what the pipeline found (named SPECOBJ, SPECALL or SPALL, by release). Source: the SDSS data model,
``SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec``; names of columns are upper or lower case there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from astroclip_bench.records import spectrum_modality, wavelength_angstrom
from dataset_builders.fits import named_hdu, native, open_fits, table_column
from dataset_builders.resample_spectrum import MINIMUM_COVERAGE, bin_edges, resample_flux, resample_mask
from dataset_builders.selection import drop_by_reason
from dataset_builders.upstream.reader import GOOD, Index, Payload, list_files

OBJECT_TABLES = ("SPECOBJ", "SPECALL", "SPALL")
FLUX_UNIT = "1E-17 erg/cm^2/s/Ang"

_LIGHT: Mapping[str, tuple[str, type]] = {
    "ra": ("PLUG_RA", np.float64),
    "dec": ("PLUG_DEC", np.float64),
    "redshift": ("Z", np.float64),
    "redshift_err": ("Z_ERR", np.float64),
    "zwarn": ("ZWARNING", np.int64),
    "spectype": ("CLASS", np.str_),
    "subtype": ("SUBCLASS", np.str_),
    "snr": ("SN_MEDIAN_ALL", np.float32),
    "plate": ("PLATE", np.int64),
    "mjd": ("MJD", np.int64),
    "fiberid": ("FIBERID", np.int64),
    "specobjid": ("SPECOBJID", np.str_),
    "bestobjid": ("BESTOBJID", np.str_),
}
"""Column of the index -> column of the file, and its type here; identifiers are text, as some releases store them."""


@dataclass(frozen=True)
class SdssSpectra:
    """The files ``spec-*.fits`` of a folder, or one such file.

    The index has the columns of `_LIGHT` besides ``row``, ``target_id`` (-1: these are no DESI targets), ``object_id``
    (``sdss-PLATE-MJD-FIBER``) and ``deltachi2`` (RCHI2DIFF times DOF); `zwarn` means what DESI's does, 0 is good, and
    `snr` is the median over the file's own pixels.
    """

    folder: Path
    name: str = "SDSS spectra"

    def files(self) -> list[Path]:
        """Return the files, sorted by path."""
        return list_files(self.folder, "spec-*.fits")

    def options(self) -> Mapping[str, Any]:
        """Return how spectra are resampled."""
        return {
            "resampling": "mean over the new bin, weighted by overlap; ivar 0 left out",
            "minimum_coverage": MINIMUM_COVERAGE,
        }

    def index(self, path: Path) -> Index:
        """Return the light columns of the one spectrum of a file.

        Raises
        ------
        DataError
            If the file is damaged, or a table or column is missing.
        """
        with open_fits(path) as hdus:
            table = next((hdus[name] for name in OBJECT_TABLES if name in hdus), None)
            if table is None:
                table = named_hdu(hdus, OBJECT_TABLES[0], path)
            columns = {name: _values(table, column, dtype, path) for name, (column, dtype) in _LIGHT.items()}
            columns["deltachi2"] = _column(table, "RCHI2DIFF", path) * _column(table, "DOF", path).astype(np.float64)
        rows = len(columns["ra"])
        if rows != 1:
            raise DataError(f"{path}: {rows} rows in its table of objects", "one spectrum a file")
        columns["row"] = np.zeros(1, np.int64)
        columns["target_id"] = np.full(1, -1, np.int64)
        columns["object_id"] = np.array(["sdss-{plate:04d}-{mjd:05d}-{fiberid:04d}".format(**_first(columns))])
        ra, dec = columns["ra"], columns["dec"]
        keep, dropped = drop_by_reason(
            {"position not on the sphere": ~(np.isfinite(ra) & (ra >= 0) & (ra < 360) & (np.abs(dec) <= 90))}
        )
        return Index({name: values[keep] for name, values in columns.items()}, 1, dropped)

    def load(self, path: Path, rows: npt.NDArray[np.int64]) -> Payload:
        """Return flux, ivar (n, 7781) float32, 1e-17 erg/s/cm2/angstrom, and mask: the bits of AND_MASK of all pixels met.

        Beyond the wavelengths of the file, about 3800 to 9200 angstrom, and where it has no good pixel, flux and ivar
        are 0. Pixels of the DESI grid are up to 2.6 times narrower than those of SDSS, so neighbours are correlated
        and the inverse variances add up to more than the information there is.

        Raises
        ------
        DataError
            If the file is damaged, in another unit, in air wavelengths, or a column is missing.
        """
        with open_fits(path) as hdus:
            _check_header(hdus[0].header, path)
            coadd = named_hdu(hdus, "COADD", path)
            loglam, flux, ivar, mask = (_column(coadd, name, path) for name in ("loglam", "flux", "ivar", "and_mask"))
        if not (np.diff(loglam) > 0).all():
            raise DataError(f"{path}: loglam does not rise from pixel to pixel", "a rising grid")
        old, new = 10 ** bin_edges(loglam), bin_edges(wavelength_angstrom(spectrum_modality()))
        new_flux, new_ivar = resample_flux(flux[None], ivar[None], old, new)
        fault = GOOD
        if not (new_ivar > 0).any():
            fault = "no pixel with positive ivar"
        elif not new_flux.any():
            fault = "flux all zero"
        columns = {
            "flux": new_flux.astype(np.float32),
            "ivar": new_ivar.astype(np.float32),
            "mask": resample_mask(mask[None], old, new),
        }
        taken = np.asarray(rows, np.int64)
        return Payload({name: values[taken] for name, values in columns.items()}, np.full(len(taken), fault, object))


def _check_header(header: Any, path: Path) -> None:
    if header.get("VACUUM", True) is not True:
        raise DataError(f"{path}: wavelengths in air (VACUUM is {header['VACUUM']})", "vacuum wavelengths")
    unit = str(header.get("BUNIT", FLUX_UNIT))
    if unit.lower() != FLUX_UNIT.lower():
        raise DataError(f"{path}: flux in {unit!r} (BUNIT)", repr(FLUX_UNIT))


def _column(hdu: Any, name: str, path: Path) -> npt.NDArray[Any]:
    """Return a column whatever the case of its name."""
    names = [] if getattr(hdu, "columns", None) is None else hdu.columns.names
    found = next((other for other in names if other.lower() == name.lower()), name)
    return native(table_column(hdu, found, path))


def _values(hdu: Any, name: str, dtype: type, path: Path) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = _column(hdu, name, path).astype(dtype)
    return np.char.strip(values) if dtype is np.str_ else values


def _first(columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    return {name: values[0] for name, values in columns.items()}
