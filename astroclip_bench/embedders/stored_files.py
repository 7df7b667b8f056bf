"""The spellings of precomputed embeddings: from a file to ids and arrays, which `stored` checks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import EmbedderError

if TYPE_CHECKING:
    import pyarrow as pa

ID_KEY = "object_id"
PREDICTION = re.compile(r"predicted_(?P<target>.+)_from_(?P<modality>.+)")
PREDICTION_NAME = "predicted_<target>_from_<modality>"


def _read_parquet(path: Path) -> tuple[Any, dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise EmbedderError(f"{path} is not a readable Parquet file: {error}", todo="write it again") from error
    arrays = {name: _column(table[name], name, path) for name in table.column_names if name != ID_KEY}
    if ID_KEY not in table.column_names:
        return None, arrays
    ids = table[ID_KEY]
    if not (pa.types.is_integer(ids.type) or pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)):
        raise EmbedderError(f"{path}: {ID_KEY} has type {ids.type}", "strings, or integers")
    if ids.null_count:
        raise EmbedderError(f"{path}: {ids.null_count} ids are null")
    return np.array(ids.to_pylist()), arrays


def _column(column: pa.ChunkedArray, name: str, path: Path) -> npt.NDArray[Any]:
    import pyarrow as pa

    if PREDICTION.fullmatch(name) and pa.types.is_floating(column.type):
        return np.asarray(column.to_numpy())  # null becomes NaN
    return _list_column(column, name, path)


def _list_column(column: pa.ChunkedArray, name: str, path: Path) -> npt.NDArray[Any]:
    """Return a list column as an array (n, d); lists of unequal length or null are refused."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise EmbedderError(
            f"{path}: column {name!r} has type {kind}",
            f"{ID_KEY!r}, lists of floats named by modality, or floats named {PREDICTION_NAME}",
        )
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    values = pc.list_flatten(column)
    if None in lengths or len(lengths) > 1 or values.null_count:
        raise EmbedderError(
            f"{path}: lists in column {name!r} are null or of lengths {lengths[:3]}", "equal lengths, no null"
        )
    if not lengths:
        raise EmbedderError(f"{path} has no rows")
    return np.asarray(values.to_numpy().reshape(len(column), -1))


def _read_npz(path: Path) -> tuple[Any, dict[str, Any]]:
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except ValueError as error:
        if "pickle" not in str(error).lower():
            raise EmbedderError(
                f"{path} is not a readable npz file: {error}", todo="write it again with numpy.savez"
            ) from error
        raise EmbedderError(
            f"{path} holds pickled Python objects; it was not loaded",
            "arrays of numbers and of fixed-width strings",
            "write the ids as numpy.array(ids, dtype=str)",
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, AttributeError, KeyError) as error:
        raise EmbedderError(
            f"{path} is not a readable npz file: {error}", todo="write it again with numpy.savez"
        ) from error
    return arrays.pop(ID_KEY, None), arrays


def _read_safetensors(path: Path) -> tuple[Any, dict[str, Any]]:
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(ID_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        listed = json.loads(header) if header is not None else None
    except (SafetensorError, OSError, ValueError) as error:
        raise EmbedderError(f"{path} is not a readable safetensors file: {error}", todo="write it again") from error
    ids = tensors.pop(ID_KEY, None)
    arrays = {
        name: _as_numpy(value.float() if value.dtype == torch.bfloat16 else value) for name, value in tensors.items()
    }
    return (np.array(listed) if ids is None and listed is not None else ids if ids is None else _as_numpy(ids)), arrays


def _as_numpy(tensor: Any) -> npt.NDArray[Any]:
    return np.asarray(tensor.numpy())


READERS: Mapping[str, Callable[[Path], tuple[Any, dict[str, Any]]]] = {
    ".parquet": _read_parquet,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}
"""Suffix -> a function that returns the ids, or None where there are none, and the arrays by name."""
