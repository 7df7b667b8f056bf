"""Arrow columns as numpy arrays and back, without copying where Arrow allows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from astroclip_bench.errors import DataError


def array_shape(dtype: pa.DataType) -> tuple[int, ...]:
    """Return the shape of one row of nested fixed-size lists; () for a scalar type."""
    shape: list[int] = []
    while pa.types.is_fixed_size_list(dtype):
        shape.append(dtype.list_size)
        dtype = dtype.value_type
    return tuple(shape)


def value_type(dtype: pa.DataType) -> pa.DataType:
    """Return the type of the innermost values."""
    while pa.types.is_fixed_size_list(dtype):
        dtype = dtype.value_type
    return dtype


def arrow_to_numpy(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a column as an array of shape (n, *shape).

    Numbers of one chunk without nulls are a read-only view of Arrow's memory, whatever slice of a larger array the
    column is; several chunks are joined by one copy. A missing number becomes NaN (an integer column with nulls
    therefore becomes float64), as do all values of a missing array. Strings become an object array, with None where
    missing.

    Raises
    ------
    DataError
        If a part of an array (a nested fixed-size list) is null.
    """
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks != 1:
            parts = [arrow_to_numpy(chunk) for chunk in column.chunks]
            return np.concatenate(parts) if parts else arrow_to_numpy(pa.array([], column.type))
        column = column.chunk(0)
    shape = array_shape(column.type)
    if not shape:
        return _scalars_to_numpy(column)
    rows = len(column)
    if column.null_count:
        values = np.full((rows, *shape), np.nan, np.result_type(value_type(column.type).to_pandas_dtype(), np.float32))
        values[np.asarray(column.is_valid())] = arrow_to_numpy(present(column))
        return values
    values = column
    for _ in shape:
        _refuse_nulls(values, column.type)
        values = values.flatten()
    _refuse_nulls(values, column.type)
    return np.asarray(values.to_numpy(zero_copy_only=True)).reshape(rows, *shape)


def numpy_to_arrow(array: npt.NDArray[Any], dtype: pa.DataType | None = None) -> pa.Array:
    """Return an array of shape (n, *shape) as nested fixed-size lists over the same memory.

    Parameters
    ----------
    dtype
        The type of the result; taken from the array if not given. Values are converted if the innermost type differs.

    Raises
    ------
    DataError
        If the shape of the array does not fit `dtype`.
    """
    shape = array.shape[1:]
    if dtype is not None and array_shape(dtype) != shape:
        raise DataError(f"an array with rows of shape {shape}", f"shape {array_shape(dtype)}")
    leaf = value_type(dtype) if dtype is not None else None
    result = pa.array(np.ascontiguousarray(array).reshape(-1), type=leaf)
    for length in reversed(shape):
        result = pa.FixedSizeListArray.from_arrays(result, length)
    return result


def select_rows(batch: pa.RecordBatch, mask: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    """Return the rows of a batch flagged in `mask` (n,).

    Arrow's own `filter` crashes the process on a slice of nested fixed-size lists (pyarrow 26), so the runs of flagged
    rows are joined instead.
    """
    return pa.concat_batches([batch.slice(0, 0), *(batch.slice(start, stop - start) for start, stop in _runs(mask))])


def select_table_rows(table: pa.Table, mask: npt.NDArray[np.bool_]) -> pa.Table:
    """Return the rows of a table flagged in `mask` (n,), as views of it; see `select_rows`."""
    return pa.concat_tables([table.slice(0, 0), *(table.slice(start, stop - start) for start, stop in _runs(mask))])


def present(column: pa.Array) -> pa.Array:
    """Return the values of a column that are not null; in place of `drop_null`, for the reason given at `select_rows`."""
    runs = _runs(np.asarray(column.is_valid()))
    return pa.concat_arrays([column.slice(0, 0), *(column.slice(start, stop - start) for start, stop in runs)])


def _runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the start and stop of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _scalars_to_numpy(column: pa.Array) -> npt.NDArray[Any]:
    """Return scalars as numpy; booleans and strings are always copied, as Arrow packs them."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array([*column.to_pylist(), None], object)[:-1]
    if pa.types.is_boolean(column.type) and column.null_count:
        column = column.cast(pa.float32())
    zero_copy = column.null_count == 0 and not pa.types.is_boolean(column.type)
    return np.asarray(column.to_numpy(zero_copy_only=zero_copy))


def _refuse_nulls(values: pa.Array, dtype: pa.DataType) -> None:
    if values.null_count:
        raise DataError(f"{values.null_count} null values in a column of type {dtype}", "numbers throughout")
