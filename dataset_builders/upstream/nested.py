"""Arrays in upstream Parquet files: nested lists, of fixed length or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from astroclip_bench.errors import DataError


def nested_to_numpy(column: pa.Array, where: str) -> npt.NDArray[Any]:
    """Return nested lists as an array (n, ...).

    Raises
    ------
    DataError
        If a list or value is null, or the lengths differ from row to row.
    """
    values = column.storage if isinstance(column, pa.ExtensionArray) else column
    shape = [len(values)]
    while pa.types.is_nested(values.type):
        lengths = pc.min_max(pc.list_value_length(values)).as_py()
        if values.null_count or lengths["min"] != lengths["max"]:
            raise DataError(f"{where} has rows of different shapes, or none", "one shape in all rows")
        shape.append(lengths["max"] or 0)
        values = values.flatten()
    if values.null_count:
        raise DataError(f"{where} has {values.null_count} null values", "a value everywhere")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(shape)
