"""Reading the Parquet files of a data set, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from astroclip_bench.datasets.arrays import select_table_rows
from astroclip_bench.datasets.digests import ContentDigest
from astroclip_bench.errors import DataError
from astroclip_bench.files import storage_errors


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Turn whatever pyarrow raises on a damaged file into one line that names it."""
    try:
        with storage_errors(path):
            try:
                yield
            except pa.ArrowException as error:
                raise _damaged(path, error) from error
            except OSError as error:
                # Arrow reports broken pages as an OSError without a number; the system's own errors carry one.
                if error.errno is None:
                    raise _damaged(path, error) from error
                raise
    except KeyError as error:
        raise DataError(f"{path}: column {error} is missing", todo="build or download the data set again") from error


def _damaged(path: Path, error: Exception) -> DataError:
    reason = str(error).splitlines()[0].rstrip(".")
    return DataError(f"{path}: not a readable Parquet file ({reason})", todo="build or download the data set again")


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file; checksums of the pages read are verified."""
    with parquet_errors(path):
        return pq.ParquetFile(path, page_checksum_verification=True)


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read whole columns of one file."""
    with parquet_errors(path):
        return pq.read_table(path, columns=list(columns), partitioning=None, page_checksum_verification=True)


def row_groups(path: Path, columns: Sequence[str], wanted: npt.NDArray[np.bool_] | None = None) -> Iterator[pa.Table]:
    """Yield the row groups of a file one after the other; of the rows flagged in `wanted` alone, if given.

    A row group without a wanted row is not read. Reading group by group keeps memory at one group, where the
    iterator of Parquet batches buffers the columns of the whole file.
    """
    with open_parquet(path) as file:
        start = 0
        for index in range(file.num_row_groups):
            stop = start + file.metadata.row_group(index).num_rows
            mask = None if wanted is None else wanted[start:stop]
            start = stop
            if mask is not None and not mask.any():
                continue
            with parquet_errors(path):
                table = file.read_row_group(index, columns=list(columns))
            yield table if mask is None or mask.all() else select_table_rows(table, mask)


@dataclass(frozen=True)
class Scan:
    """What reading all rows of a file shows."""

    rows: int
    splits: tuple[str, ...]
    content: str
    object_ids: pa.ChunkedArray
    healpix: pa.ChunkedArray


def scan_rows(path: Path) -> Scan:
    """Read every row of a file and return its content digest, splits, identifiers and pixels."""
    with open_parquet(path) as file:
        schema = file.schema_arrow
    digest = ContentDigest(schema)
    kept: list[pa.Table] = []
    for table in row_groups(path, schema.names):
        digest.update(table)
        with parquet_errors(path):
            kept.append(table.select(["object_id", "healpix", "split"]))
    rows = pa.concat_tables(kept or [schema.empty_table().select(["object_id", "healpix", "split"])])
    splits = tuple(sorted(map(str, pc.unique(rows["split"]).to_pylist())))
    return Scan(rows.num_rows, splits, digest.hexdigest(), rows["object_id"], rows["healpix"])
