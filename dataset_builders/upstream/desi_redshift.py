"""Redshifts of DESI targets: redrock files beside the coadds, or a redshift catalogue of a whole release."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from dataset_builders.fits import named_hdu, open_fits, table_column

COLUMNS = {
    "target_id": "TARGETID",
    "redshift": "Z",
    "redshift_err": "ZERR",
    "zwarn": "ZWARN",
    "deltachi2": "DELTACHI2",
    "spectype": "SPECTYPE",
}
"""Name here -> name in redrock's HDU REDSHIFTS and in the HDU ZCATALOG of the catalogues."""
GROUP_COLUMNS = ("SURVEY", "PROGRAM", "HEALPIX")
CHUNK_ROWS = 200_000

Columns = dict[str, npt.NDArray[Any]]


class Group(NamedTuple):
    """Which coadd file a spectrum is in: DESI groups them by survey, program and HEALPix pixel (nside 64, NESTED)."""

    survey: str
    program: str
    healpix: int


def read_redrock(path: Path | str) -> Columns:
    """Return `COLUMNS` of a `redrock-*.fits` file; `spectype` without padding, `zwarn` in DESI's meaning (0 is good).

    Raises
    ------
    DataError
        If the file is damaged or the HDU REDSHIFTS or a column is missing.
    """
    with open_fits(path) as hdus:
        table = named_hdu(hdus, "REDSHIFTS", path)
        columns = {name: table_column(table, field, path) for name, field in COLUMNS.items()}
    return _texts_stripped(columns)


def read_zcatalog(path: Path | str, group: Group) -> Columns:
    """Return `COLUMNS` of those rows of a redshift catalogue that belong to one coadd file.

    The catalogue is that of EDR (`zall-pix-edr-vac.fits`, `zall-pix-fuji.fits`) or DR1 (`zall-pix-iron.fits`): HDU
    ZCATALOG, one row a spectrum. The first call scans it once for where the rows of each group are, in pieces; later
    calls of the process read the rows of the group alone.

    Raises
    ------
    DataError
        If the file is damaged or the HDU ZCATALOG or a column is missing.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        table = named_hdu(hdus, "ZCATALOG", path)
        rows = _raw_rows(table, (*COLUMNS.values(), *GROUP_COLUMNS), path)
        state = path.stat()
        runs = _runs_by_group(path, state.st_mtime_ns, state.st_size).get(group, [])
        parts = {name: [rows[field][first:stop] for first, stop in runs] for name, field in COLUMNS.items()}
        empty = {name: rows[field][:0] for name, field in COLUMNS.items()}
        columns = {name: np.concatenate([empty[name], *parts[name]]) for name in COLUMNS}
    return _texts_stripped(columns)


def redshifts_of(target_id: npt.NDArray[np.int64], table: Columns) -> tuple[Columns, npt.NDArray[np.bool_]]:
    """Return the other columns of `table` for each of n targets (zero or empty where it has none), and whether it has.

    Of a target listed twice the first row counts.
    """
    known, first = np.unique(table["target_id"], return_index=True)
    found = np.isin(target_id, known)
    rows = first[np.searchsorted(known, target_id[found])]
    others = {name: values for name, values in table.items() if name != "target_id"}
    columns = {name: np.zeros(len(target_id), values.dtype) for name, values in others.items()}
    for name, values in others.items():
        columns[name][found] = values[rows]
    return columns, found


@lru_cache(maxsize=2)
def _runs_by_group(path: Path, _mtime_ns: int, _size: int) -> Mapping[Group, list[tuple[int, int]]]:
    """Return where in the catalogue the rows of each group are: (first row, row after the last) of each run."""
    found: dict[Group, list[tuple[int, int]]] = {}
    with open_fits(path) as hdus:
        rows = _raw_rows(named_hdu(hdus, "ZCATALOG", path), GROUP_COLUMNS, path)
        for start in range(0, len(rows), CHUNK_ROWS):
            columns = [rows[name][start : start + CHUNK_ROWS] for name in GROUP_COLUMNS]
            changes = np.any([values[1:] != values[:-1] for values in columns], axis=0)
            edges = np.concatenate([[0], np.flatnonzero(changes) + 1, [len(columns[0])]])
            for first, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
                survey, program, healpix = (values[first] for values in columns)
                group = Group(survey.decode().strip(), program.decode().strip(), int(healpix))
                found.setdefault(group, []).append((start + first, start + stop))
    return found


def _raw_rows(table: Any, needed: tuple[str, ...], path: Path) -> npt.NDArray[Any]:
    """Return the rows as they lie in the file, so that a column costs memory only where it is looked at."""
    names = table.columns.names
    missing = [name for name in needed if name not in names]
    if missing:
        raise DataError(
            f"{path}: HDU {table.name} has no column {', '.join(missing)}",
            f"{', '.join(needed)} of a zall-pix catalogue",
        )
    return np.asarray(table.data.view(np.ndarray))


def _texts_stripped(columns: Columns) -> Columns:
    columns["spectype"] = np.char.strip(columns["spectype"].astype(str))
    return columns
