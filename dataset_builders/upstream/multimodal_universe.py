"""DESI spectra of the Multimodal Universe (2024, arXiv:2412.02527): HDF5 partitions and their HATS Parquet copies.

* HDF5, ``<config>/healpix=N/001-of-001.hdf5`` (nside 16, NESTED): the columns of DESI's redshift catalogue, each an
  array under its name in capitals, with `ra`, `dec`, `object_id` (the TARGETID), and `spectrum_flux`, `spectrum_ivar`,
  `spectrum_mask`, `spectrum_lambda`, `spectrum_lsf_sigma`, (n, 7781) each. ``scripts/desi`` of its repository.
* HATS, ``dataset/Norder=K/Dir=D/Npix=N.parquet``: `spectrum`, a struct of lists flux, ivar, lsf_sigma, lambda and mask;
  of the catalogue Z, ZERR, ZWARN, EBV and fluxes are left; `object_id` is text.

**ZWARN has two meanings.** DESI's number has a bit for each thing that may be wrong, so 0 is good; so it is in the HDF5
files. The loading script and the Parquet copies make a truth value of it that says the opposite: True is good. The type
tells the two apart. An early version of the conversion to HATS left the inversion out, which nothing in the files
shows; `zwarn_true_is_good` is for copies made with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from astroclip_bench.datasets.arrays import arrow_to_numpy
from astroclip_bench.errors import DataError
from astroclip_bench.records import N_WAVELENGTH, spectrum_modality, wavelength_angstrom
from dataset_builders.hdf5 import hdf5_dataset, open_hdf5, read_rows
from dataset_builders.selection import drop_by_reason
from dataset_builders.upstream.desi_coadd import CUTS
from dataset_builders.upstream.nested import nested_to_numpy
from dataset_builders.upstream.parquet_rows import data_files, open_parquet, row_batches
from dataset_builders.upstream.provabgs_multimodal import exact_integers
from dataset_builders.upstream.reader import GOOD, Index, Payload, list_files

FLUXES = tuple(
    f"{kind}_{band}" for kind in ("flux", "flux_ivar", "fiberflux", "fibertotflux") for band in ("g", "r", "z")
)
REQUIRED = {
    "object_id": "target_id",
    "ra": "ra",
    "dec": "dec",
    "z": "redshift",
    "zerr": "redshift_err",
    "zwarn": "zwarn",
}
OPTIONAL = {"deltachi2": "deltachi2", "spectype": "spectype", "ebv": "ebv", **{name: name for name in FLUXES}}
"""Column of the files, in lower case -> column of the index."""

FIELDS = ("flux", "ivar", "mask", "lambda")
"""What is read of a spectrum."""

MISSING_VALUE = -99.0
BAD_ZWARN = -1
"""What a redshift warning becomes of which only the existence is known."""

MASKED = np.uint32(1)
SNR_RANGE_ANGSTROM = (5800.0, 7600.0)
"""Where desispec measures the signal-to-noise ratio of the R arm (``desispec.specscore``)."""
BLOCK_ROWS = 256
WAVELENGTH_TOLERANCE_ANGSTROM = 0.01

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class MmuSpectra:
    """Reader of the HDF5 or Parquet files below `folder`; margins of HATS catalogues are passed over.

    The index has row, target_id, ra, dec, redshift, redshift_err, `zwarn` (0 is good, `BAD_ZWARN` where more is not
    known), `snr` (median over the pixels of `SNR_RANGE_ANGSTROM`, as in the index of `DesiCoadds`) and, as far as the
    files have them, deltachi2, spectype, ebv and the fluxes of `FLUXES` (nanomaggies, NaN where missing).

    Parameters
    ----------
    folder
        A configuration's folder, a HATS catalogue, or one file.
    cuts
        Name of the quality cuts, a key of `dataset_builders.upstream.desi_coadd.CUTS`.
    zwarn_true_is_good
        What the truth value ZWARN means where it is one.
    snr
        Whether to measure the signal-to-noise ratio, for which the index reads the spectra.

    Raises
    ------
    DataError
        If there are no cuts of this name.
    """

    folder: Path
    cuts: str = "none"
    zwarn_true_is_good: bool = True
    snr: bool = True
    name: str = "Multimodal Universe DESI spectra"

    def __post_init__(self) -> None:
        if self.cuts not in CUTS:
            raise DataError(f"cuts={self.cuts!r}", f"one of {', '.join(CUTS)}")

    def files(self) -> list[Path]:
        """Return the data files."""
        found = data_files(list_files(self.folder, "*.hdf5", "*.parquet"))
        if not found:
            raise DataError(f"{self.folder}: margins and thumbnails alone", "the partitions of a catalogue")
        return found

    def options(self) -> Mapping[str, Any]:
        """Return the cuts and the meaning of ZWARN."""
        return {
            "cuts": self.cuts,
            "cut_reasons": list(CUTS[self.cuts]),
            "zwarn_true_is_good": self.zwarn_true_is_good,
            "snr": self.snr,
        }

    def index(self, path: Path) -> Index:
        """Return the light columns of one file.

        Raises
        ------
        DataError
            If the file is damaged, a column is missing, or the wavelengths are not DESI's.
        """
        with _opened(path) as opened:
            columns = _light_columns(opened, path)
            rows = len(columns["target_id"])
            columns["zwarn"] = desi_zwarn(columns["zwarn"], self.zwarn_true_is_good)
            if rows:
                _check_wavelengths(opened, path)
            if self.snr:
                columns["snr"] = _signal_to_noise(opened)
        reasons = {
            "negative TARGETID": columns["target_id"] < 0,
            "position not finite": ~np.isfinite(columns["ra"] + columns["dec"]),
            "redshift not finite": ~np.isfinite(columns["redshift"]),
        }
        keep, dropped = drop_by_reason(reasons | self._cut(columns, path))
        kept = {name: values[keep] for name, values in columns.items()}
        return Index({"row": np.flatnonzero(keep), **kept}, rows, dropped)

    def load(self, path: Path, rows: npt.NDArray[np.int64]) -> Payload:
        """Return `flux`, `ivar` (0 where masked) and `mask` (1 where masked), (n, 7781), of some rows."""
        with _opened(path) as opened:
            spectra = opened.rows(np.asarray(rows, np.int64), ("flux", "ivar", "mask"))
        flux, ivar = spectra["flux"].astype(np.float32), spectra["ivar"].astype(np.float32)
        masked = spectra["mask"].astype(bool)
        broken = ~(np.isfinite(flux).all(axis=1) & np.isfinite(ivar).all(axis=1))
        ivar = np.where(masked, np.float32(0), ivar)
        holds = {
            "flux or ivar not finite": broken,
            "no pixel with positive ivar": ~(ivar > 0).any(axis=1),
            "flux all zero": (flux == 0).all(axis=1),
        }
        fault = np.select(list(holds.values()), [np.array(text, object) for text in holds], np.array(GOOD, object))
        mask = np.where(masked, MASKED, np.uint32(0))
        return Payload({"flux": flux, "ivar": ivar, "mask": mask}, fault.reshape(len(flux)))

    def _cut(self, columns: Columns, path: Path) -> dict[str, npt.NDArray[np.bool_]]:
        try:
            return {reason: dropped(columns) for reason, dropped in CUTS[self.cuts].items()}
        except KeyError as error:
            raise DataError(
                f"{path}: no column {error}, which the cuts {self.cuts!r} need",
                todo="choose --cuts good-redshift, or none",
            ) from error


def desi_zwarn(values: npt.NDArray[Any], true_is_good: bool = True) -> npt.NDArray[np.int64]:
    """Return ZWARN in DESI's meaning: 0 is good.

    Parameters
    ----------
    values
        DESI's integers, returned as they are; or truth values, of which the bad ones become `BAD_ZWARN`.
    true_is_good
        What the truth values mean.

    Raises
    ------
    DataError
        If they are neither.
    """
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    if values.dtype.kind != "b":
        raise DataError(f"ZWARN has type {values.dtype}", "DESI's integers, or truth values, in each row")
    return np.where(values == true_is_good, 0, BAD_ZWARN)


class _Opened(NamedTuple):
    """A file of either format."""

    names: list[str]
    """Names of its columns."""
    column: Callable[[str], npt.NDArray[Any]]
    """Gives a whole column."""
    rows: Callable[[npt.NDArray[np.int64], tuple[str, ...]], Columns]
    """Gives fields of the spectra of some rows, (n, 7781) each."""
    blocks: Callable[[tuple[str, ...]], Iterator[Columns]]
    """Gives fields of the spectra of all rows, some rows at a time."""


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    if path.suffix == ".parquet":
        with open_parquet(path) as file:
            yield _opened_parquet(file, path)
    else:
        with open_hdf5(path) as file:
            yield _opened_hdf5(file)


def _opened_hdf5(file: Any) -> _Opened:
    def rows_of(rows: npt.NDArray[np.int64], fields: tuple[str, ...]) -> Columns:
        keys = {field: hdf5_dataset(file, f"spectrum_{field}", (N_WAVELENGTH,), "fbiu") for field in fields}
        return {field: read_rows(dataset, rows) for field, dataset in keys.items()}

    def blocks(fields: tuple[str, ...]) -> Iterator[Columns]:
        total = len(hdf5_dataset(file, f"spectrum_{fields[0]}", (N_WAVELENGTH,)))
        for start in range(0, total, BLOCK_ROWS):
            yield rows_of(np.arange(start, min(start + BLOCK_ROWS, total)), fields)

    return _Opened(list(file), lambda name: hdf5_dataset(file, name, (), "biufSO")[()], rows_of, blocks)


def _opened_parquet(file: Any, path: Path) -> _Opened:
    names: list[str] = file.schema_arrow.names
    dtype = file.schema_arrow.field("spectrum").type if "spectrum" in names else pa.null()
    lacking = [name for name in FIELDS if not pa.types.is_struct(dtype) or dtype.get_field_index(name) < 0]
    if lacking:
        raise DataError(f"{path}: no spectrum.{lacking[0]} among {', '.join(names)}", "a struct 'spectrum' of lists")

    def arrays(batch: Any, field: str) -> npt.NDArray[Any]:
        place = batch.schema.field("spectrum").type.get_field_index(field)
        values = nested_to_numpy(batch.column("spectrum").field(place), f"{path}: spectrum.{field}")
        if values.shape[1:] != (N_WAVELENGTH,):
            raise DataError(f"{path}: spectrum.{field} has shape {values.shape}", f"(any, {N_WAVELENGTH})")
        return values

    def rows_of(rows: npt.NDArray[np.int64], fields: tuple[str, ...]) -> Columns:
        found = {field: np.empty((len(rows), N_WAVELENGTH), np.float32) for field in fields}
        for places, within, batch in row_batches(file, rows, [f"spectrum.{field}" for field in fields]):
            for field in fields:
                found[field][places] = arrays(batch, field)[within]
        return found

    def blocks(fields: tuple[str, ...]) -> Iterator[Columns]:
        for batch in file.iter_batches(BLOCK_ROWS, columns=[f"spectrum.{field}" for field in fields]):
            yield {field: arrays(batch, field) for field in fields}

    return _Opened(names, lambda name: arrow_to_numpy(file.read([name])[name]), rows_of, blocks)


def _light_columns(opened: _Opened, path: Path) -> Columns:
    """Return the catalogue's columns under the names of the index."""
    spelt = {name.lower(): name for name in sorted(opened.names)}
    missing = [name for name in REQUIRED if name not in spelt]
    if missing:
        raise DataError(f"{path}: column {missing[0]!r} is missing", f"it among {', '.join(opened.names)}")
    known = REQUIRED | OPTIONAL
    columns = {known[name]: _plain(opened.column(spelt[name])) for name in known if name in spelt}
    columns["target_id"] = _target_ids(columns["target_id"], path)
    for name in ("ra", "dec", "redshift", "redshift_err"):
        columns[name] = columns[name].astype(np.float64)
    for name in ("ebv", *FLUXES):
        if name in columns:
            values = columns[name].astype(np.float32)
            columns[name] = np.where(values == np.float32(MISSING_VALUE), np.float32(np.nan), values)
    return columns


