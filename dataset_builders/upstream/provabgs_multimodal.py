"""Read the Multimodal Universe's variant of PROVABGS, which adds age, metallicity and star formation rate.

Its authors evaluated the catalogue's star formation and metallicity histories with the provabgs package at the best-fit
parameters: TAGE_MW, the mass-weighted age in Gyr; Z_MW, the mass-weighted metallicity (mass fraction of metals); and
AVG_SFR, the mean star formation rate over the last Gyr in Msun/yr, *linear* (``Models.NMF.tage_MW``, ``Z_MW`` and
``avgSFR``). It holds the rows that pass the cut ``astroclip``, in two forms:

* HDF5 partitions ``healpix=N/001-of-001.hdf5``, an array a column, the mass under its original name
  PROVABGS_LOGMSTAR_BF and `object_id` an integer;
* Parquet (also as HATS catalogue), the mass as LOG_MSTAR and `object_id` as text. Its positions went through float32,
  which moves them by up to 0.06 arcsec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from astroclip_bench.errors import DataError
from astroclip_bench.records import COLUMNS, Column
from dataset_builders.hdf5 import open_hdf5
from dataset_builders.upstream.parquet_rows import data_files, open_parquet
from dataset_builders.upstream.provabgs import (
    MAGNITUDES,
    MAX_LOG_STELLAR_MASS,
    Columns,
    label_index,
    missing_to_nan,
    provabgs_columns,
)
from dataset_builders.upstream.reader import Index, list_files

PROPERTIES = ("age", "metallicity", "log_ssfr")
"""The labels that the original catalogue does not have."""

KEYS: dict[str, tuple[str, ...]] = {
    "target_id": ("object_id", "TARGETID"),
    "ra": ("ra", "RA"),
    "dec": ("dec", "DEC"),
    "redshift": ("Z_HP",),
    "log_stellar_mass": ("LOG_MSTAR", "PROVABGS_LOGMSTAR_BF"),
    "age": ("TAGE_MW",),
    "metallicity": ("Z_MW",),
    "star_formation_rate": ("AVG_SFR",),
    **{name: (key,) for key, name in MAGNITUDES.items()},
    "provabgs_z_max": ("PROVABGS_Z_MAX",),
    "provabgs_w_zfail": ("PROVABGS_W_ZFAIL",),
    "provabgs_w_fibassign": ("PROVABGS_W_FIBASSIGN",),
}
"""Column of the index -> names of the column in the files; the first found is taken."""

POSITIVE = ("log_stellar_mass", "age", "metallicity")
"""What is positive where it is known."""


@dataclass(frozen=True)
class ProvabgsMultimodal:
    """The variant as a label reader; one index a file.

    The index has `target_id`, `redshift`, `log_stellar_mass`, `age`, `metallicity`, `log_ssfr` and the properties that
    the original has as well, but for the two flags and the samples. `log_ssfr` is log10(AVG_SFR) - log10 stellar mass.

    Parameters
    ----------
    folder
        Folder of the HDF5 partitions, of Parquet files or of a HATS catalogue (margins are passed over); or one file.
    max_log_stellar_mass
        Rows above it are left out, dex(Msun); None keeps them.
    """

    folder: Path | str
    max_log_stellar_mass: float | None = MAX_LOG_STELLAR_MASS
    name = "PROVABGS (Multimodal Universe)"

    def files(self) -> list[Path]:
        """Return the data files."""
        found = list_files(self.folder, "*.hdf5", "*.h5", "*.parquet")
        data = data_files(found)
        if not data:
            raise DataError(f"{self.folder}: no data file", "HDF5 partitions, or Parquet files of a catalogue")
        return data

    def options(self) -> Mapping[str, Any]:
        """Return the cut."""
        return {"max_log_stellar_mass": self.max_log_stellar_mass}

    def index(self, path: Path) -> Index:
        """Return the labels of the rows of one file, one row a target.

        Raises
        ------
        DataError
            If the file is damaged, a column is missing, `object_id` is no whole number, or AVG_SFR is no linear rate.
        """
        found = _read_parquet(path) if path.suffix == ".parquet" else _read_hdf5(path)
        columns: Columns = {"target_id": exact_integers(found.pop("target_id"), f"{path}: {KEYS['target_id'][0]}")}
        for name, values in found.items():
            columns[name] = _numbers(values, name, len(columns["target_id"]), path)
        rate = columns.pop("star_formation_rate")
        if (rate < 0).any():
            raise DataError(f"{path}: AVG_SFR down to {np.nanmin(rate):g}", "a linear rate in Msun/yr")
        for name in POSITIVE:
            columns[name] = np.where(columns[name] > 0, columns[name], np.float32(np.nan))
        columns["log_ssfr"] = log_specific_rate(rate, columns["log_stellar_mass"])
        return label_index(columns, self.max_log_stellar_mass)


def multimodal_columns() -> list[Column]:
    """Return the record's columns that the variant fills, besides the position."""
    own = [column for column in provabgs_columns() if column.name in KEYS]
    return [*own, *(COLUMNS[name] for name in PROPERTIES)]


