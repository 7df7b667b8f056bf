"""A digest of what a table says, whatever wrote it.

The digest covers the values of every column as little-endian bytes, strings with their length before them, and which
values are missing. Compression, row groups, chunks and the version of pyarrow leave it as it is; so a data set that
is built again anywhere can be compared with the one a score was made on.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from astroclip_bench.datasets.arrays import array_shape, arrow_to_numpy, numpy_to_arrow, present, value_type
from astroclip_bench.records import digest_columns

DIGEST_BYTES = 16


def type_name(dtype: pa.DataType) -> str:
    """Return the name of a column type, such as ``float[3,152,152]`` or ``string``."""
    shape = array_shape(dtype)
    return str(value_type(dtype)) + (f"[{','.join(map(str, shape))}]" if shape else "")


class ContentDigest:
    """A running digest of the rows of one file: feed batches in order, then ask for `hexdigest`.

    Previews are left out: they are made from the other columns, and an encoder's bytes change with its version.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._types = {field.name: type_name(field.type) for field in digest_columns(schema)}
        # Values and missing flags are hashed apart, so that where a batch ends does not show in the result.
        self._values = {name: hashlib.blake2b(digest_size=DIGEST_BYTES) for name in self._types}
        self._present = {name: hashlib.blake2b(digest_size=DIGEST_BYTES) for name in self._types}
        self._rows = 0

    def update(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Add rows, which have the columns of the schema."""
        self._rows += rows.num_rows
        for name in self._types:
            column = rows.column(name)
            for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
                self._values[name].update(_value_bytes(chunk))
                self._present[name].update(np.asarray(chunk.is_valid()).astype(np.uint8).tobytes())

    def hexdigest(self) -> str:
        """Return the digest, 32 hexadecimal digits."""
        digest = hashlib.blake2b(json.dumps([self._rows, self._types]).encode(), digest_size=DIGEST_BYTES)
        for name in self._types:
            digest.update(self._values[name].digest())
            digest.update(self._present[name].digest())
        return digest.hexdigest()


def _value_bytes(column: pa.Array) -> Any:
    """Return the canonical bytes of a column's values: zero, or an empty string, where one is missing."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        encoded = [(text or "").encode() for text in column.to_pylist()]
        return b"".join(len(text).to_bytes(8, "little") + text for text in encoded)
    if column.null_count and array_shape(column.type):
        values = np.zeros((len(column), *array_shape(column.type)), value_type(column.type).to_pandas_dtype())
        values[np.asarray(column.is_valid())] = arrow_to_numpy(present(column))
        column = numpy_to_arrow(values)
    elif column.null_count:
        column = pc.fill_null(column, pa.scalar(0).cast(column.type))
    values = np.ascontiguousarray(arrow_to_numpy(column))
    little_endian = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return little_endian.reshape(-1).view(np.uint8).data


def json_digest(value: Any) -> str:
    """Return the digest of a plain JSON value, keys in sorted order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()
