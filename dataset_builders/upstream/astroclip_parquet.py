"""Parquet copies of the AstroCLIP pairs, as others have put them on the Hub.

The same four values a row as in the original file (`dataset_builders.upstream.astroclip_hdf5`), spelt in several ways;
the original order, and with it the original split, is lost. Copies known in 2026: ``mhsotoudeh/astroclip`` (train, val
and test of 70, 15 and 15 %, which is not AstroCLIP's split) and ``EiffL/AstroCLIP`` (train alone, incomplete).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from astroclip_bench.errors import DataError
from astroclip_bench.files import storage_errors
from astroclip_bench.records import N_WAVELENGTH
from dataset_builders.upstream.astroclip_hdf5 import PLANES_FIRST, finite_redshifts, pair_faults, planes_first
from dataset_builders.upstream.reader import Index, Payload, list_files

SPELLINGS = {
    "image": ("image", "images"),
    "flux": ("spectrum", "spectra", "flux"),
    "redshift": ("redshift", "redshifts", "z"),
    "target_id": ("targetid", "targetids", "target_id", "TARGETID", "object_id"),
}
"""What is read -> the column names under which it may stand."""

SPLIT_WORDS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
"""Word at the beginning of a file's or its folder's name -> the split it stands for."""

BATCH_ROWS = 64


@dataclass(frozen=True)
class AstroClipParquet:
    """Reader of a folder of Parquet files; the index has `target_id`, `redshift` and `file_split`."""

    path: Path
    name: str = "AstroCLIP pairs (Parquet)"

    def files(self) -> list[Path]:
        """Return the files."""
        return list_files(self.path, "*.parquet")

    def options(self) -> Mapping[str, Any]:
        """Return nothing: the files alone decide."""
        return {}

    def index(self, path: Path) -> Index:
        """Return the light columns of the rows whose redshift is finite."""
        with _open(path) as file:
            names = _columns(file, path)
            table = file.read(columns=[names["target_id"], names["redshift"]])
        redshift = table[names["redshift"]].cast(pa.float64()).to_numpy()
        return finite_redshifts(
            {
                "row": np.arange(len(redshift)),
                "target_id": _integers(table[names["target_id"]], path),
                "redshift": redshift,
                "file_split": np.full(len(redshift), split_of_file(path)),
            }
        )

    def load(self, path: Path, rows: npt.NDArray[np.int64]) -> Payload:
        """Return `image` and `flux` of rows of one file; the row groups they lie in are read."""
        rows = np.asarray(rows, np.int64)
        image = np.empty((len(rows), *PLANES_FIRST), np.float32)
        flux = np.empty((len(rows), N_WAVELENGTH), np.float32)
        with _open(path) as file:
            names = _columns(file, path)
            for first, batch in _batches(file, rows, [names["image"], names["flux"]]):
                here = np.flatnonzero((rows >= first) & (rows < first + batch.num_rows))
                images = planes_first(_nested(batch[names["image"]], path, names["image"]), str(path))
                spectra = _nested(batch[names["flux"]], path, names["flux"])
                if spectra.shape[1:] not in ((N_WAVELENGTH,), (N_WAVELENGTH, 1)):
                    raise DataError(f"{path}: spectra of shape {spectra.shape[1:]}", f"({N_WAVELENGTH},)")
                image[here] = images[rows[here] - first]
                flux[here] = spectra.reshape(-1, N_WAVELENGTH)[rows[here] - first]
        return Payload({"image": image, "flux": flux}, pair_faults(image, flux))


def split_of_file(path: Path) -> str:
    """Return the split that the name of a file, or else of its folder, begins with.

    Raises
    ------
    DataError
        If neither begins with a split's name.
    """
    for name in (path.name, path.parent.name):
        word = re.split(r"[^a-z]", name.lower(), maxsplit=1)[0]
        if word in SPLIT_WORDS:
            return SPLIT_WORDS[word]
    raise DataError(
        f"{path}: neither the file's nor the folder's name tells its split",
        "a name that begins with train, val or test, as on the Hub",
        "rename the file",
    )


@contextmanager
def _open(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with storage_errors(path), pq.ParquetFile(path) as file:
            yield file
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a readable Parquet file ({error})", todo="download the file again") from error


def _columns(file: pq.ParquetFile, path: Path) -> dict[str, str]:
    """Return what is read -> the name of its column in this file."""
    present = file.schema_arrow.names
    found = {}
    for what, spellings in SPELLINGS.items():
        names = [name for name in spellings if name in present]
        if len(names) != 1:
            problem = f"columns {' and '.join(names)}" if names else f"no column {' or '.join(spellings)}"
            raise DataError(f"{path}: {problem} among {', '.join(present)}", f"one column for {what}")
        found[what] = names[0]
    return found


def _batches(
    file: pq.ParquetFile, rows: npt.NDArray[np.int64], columns: list[str]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the batches that hold any of `rows`, each with the number of its first row."""
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    first = 0
    for group, size in enumerate(sizes):
        start = first
        first += size
        if not ((rows >= start) & (rows < first)).any():
            continue
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
            if ((rows >= start) & (rows < start + batch.num_rows)).any():
                yield start, batch
            start += batch.num_rows


def _integers(column: pa.ChunkedArray, path: Path) -> npt.NDArray[np.int64]:
    """Return TARGETIDs, from integers or their decimal digits."""
    if not (pa.types.is_integer(column.type) or pa.types.is_string(column.type)):
        raise DataError(f"{path}: TARGETIDs of type {column.type}", "int64, or text")
    try:
        values: npt.NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: a TARGETID is no whole number ({error})") from error
    return values


def _nested(column: pa.Array, path: Path, name: str) -> npt.NDArray[Any]:
    """Return nested lists, of fixed length or not, as an array (n, ...); all rows have one shape.

    Raises
    ------
    DataError
        If the lengths differ from row to row, or a value is null.
    """
    import pyarrow.compute as pc

    values = column.storage if isinstance(column, pa.ExtensionArray) else column
    shape = [len(values)]
    while pa.types.is_nested(values.type):
        lengths = pc.min_max(pc.list_value_length(values)).as_py()
        if values.null_count or lengths["min"] != lengths["max"]:
            raise DataError(f"{path}: column {name!r} has rows of different shapes, or none", "one shape in all rows")
        shape.append(lengths["max"])
        values = values.flatten()
    if values.null_count:
        raise DataError(f"{path}: column {name!r} has {values.null_count} null values", "numbers throughout")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(shape)
