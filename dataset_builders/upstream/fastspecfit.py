"""FastSpecFit: stellar masses and star formation rates fitted to DESI spectra and photometry, EDR and DR1.

Data model: https://fastspecfit.readthedocs.io, `fastspec`; Moustakas et al. (2023), ASCL 2308.005.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from dataset_builders.fits import named_hdu, open_fits, table_column
from dataset_builders.selection import drop_by_reason
from dataset_builders.upstream.reader import Index, list_files

FITS_HDUS = ("SPECPHOT", "FASTSPEC")
"""Where the fitted quantities are: the first that is there (SPECPHOT came with version 3 of the catalogues)."""


@dataclass(frozen=True)
class FastSpecFit:
    """The `fastspec-*.fits` catalogues in a folder or below, or one file.

    Labels: `log_stellar_mass` is LOGMSTAR, with `log_stellar_mass_std` from LOGMSTAR_IVAR where the file has it
    (version 3); `log_ssfr` is log10(SFR) - LOGMSTAR, with no uncertainty, since that of SFR and mass together is not
    published; `redshift` is Z (redrock's, or QuasarNet's for quasar targets). A mass or rate of 0 or less is missing.

    Left out, because they mean something else than our labels: AGE is weighted by light, and ZZSUN is the logarithm of
    the metallicity relative to solar, of templates that are all solar since version 2.1.

    Parameters
    ----------
    folder
        Where the catalogues are.
    hubble
        H0 / (100 km/s/Mpc) that masses are given for. The catalogues are for 1; a smaller value raises log10 of the
        mass by -2 log10(hubble), and leaves the specific rate as it is.
    """

    name = "FastSpecFit"

    folder: Path
    hubble: float = 1.0

    def files(self) -> list[Path]:
        """Return the catalogues, sorted."""
        return list_files(self.folder, "fastspec-*.fits", "fastspec-*.fits.gz")

    def options(self) -> Mapping[str, Any]:
        """Return the Hubble constant of the masses and where they come from."""
        return {"hubble": self.hubble, "log_stellar_mass": "LOGMSTAR", "log_ssfr": "log10(SFR) - LOGMSTAR"}

    def index(self, path: Path) -> Index:
        """Return the labels of one catalogue: the columns needed are read, one at a time.

        Columns: `row`, `target_id`, `ra`, `dec`, `survey`, `program` ("unknown" where the file does not tell) and the
        labels; a missing one is NaN. A target has a row for each survey and program it was observed in.

        Raises
        ------
        DataError
            If the file is damaged, an HDU or column is missing, or its HDUs list different targets.
        """
        with open_fits(path) as hdus:
            metadata = named_hdu(hdus, "METADATA", path)
            fitted = named_hdu(hdus, next((name for name in FITS_HDUS if name in hdus), FITS_HDUS[0]), path)
            target_id = table_column(metadata, "TARGETID", path).astype(np.int64)
            if not np.array_equal(target_id, table_column(fitted, "TARGETID", path)):
                raise DataError(f"{path}: METADATA and {fitted.name} list different targets", "the same, in one order")
            columns = {
                "target_id": target_id,
                "ra": table_column(metadata, "RA", path).astype(float),
                "dec": table_column(metadata, "DEC", path).astype(float),
                "survey": _texts(metadata, "SURVEY", path),
                "program": _texts(metadata, "PROGRAM", path),
                "redshift": table_column(metadata, "Z", path).astype(float),
                **_labels(fitted, self.hubble, path),
            }
        keep, dropped = drop_by_reason(
            {
                "negative TARGETID": target_id < 0,
                "position not finite": ~np.isfinite(columns["ra"] + columns["dec"]),
            }
        )
        kept = {name: values[keep] for name, values in columns.items()}
        return Index({"row": np.flatnonzero(keep), **kept}, len(keep), dropped)


def _labels(fitted: Any, hubble: float, path: Path) -> dict[str, npt.NDArray[Any]]:
    mass, rate = (_positive(table_column(fitted, name, path)) for name in ("LOGMSTAR", "SFR"))
    labels = {
        "log_stellar_mass": (mass - 2 * np.log10(hubble)).astype(np.float32),
        "log_ssfr": (np.log10(rate) - mass).astype(np.float32),
    }
    if "LOGMSTAR_IVAR" in fitted.columns.names:
        std = 1 / np.sqrt(_positive(table_column(fitted, "LOGMSTAR_IVAR", path)))
        labels["log_stellar_mass_std"] = np.where(np.isfinite(mass), std, np.nan).astype(np.float32)
    return labels


def _positive(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the values as float64, NaN where they are not positive and finite."""
    numbers = values.astype(float)
    return np.where(np.isfinite(numbers) & (numbers > 0), numbers, np.nan)


def _texts(table: Any, name: str, path: Path) -> npt.NDArray[Any]:
    if name not in table.columns.names:
        return np.full(table.header["NAXIS2"], "unknown")
    return np.char.strip(table_column(table, name, path).astype(str))