def log_specific_rate(
    rate: npt.NDArray[np.floating[Any]], log_stellar_mass: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float32]:
    """Return log10(SFR / (Msun/yr)) - log10(M* / Msun), NaN where the rate is missing or zero."""
    positive = np.where(rate > 0, rate, np.nan).astype(np.float64)
    return np.asarray(np.log10(positive) - log_stellar_mass, np.float32)


def exact_integers(values: Any, what: str) -> npt.NDArray[np.int64]:
    """Return identifiers, given as whole numbers or as their decimal digits, as int64.

    Floating-point numbers are refused: beyond 2**53 they have lost the last digits, and TARGETIDs are beyond.

    Parameters
    ----------
    values
        Arrow or numpy array of integers or text, (n,).
    what
        Where they come from, for the message.

    Raises
    ------
    DataError
        If they are floating-point numbers, text that is no whole number, or missing.
    """
    array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
    if not (pa.types.is_integer(array.type) or pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        raise DataError(f"{what} has type {array.type}", "integers or their digits as text: others lose digits")
    try:
        numbers = array.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise DataError(f"{what}: {error}", "whole numbers") from error
    if numbers.null_count:
        raise DataError(f"{what} is missing in {numbers.null_count} rows", "an identifier in each")
    return np.asarray(numbers.to_numpy())


def _numbers(values: Any, name: str, rows: int, path: Path) -> npt.NDArray[Any]:
    array = np.asarray(values)
    # The HDF5 files hold some columns as (n, 1).
    if array.shape not in ((rows,), (rows, 1)):
        raise DataError(f"{path}: column {' or '.join(KEYS[name])} has shape {array.shape}", f"({rows},)")
    return missing_to_nan(array.reshape(rows).astype(np.float64 if name in ("ra", "dec") else np.float32))


def _named(available: Sequence[str], path: Path) -> dict[str, str]:
    """Return for each column of the index the name of the column in the file."""
    names = {}
    for name, options in KEYS.items():
        found = [option for option in options if option in available]
        if not found:
            raise DataError(
                f"{path}: column {' or '.join(options)} is missing", f"it among {', '.join(sorted(available))}"
            )
        names[name] = found[0]
    return names


def _read_parquet(path: Path) -> dict[str, Any]:
    with open_parquet(path) as file:
        names = _named(file.schema_arrow.names, path)
        table = file.read(columns=list(names.values()))
    return {name: table[key] for name, key in names.items()}


def _read_hdf5(path: Path) -> dict[str, Any]:
    with open_hdf5(path) as file:
        names = _named(list(file), path)
        columns = {name: file[key] for name, key in names.items()}
        # Text comes as bytes otherwise.
        return {name: (found.asstr() if found.dtype.kind in "SO" else found)[:] for name, found in columns.items()}
