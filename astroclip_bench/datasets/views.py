"""A data set and its splits as the rest of the harness sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from astroclip_bench.datasets.arrays import arrow_to_numpy, select_table_rows
from astroclip_bench.datasets.manifest import FileEntry, Manifest
from astroclip_bench.datasets.parquet import read_columns, row_groups
from astroclip_bench.errors import DataError
from astroclip_bench.records import DatasetInfo, Modality, columns_of_role

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Batch:
    """Some rows of a split: their identifiers, and one read-only array (n, *shape) a column."""

    object_ids: list[str]
    arrays: dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class SplitView:
    """The rows of one split, or a subsample of them, in file order; nothing is read until it is asked for."""

    name: str
    folder: Path
    files: tuple[FileEntry, ...]
    schema: pa.Schema
    selected: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    """Flag of each row of the files; None takes them all."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(entry.rows for entry in self.files) if self.selected is None else int(self.selected.sum())

    @cached_property
    def object_ids(self) -> list[str]:
        """Identifiers of the rows, in order."""
        return [str(value) for value in self.table(["object_id"])["object_id"].to_pylist()]

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Return whole columns as an Arrow table, schema metadata included."""
        self._require(columns)
        empty = pa.schema([self.schema.field(name) for name in columns]).empty_table()
        parts = [read_columns(self.folder / entry.path, columns).select(list(columns)) for entry in self.files]
        table = pa.concat_tables([empty, *(part.replace_schema_metadata(None) for part in parts)])
        table = table if self.selected is None else select_table_rows(table, self.selected)
        return table.replace_schema_metadata(self.schema.metadata)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return one column: numbers as float64 with NaN where missing, integers as int64, strings as objects.

        A column of arrays comes as float32 of shape (n, *shape).
        """
        values = arrow_to_numpy(self.table([name])[name].combine_chunks())
        if values.ndim == 1 and values.dtype.kind in "fb":
            return values.astype(np.float64)
        return values.astype(np.int64) if values.dtype.kind in "iu" else values

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[Batch]:
        """Yield batches of `batch_size` rows (the last may be smaller) of the columns asked for, and no others.

        Arrays are views of Arrow's memory, except where a batch joins two row groups. The next row group is read in
        a thread meanwhile; memory holds two row groups and one batch.

        Raises
        ------
        DataError
            If a column is not in the data set, or a file is damaged.
        """
        self._require(columns)
        if batch_size < 1:
            raise DataError(f"batch size {batch_size}", "at least 1")
        names = list(dict.fromkeys(["object_id", *columns]))
        pending: list[pa.Table] = []
        waiting = 0
        for group in _read_ahead(self._row_groups(names)):
            start = 0
            while waiting + group.num_rows - start >= batch_size:
                part = group.slice(start, batch_size - waiting)
                start += part.num_rows
                yield table_to_batch(pa.concat_tables([*pending, part]), columns)
                pending, waiting = [], 0
            if start < group.num_rows:
                pending.append(group.slice(start))
                waiting += group.num_rows - start
        if pending:
            yield table_to_batch(pa.concat_tables(pending), columns)

    def subsample(self, n: int) -> SplitView:
        """Return the `n` rows whose identifiers hash lowest (BLAKE2b), in file order; all rows if there are fewer.

        The choice depends on the identifiers alone, and a smaller subsample is part of every larger one.
        """
        if n >= self.rows:
            return self
        if n < 1:
            raise DataError(f"a subsample of {n} rows", "at least 1")
        keep = np.zeros(self.rows, bool)
        keep[lowest_hashes(self.object_ids, n)] = True
        selected = keep
        if self.selected is not None:
            selected = self.selected.copy()
            selected[self.selected] = keep
        return replace(self, selected=selected)

    def to_hf(self) -> datasets.Dataset:
        """Return the rows as a memory-mapped `datasets.Dataset`, kept in the cache between runs."""
        from astroclip_bench.datasets.hf import split_to_hf

        return split_to_hf(self)

    def _require(self, columns: Sequence[str]) -> None:
        missing = [name for name in columns if name not in self.schema.names]
        if missing:
            raise DataError(f"no column {missing[0]!r} in the data set", f"one of {', '.join(self.schema.names)}")

    def _row_groups(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        start = 0
        for entry in self.files:
            wanted = None if self.selected is None else self.selected[start : start + entry.rows]
            start += entry.rows
            yield from row_groups(self.folder / entry.path, columns, wanted)


@dataclass(frozen=True)
class BenchDataset:
    """An opened data set: what it is, what it offers, and its splits."""

    folder: Path
    info: DatasetInfo
    modalities: dict[str, Modality]
    schema: pa.Schema
    manifest: Manifest
    splits: Mapping[str, SplitView]

    @property
    def digest(self) -> str:
        """Digest of the data, which every result made on it carries."""
        return self.manifest.digest

    @property
    def labels(self) -> list[str]:
        """Names of the label columns."""
        return columns_of_role(self.schema, "label")


def lowest_hashes(object_ids: Sequence[str], n: int, draw: int = 0) -> npt.NDArray[np.int64]:
    """Return the positions, rising, of the `n` identifiers that hash lowest (BLAKE2b, salted by `draw`).

    The choice depends on the identifiers alone, and a smaller one is part of every larger one of the same `draw`.
    """
    salt = draw.to_bytes(hashlib.blake2b.SALT_SIZE, "little")
    hashes = [hashlib.blake2b(value.encode(), digest_size=8, salt=salt).digest() for value in object_ids]
    return np.sort(np.argsort(np.array(hashes, "S8"), kind="stable")[:n])


def table_to_batch(table: pa.Table, columns: Sequence[str]) -> Batch:
    """Return the rows of an Arrow table as a batch of read-only arrays."""
    arrays = {name: arrow_to_numpy(table[name]) for name in columns}
    for array in arrays.values():
        array.flags.writeable = False
    return Batch([str(value) for value in pc.cast(table["object_id"], pa.string()).to_pylist()], arrays)


def _read_ahead(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same tables, the next one being read in a thread while this one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="row-group") as thread:
        upcoming = thread.submit(next, tables, None)
        while (table := upcoming.result()) is not None:
            upcoming = thread.submit(next, tables, None)
            yield table