def _plain(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return numbers in the machine's byte order, and text, also as bytes, as str without padding."""
    if values.dtype.kind in "SUO":
        texts = [value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist()]
        return np.char.strip(np.array(texts, str))
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _target_ids(values: npt.NDArray[Any], path: Path) -> npt.NDArray[np.int64]:
    # Some copies hold the text that Python prints for bytes: b'39633345008634465'.
    plain = np.char.strip(values, "b' \"") if values.dtype.kind == "U" else values
    return exact_integers(plain, f"{path}: object_id")


def _check_wavelengths(opened: _Opened, path: Path) -> None:
    """Compare the wavelengths of the first row with the grid; they are the same in all rows."""
    found = opened.rows(np.array([0]), ("lambda",))["lambda"][0]
    if np.abs(found - wavelength_angstrom(spectrum_modality())).max() > WAVELENGTH_TOLERANCE_ANGSTROM:
        raise DataError(
            f"{path}: wavelengths from {found.min():g} to {found.max():g} Angstrom",
            f"{N_WAVELENGTH} pixels of 0.8 from 3600 to 9824",
        )


def _signal_to_noise(opened: _Opened) -> npt.NDArray[np.float32]:
    """Return for each spectrum the median of flux sqrt(ivar) over the R arm; bad pixels count as 0, as in desispec."""
    wavelength = wavelength_angstrom(spectrum_modality())
    arm = (wavelength >= SNR_RANGE_ANGSTROM[0]) & (wavelength < SNR_RANGE_ANGSTROM[1])
    blocks = []
    for block in opened.blocks(("flux", "ivar", "mask")):
        flux, ivar, mask = (block[name][:, arm] for name in ("flux", "ivar", "mask"))
        good = (ivar > 0) & (mask == 0) & np.isfinite(flux)
        ratio = np.where(good, flux, 0) * np.sqrt(np.where(good, ivar, 0))
        blocks.append(np.median(ratio, axis=1).astype(np.float32))
    return np.concatenate([np.zeros(0, np.float32), *blocks])
