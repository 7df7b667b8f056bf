"""Read the PROVABGS value-added catalogue of DESI's Early Data Release.

One file, ``BGS_ANY_full.provabgs.sv3.v0.hdf5``: an astropy table in HDF5, a row a galaxy of the Bright Galaxy Survey in
SV3 (Hahn et al. 2023, ApJ 945, 16; columns at https://data.desi.lbl.gov/doc/releases/edr/vac/provabgs).

What is read, and what is not:

* The stellar mass is PROVABGS_LOGMSTAR_BF, its posterior PROVABGS_LOGMSTAR. The first of the 13 model parameters
  (PROVABGS_THETA_BF, PROVABGS_MCMC) is the mass *formed*, which is larger, and is not read.
* MAG_G, MAG_R and MAG_Z are corrected for Galactic extinction, so they get names of their own and are no `mag_r`.
* MAG_W1 and SCHLEGEL_COLOR were de-reddened with a wrong factor, and are not read.
* -999 stands for a missing value, and becomes NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from astroclip_bench.errors import DataError
from astroclip_bench.records import COLUMNS, Column, samples_column, uncertainty_column
from dataset_builders.hdf5 import hdf5_dataset, open_hdf5
from dataset_builders.selection import drop_by_reason
from dataset_builders.upstream.reader import Index, list_files

TABLE_KEY = "__astropy_table__"
N_SAMPLES = 100
MISSING_VALUES = (-999.0, -99.0)
MAX_LOG_STELLAR_MASS = 12.2
"""The catalogue's author warns of larger masses, dex(Msun): 1,137 rows."""
BLOCK_ROWS = 8192
"""Rows in memory at a time; in the file they are 11 kB each, most of it model parameters that are left out."""

SAMPLES = "PROVABGS_LOGMSTAR"
MAGNITUDES = {f"MAG_{band.upper()}": f"mag_{band}_dereddened" for band in "grz"}
SCALARS = {
    "RA": "ra",
    "DEC": "dec",
    "Z_HP": "redshift",
    "PROVABGS_LOGMSTAR_BF": "log_stellar_mass",
    **MAGNITUDES,
    "PROVABGS_Z_MAX": "provabgs_z_max",
    "PROVABGS_W_ZFAIL": "provabgs_w_zfail",
    "PROVABGS_W_FIBASSIGN": "provabgs_w_fibassign",
}
FLAGS = {"IS_BGS_BRIGHT": "is_bgs_bright", "IS_BGS_FAINT": "is_bgs_faint"}
"""Column of the file -> column of the index."""

CUTS: dict[str, tuple[str, ...]] = {"astroclip": ("log_stellar_mass", *MAGNITUDES.values()), "none": ()}
"""Cut -> the columns that must be positive; ``astroclip`` is what AstroCLIP (Parker et al. 2024) asked for."""

Columns = dict[str, npt.NDArray[Any]]

_PROPERTIES = (
    *(
        Column(
            name, pa.float32(), "mag(AB)", f"Total {key[-1].lower()} magnitude, Galactic extinction removed", "property"
        )
        for key, name in MAGNITUDES.items()
    ),
    Column("provabgs_z_max", pa.float32(), "", "Redshift up to which the galaxy would be in the sample", "property"),
    Column("provabgs_w_zfail", pa.float32(), "", "Weight that makes up for redshift failures", "property"),
    Column("provabgs_w_fibassign", pa.float32(), "", "Weight that makes up for targets without a fibre", "property"),
    Column("is_bgs_bright", pa.bool_(), "", "In the Bright sample of the Bright Galaxy Survey", "property"),
    Column("is_bgs_faint", pa.bool_(), "", "In the Faint sample of the Bright Galaxy Survey", "property"),
)


def provabgs_columns() -> list[Column]:
    """Return the record's columns that the catalogue fills, besides the position."""
    return [
        COLUMNS["redshift"],
        COLUMNS["log_stellar_mass"],
        uncertainty_column("log_stellar_mass"),
        samples_column("log_stellar_mass", N_SAMPLES),
        *_PROPERTIES,
    ]


@dataclass(frozen=True)
class Provabgs:
    """The catalogue as a label reader.

    The index has `target_id` and the columns of `provabgs_columns`. `log_stellar_mass_std` is the standard deviation
    of the samples, NaN where one of them is missing.

    Parameters
    ----------
    file
        The HDF5 file, or a folder with it.
    cut
        A name of `CUTS`.
    max_log_stellar_mass
        Rows above it are left out, dex(Msun); None keeps them, as AstroCLIP did.

    Raises
    ------
    DataError
        If there is no cut of this name.
    """

    file: Path | str
    cut: str = "astroclip"
    max_log_stellar_mass: float | None = MAX_LOG_STELLAR_MASS
    name = "PROVABGS"

    def __post_init__(self) -> None:
        if self.cut not in CUTS:
            raise DataError(f"no PROVABGS cut {self.cut!r}", f"one of {', '.join(CUTS)}")

    def files(self) -> list[Path]:
        """Return the one file."""
        found = list_files(self.file, "*provabgs*.hdf5", "*provabgs*.h5")
        if len(found) > 1:
            raise DataError(f"{self.file}: {len(found)} PROVABGS files", "one", "name the file")
        return found

    def options(self) -> Mapping[str, Any]:
        """Return the cuts."""
        return {"cut": self.cut, "max_log_stellar_mass": self.max_log_stellar_mass}

    def index(self, path: Path) -> Index:
        """Return the labels of the rows that pass the cuts, one row a target.

        Raises
        ------
        DataError
            If the file is damaged, has no such table, or a column is missing or of another type.
        """
        columns = _read_table(path)
        unusable = {f"{name} not positive": ~(columns[name] > 0) for name in CUTS[self.cut]}
        return label_index(columns, self.max_log_stellar_mass, unusable)


