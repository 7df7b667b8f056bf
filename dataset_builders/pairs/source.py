"""Planned pairs as a record source: spectra and images are loaded as their rows are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from astroclip_bench.datasets.arrays import array_shape, arrow_to_numpy, numpy_to_arrow, present, select_rows
from astroclip_bench.records import DatasetInfo
from dataset_builders.pairs.index import IndexedFiles
from dataset_builders.preview import preview_array
from dataset_builders.source import Configuration
from dataset_builders.upstream.reader import GOOD, PayloadReader
from dataset_builders.validate import select_splits

BATCH_ROWS = 128
"""Pairs loaded at a time: 45 MB of images and spectra."""


@dataclass(frozen=True)
class Payloads:
    """A reader and its files by number; `side` says which of the plan's pointers lead to it."""

    side: str
    reader: PayloadReader
    files: tuple[Path, ...]

    @classmethod
    def of(cls, side: str, indexed: IndexedFiles, reader: PayloadReader) -> Payloads:
        """Return the payloads of an index."""
        return cls(side, reader, indexed.paths)

    def load(
        self, plan: pa.RecordBatch, names: Collection[str]
    ) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.object_]]:
        """Return the heavy columns of the planned rows, those of `names` alone, and what is wrong with each row.

        Each file is opened once.
        """
        number, row = (np.asarray(plan.column(f"{self.side}_{name}")) for name in ("file", "row"))
        order = np.lexsort([row, number])
        columns: dict[str, npt.NDArray[Any]] = {}
        faults = np.empty(len(row), object)
        for file in np.unique(number):
            places = order[number[order] == file]
            payload = self.reader.load(self.files[file], row[places].astype(np.int64))
            faults[places] = payload.faults
            for name in payload.columns.keys() & set(names):
                values = payload.columns[name]
                if name not in columns:
                    columns[name] = np.empty((len(row), *values.shape[1:]), values.dtype)
                columns[name][places] = values
        return columns, faults


@dataclass(frozen=True)
class PairSource:
    """The rows of a plan, one shard for each of its files.

    Parameters
    ----------
    plan
        The plan's Parquet files, in order.
    sizes
        Number of planned rows of each.
    record
        What `build_record` returns: inputs, options and counts.
    sections
        What `card` returns.
    responsible
        What `responsible_ai` returns.
    """

    info: DatasetInfo
    schema: pa.Schema
    plan: tuple[Path, ...]
    sizes: tuple[int, ...]
    spectra: Payloads
    images: Payloads
    record: Mapping[str, Any]
    sections: Mapping[str, str]
    configurations: Mapping[str, Configuration] = field(default_factory=dict)
    responsible: Mapping[str, str | Sequence[str]] = field(default_factory=dict)

    def responsible_ai(self) -> Mapping[str, str | Sequence[str]]:
        """Return the data set's own texts on origin and limits."""
        return self.responsible

    @property
    def shards(self) -> range:
        """One for each file of the plan."""
        return range(len(self.plan))

    def shard_size(self, shard: int) -> int:
        """Return the number of planned rows; those whose payload cannot be used are yet to be left out."""
        return self.sizes[shard]

    def build_record(self) -> Mapping[str, Any]:
        """Return inputs, options and counts."""
        return self.record

    def card(self) -> Mapping[str, str]:
        """Return the data set's own sections."""
        return self.sections

    def rows(
        self, shard: int, splits: Collection[str] | None = None
    ) -> Generator[pa.RecordBatch, None, dict[str, int]]:
        """Yield the planned rows with their spectra and images; return how many had to be left out, by reason."""
        dropped: Counter[str] = Counter()
        table = pq.read_table(self.plan[shard], partitioning=None)
        for start in range(0, table.num_rows, BATCH_ROWS):
            [plan] = table.slice(start, BATCH_ROWS).combine_chunks().to_batches()
            plan = select_splits(plan, splits)
            if plan.num_rows:
                batch, faults = self._batch(plan)
                dropped.update(faults)
                yield batch
        return dict(dropped)

    def _batch(self, plan: pa.RecordBatch) -> tuple[pa.RecordBatch, list[str]]:
        """Return the rows that can be used, and what is wrong with each of the others."""
        heavy, faults = self.spectra.load(plan, self.schema.names)
        images, image_faults = self.images.load(plan, self.schema.names)
        faults = np.where(faults == GOOD, image_faults, faults)
        heavy |= images
        keep = faults == GOOD
        if not keep.all():
            plan, heavy = select_rows(plan, keep), {name: values[keep] for name, values in heavy.items()}
        columns = [self._column(field, plan, heavy) for field in self.schema]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema), faults[~keep].tolist()

    def _column(self, field: pa.Field, plan: pa.RecordBatch, heavy: Mapping[str, npt.NDArray[Any]]) -> pa.Array:
        if field.name == "preview":
            return preview_array(heavy["image"])
        if field.name in heavy:
            return numpy_to_arrow(heavy[field.name], field.type)
        return _nullable(plan.column(field.name), field)


def _nullable(column: pa.Array, field: pa.Field) -> pa.Array:
    """Return a plan's column in the record's type, a value that is not finite as missing."""
    if array_shape(field.type):
        return _whole_arrays(column, field.type)
    if pa.types.is_floating(column.type) and field.nullable:
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    return column.cast(field.type)


def _whole_arrays(column: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Return a column of arrays as `dtype`; an array with a value that is not finite is missing as a whole."""
    valid = np.asarray(column.is_valid())
    values = np.zeros((len(column), *array_shape(dtype)), np.float32)
    if valid.any():
        values[valid] = arrow_to_numpy(present(column))
    finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    flat = pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=dtype, mask=pa.array(~(valid & finite)))
