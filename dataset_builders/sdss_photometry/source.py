"""The SDSS sample of kcorrect as a record source."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from astroclip_bench.errors import DataError
from astroclip_bench.files import sha256_file
from astroclip_bench.records import COLUMNS, DatasetInfo, photometry_modality, record_schema
from dataset_builders.fits import open_fits, table_column
from dataset_builders.selection import drop_by_reason
from dataset_builders.splits import healpix_pixel, split_of_pixel
from dataset_builders.validate import select_splits

BANDS = "ugriz"
COLUMN_NAMES = (
    "object_id",
    "ra",
    "dec",
    "healpix",
    "split",
    *(f"flux_{band}" for band in BANDS),
    "redshift",
    "mag_r",
)
SHARD_ROWS = 50_000
MAX_REDSHIFT = 1.0
"""Beyond it the sample has three rows, at redshifts 2.1 to 3.4: quasars, or wrong."""
AB_ZERO_POINT_NMGY = 22.5


class SdssPhotometry:
    """Rows of a FITS table with MAGGIES and MAGGIES_IVAR (first five: u, g, r, i, z), REDSHIFT, RA and DEC.

    Parameters
    ----------
    catalogue
        The FITS file; it is read here, once.
    max_redshift
        Rows at or above it, and at or below 0, are left out.

    Raises
    ------
    DataError
        If the table or a column is missing, of another shape, or no row is left.
    """

    def __init__(self, catalogue: Path | str, max_redshift: float = MAX_REDSHIFT) -> None:
        self.max_redshift = max_redshift
        catalogue = Path(catalogue).expanduser()
        digest = sha256_file(catalogue)
        self._input = {"path": catalogue.name, "bytes": catalogue.stat().st_size, "sha256": digest}
        table, self._step, self._unmeasured = _read(catalogue, max_redshift)
        self._columns = table
        self.info = DatasetInfo(
            name="sdss-photometry",
            version="1.0",
            title="SDSS photometry and redshifts",
            description=(
                "Galaxies of the SDSS spectroscopic sample with their total fluxes in u, g, r, i, z and spectroscopic "
                "redshifts: real data, without images or spectra, for photometric redshifts."
            ),
            license="other",
            citation=(
                "Sloan Digital Sky Survey (public data); the sample is distributed with kcorrect: "
                "Blanton and Roweis (2007), AJ 133, 734."
            ),
            simulated=False,
            provenance={"catalogue": {"name": catalogue.name, "sha256": digest}},
        )
        self.schema = record_schema(self.info, [COLUMNS[name] for name in COLUMN_NAMES], [photometry_modality(BANDS)])
        self.shards = range(-(-len(table["redshift"]) // SHARD_ROWS))

    def rows(self, shard: int, splits: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one shard as one batch."""
        part = slice(shard * SHARD_ROWS, (shard + 1) * SHARD_ROWS)
        arrays = [
            pa.array(self._columns[field.name][part].tolist(), field.type)
            if pa.types.is_string(field.type)
            else pa.array(self._columns[field.name][part], field.type)
            for field in self.schema
        ]
        yield select_splits(pa.RecordBatch.from_arrays(arrays, schema=self.schema), splits)

    def shard_size(self, shard: int) -> int:
        """Return the number of rows in the shard."""
        return min(SHARD_ROWS, len(self._columns["redshift"]) - shard * SHARD_ROWS)

    def build_record(self) -> Mapping[str, Any]:
        """Return the input file, the options, and the rows at each step."""
        return {
            "inputs": [self._input],
            "options": {"max_redshift": self.max_redshift},
            "steps": [self._step],
            "kept_with_an_unmeasured_band": self._unmeasured,
        }

    def card(self) -> Mapping[str, str]:
        """Return what the rows are, what they can be used for, and what is wrong with them."""
        return {
            "Where the rows come from": (
                f"`{self._input['path']}`, {self._input['bytes']:,} bytes, SHA-256 `{self._input['sha256']}`: the sample "
                "that kcorrect distributes. Fluxes are those of the file (MAGGIES, the first five of "
                "eight), in nanomaggies (AB), with no correction applied here; redshifts are its REDSHIFT. `object_id` is "
                "the number of the row in the file, counted from 0, since a few galaxies are listed twice; `mag_r` is "
                "22.5 - 2.5 log10(flux_r)."
            ),
            "Uses and limits": (
                "Meant for redshifts from magnitudes. Most galaxies lie on the celestial equator (|dec| < 1.3 degrees), "
                "with redshifts around a median of 0.22, nearly all below 0.53, and r from 15 to 21; the sample is neither "
                "complete nor of one selection. The only label is the redshift, without its error. The file "
                "does not say whether its fluxes are corrected for Galactic dust, nor which magnitudes they come from."
            ),
            "Known defects": (
                f"* {self._unmeasured:,} rows have an inverse variance of 0 in a band (u): the catalogue's flux there is "
                "positive, but some are far off, and u - g comes out bluer than elsewhere.\n"
                "* A few galaxies are listed twice at the same position; both entries fall into the same split.\n"
                "* The inverse variances of the file are not carried over."
            ),
        }


def _read(path: Path, max_redshift: float) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any], int]:
    """Return the record's columns of the rows kept, the counts of this step, and how many lack a measured band."""
    with open_fits(path) as hdus:
        if len(hdus) < 2:
            raise DataError(f"{path}: no table", "a binary table in the second HDU")
        names = ("MAGGIES", "MAGGIES_IVAR", "REDSHIFT", "RA", "DEC")
        flux, ivar, redshift, ra, dec = (table_column(hdus[1], name, path) for name in names)
    for name, values in (("MAGGIES", flux), ("MAGGIES_IVAR", ivar)):
        if values.ndim != 2 or values.shape[1] < len(BANDS):
            raise DataError(f"{path}: {name} has shape {values.shape}", f"at least {len(BANDS)} bands a row")
    flux, ivar = flux[:, : len(BANDS)], ivar[:, : len(BANDS)]
    keep, dropped = drop_by_reason(
        {
            "position not finite": ~(np.isfinite(ra) & np.isfinite(dec)),
            "flux not positive in a band": ~(np.isfinite(flux) & (flux > 0)).all(axis=1),
            f"redshift not between 0 and {max_redshift:g}": ~((redshift > 0) & (redshift < max_redshift)),
        }
    )
    if not keep.any():
        raise DataError(f"{path}: none of the {len(keep)} rows passes the cuts", todo="check the file")
    healpix = healpix_pixel(ra[keep], dec[keep])
    columns: dict[str, npt.NDArray[Any]] = {
        "object_id": np.flatnonzero(keep).astype(str),
        "ra": ra[keep] % 360.0,
        "dec": dec[keep],
        "healpix": healpix,
        "split": split_of_pixel(healpix),
        "redshift": redshift[keep].astype(np.float32),
        "mag_r": (AB_ZERO_POINT_NMGY - 2.5 * np.log10(flux[keep, BANDS.index("r")])).astype(np.float32),
    }
    columns |= {f"flux_{band}": flux[keep, index].astype(np.float32) for index, band in enumerate(BANDS)}
    unmeasured = int((~(ivar[keep] > 0)).any(axis=1).sum())
    step = {"step": "catalogue", "read": len(keep), "kept": int(keep.sum()), "dropped": dropped}
    return columns, step, unmeasured