def label_index(
    columns: Columns, max_log_stellar_mass: float | None, unusable: Mapping[str, npt.NDArray[np.bool_]] | None = None
) -> Index:
    """Return the index of a table of labels: cuts applied and counted, one row kept a target.

    Of the rows of one target the first that has a stellar mass is kept.

    Parameters
    ----------
    columns
        All rows of the file, with `target_id`, `ra`, `dec` and `log_stellar_mass`.
    max_log_stellar_mass
        Rows above it are dropped; None keeps them.
    unusable
        Further reasons to drop a row -> flags, (n,).
    """
    mass, target_id = columns["log_stellar_mass"], columns["target_id"]
    reasons = {
        "no target identifier": target_id <= 0,
        "position not finite": ~(np.isfinite(columns["ra"]) & np.isfinite(columns["dec"])),
        **(unusable or {}),
    }
    if max_log_stellar_mass is not None:
        reasons[f"log_stellar_mass above {max_log_stellar_mass:g}"] = mass > max_log_stellar_mass
    keep, dropped = drop_by_reason(reasons)
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(np.isnan(mass[rows]), kind="stable")]
    chosen = np.sort(rows[np.unique(target_id[rows], return_index=True)[1]])
    dropped["target repeated"] = len(rows) - len(chosen)
    kept = {name: values[chosen] for name, values in columns.items()}
    return Index({"row": chosen.astype(np.int64), **kept}, len(mass), dropped)


def missing_to_nan(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return floating-point values with NaN for the numbers that stand for a missing value, and for infinity."""
    missing = ~np.isfinite(values)
    for number in MISSING_VALUES:
        missing |= values == number
    return np.where(missing, np.asarray(np.nan, values.dtype), values)


def _read_table(path: Path) -> Columns:
    names = ["TARGETID", *SCALARS, SAMPLES, *FLAGS]
    with open_hdf5(path) as file:
        table = hdf5_dataset(file, TABLE_KEY, kinds="V")
        _check_types(table.dtype, names, path)
        # One pass over the file for all columns: its rows are stored whole, so a pass each would read it ten times.
        fields, starts = table.fields(names), range(0, len(table), BLOCK_ROWS)
        blocks = [_columns(fields[start : start + BLOCK_ROWS]) for start in starts]
        blocks = blocks or [_columns(np.zeros(0, [(name, table.dtype[name]) for name in names]))]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _columns(block: npt.NDArray[Any]) -> Columns:
    """Return some rows of the file's table as columns of the index."""
    rows = len(block)
    columns: Columns = {"target_id": block["TARGETID"].astype(np.int64)}
    for key, name in SCALARS.items():
        dtype = COLUMNS[name].dtype.to_pandas_dtype() if name in ("ra", "dec") else np.float32
        columns[name] = missing_to_nan(block[key].reshape(rows).astype(dtype))
    samples = missing_to_nan(block[SAMPLES])
    columns["log_stellar_mass_std"] = samples.std(axis=1, ddof=1).astype(np.float32)
    columns["log_stellar_mass_samples"] = samples.astype(np.float32)
    return columns | {name: block[key].astype(bool) for key, name in FLAGS.items()}


def _check_types(dtype: np.dtype[Any], names: list[str], path: Path) -> None:
    for name in names:
        if name not in (dtype.names or ()):
            found = ", ".join(dtype.names or ())
            raise DataError(f"{path}: column {name} is missing from {TABLE_KEY}", f"it among {found}")
        kind, shape = dtype[name].base.kind, dtype[name].shape
        # An integer identifier that went through floating point has lost its last digits, without a trace.
        wanted_kind = "iu" if name == "TARGETID" else "biu" if name in FLAGS else "f"
        wanted_shapes = ((N_SAMPLES,),) if name == SAMPLES else ((), (1,))
        if kind not in wanted_kind or shape not in wanted_shapes:
            kinds = {"iu": "integers", "biu": "flags", "f": "floating-point numbers"}[wanted_kind]
            raise DataError(f"{path}: column {name} has type {dtype[name]}", f"{kinds} of shape {wanted_shapes[0]}")
