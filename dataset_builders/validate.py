"""Every row a builder makes is checked before it is written."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from astroclip_bench.datasets.arrays import array_shape, arrow_to_numpy, present, select_rows, value_type
from astroclip_bench.datasets.digests import type_name
from astroclip_bench.errors import DataError
from astroclip_bench.records import SPLITS


def conform(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    """Return the batch with exactly the schema's types, after checking its values.

    Raises
    ------
    DataError
        If a column is missing or of another type; an identifier, position or modality is null; a number is not
        finite; or a split has another name. The message counts the values at fault.
    """
    if batch.schema.names != schema.names:
        missing = [name for name in schema.names if name not in batch.schema.names]
        found = f"column {missing[0]!r} is missing" if missing else f"columns {', '.join(batch.schema.names)}"
        raise DataError(f"{where}: {found}", f"the columns {', '.join(schema.names)}, in this order")
    for field in schema:
        column = batch.column(field.name)
        if type_name(column.type) != type_name(field.type):
            raise DataError(
                f"{where}: column {field.name!r} has type {type_name(column.type)}", f"{type_name(field.type)}"
            )
        if not field.nullable and column.null_count:
            raise DataError(f"{where}: column {field.name!r} is null in {column.null_count} rows", "a value in each")
        _check_finite(column, field, where)
    _check_words(batch, where)
    return pa.RecordBatch.from_arrays(
        [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
    )


def _check_finite(column: pa.Array, field: pa.Field, where: str) -> None:
    if not pa.types.is_floating(value_type(field.type)):
        return
    bad = ~np.isfinite(arrow_to_numpy(present(column) if column.null_count else column))
    if not bad.any():
        return
    kind = "values" if array_shape(field.type) else "rows"
    expected = "null where a value is missing" if field.nullable else "finite numbers"
    raise DataError(f"{where}: column {field.name!r} has {int(bad.sum())} {kind} that are not finite", expected)


def _check_words(batch: pa.RecordBatch, where: str) -> None:
    unknown = set(pc.unique(batch.column("split")).to_pylist()) - set(SPLITS)
    if unknown:
        raise DataError(f"{where}: split {min(unknown)!r}", f"one of {', '.join(SPLITS)}")
    empty = pc.sum(pc.equal(pc.utf8_length(batch.column("object_id")), 0)).as_py()
    if empty:
        raise DataError(f"{where}: {empty} object ids are empty", "an identifier in every row")


def select_splits(batch: pa.RecordBatch, splits: Collection[str] | None) -> pa.RecordBatch:
    """Return the rows of the batch that belong to `splits` (all, if None); a helper for sources."""
    if splits is None:
        return batch
    return select_rows(batch, np.isin(arrow_to_numpy(batch.column("split")), list(splits)))
