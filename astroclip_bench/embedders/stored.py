"""Embeddings computed elsewhere, in a file keyed by object id.

Three spellings, each with the ids under ``object_id`` and one entry a modality, named like it:

* ``.parquet``: a string (or integer) column of ids, and (fixed-size) list columns of floats;
* ``.npz`` without pickle: a 1-d array of strings or integers, and 2-d float arrays;
* ``.safetensors``: an int64 tensor of ids, or the header entry ``object_id`` with a JSON list, and 2-d float tensors.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.embedders.protocol import Arrays, EmbedderInfo, Vectors
from astroclip_bench.embedders.weights import FORMAT, require_file
from astroclip_bench.errors import EmbedderError
from astroclip_bench.files import sha256_file

if TYPE_CHECKING:
    import pyarrow as pa

ID_KEY = "object_id"
N_SHOWN = 3


class StoredEmbeddings:
    """Vectors looked up by object id.

    Parameters
    ----------
    object_ids
        Unique, in the order of the vectors' rows.
    vectors
        Modality -> (n, d) float32, finite. Where d differs between modalities, they share no space.
    """

    def __init__(
        self,
        name: str,
        digest: str,
        object_ids: Sequence[str],
        vectors: Mapping[str, Vectors],
        where: str | None = None,
    ) -> None:
        where = where or name
        self._row = _row_by_id(object_ids, where)
        self._vectors = {
            modality: _checked(array, modality, object_ids, where) for modality, array in sorted(vectors.items())
        }
        if not self._vectors:
            raise EmbedderError(f"{where} has no embeddings", "one entry a modality, named like it, beside object_id")
        dimensions = {array.shape[1] for array in self._vectors.values()}
        if len(dimensions) > 1:
            found = ", ".join(f"{modality} {array.shape[1]}" for modality, array in self._vectors.items())
            raise EmbedderError(
                f"{where}: the modalities' vectors have different lengths: {found}",
                "one length",
                "write modalities that share no space into files of their own",
            )
        self.info = EmbedderInfo(
            name=name,
            digest=digest,
            dimension=dimensions.pop(),
            modalities=tuple(self._vectors),
            preprocessing="computed elsewhere",
            details={"source": Path(where).name, "objects": len(self._row)},
        )

    def lookup(self, object_ids: Sequence[str], modality: str) -> Vectors:
        """Return the vectors (n, d) of these objects, in this order.

        Raises
        ------
        EmbedderError
            If the modality is not in the file, or objects are missing (how many, and the first three).
        """
        if modality not in self._vectors:
            raise EmbedderError(f"{self.info.name!r} has no modality {modality!r}", ", ".join(self._vectors))
        missing = [name for name in object_ids if name not in self._row]
        if missing:
            raise EmbedderError(
                f"{self.info.name!r} has no vectors for {len(missing)} of {len(object_ids)} objects: {_some(missing)}",
                "the ids of the data set it is scored on",
                "compute the embeddings of every object, in all splits",
            )
        return self._vectors[modality][[self._row[name] for name in object_ids]]

    def embed(self, batch: Arrays, modality: str) -> Vectors:
        """Refuse: stored vectors belong to ids, not to inputs.

        Raises
        ------
        EmbedderError
            Always; `lookup` is the way to these vectors.
        """
        raise EmbedderError(f"{self.info.name!r} holds precomputed embeddings and cannot embed new objects")


def read_stored(path: Path | str, name: str | None = None) -> StoredEmbeddings:
    """Read precomputed embeddings from ``.parquet``, ``.npz`` or ``.safetensors``.

    Raises
    ------
    EmbedderError
        If the file is missing, damaged or carries a pickle; ids are duplicated or no strings or integers; an array is
        not a 2-d array of finite floats with one row an id.
    """
    path = Path(path)
    require_file(path)
    readers = {".parquet": _read_parquet, ".npz": _read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise EmbedderError(f"{path}: suffix {path.suffix!r}", ", ".join(readers))
    ids, arrays = readers[path.suffix](path)
    if ids is None:
        raise EmbedderError(
            f"{path} has no {ID_KEY!r}", f"the objects' ids under {ID_KEY!r}; it has {_some(list(arrays)) or 'nothing'}"
        )
    return StoredEmbeddings(name or path.stem, sha256_file(path), _id_strings(ids, path), arrays, str(path))


def holds_stored(path: Path) -> bool:
    """Say whether a readable ``.safetensors`` file holds precomputed embeddings rather than a model."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            return metadata.get("format") != FORMAT and (ID_KEY in metadata or ID_KEY in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        return False


def _read_parquet(path: Path) -> tuple[Any, dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise EmbedderError(f"{path} is not a readable Parquet file: {error}", todo="write it again") from error
    arrays = {name: _list_column(table[name], name, path) for name in table.column_names if name != ID_KEY}
    if ID_KEY not in table.column_names:
        return None, arrays
    ids = table[ID_KEY]
    if not (pa.types.is_integer(ids.type) or pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)):
        raise EmbedderError(f"{path}: {ID_KEY} has type {ids.type}", "strings, or integers")
    if ids.null_count:
        raise EmbedderError(f"{path}: {ids.null_count} ids are null")
    return np.array(ids.to_pylist()), arrays


def _list_column(column: pa.ChunkedArray, name: str, path: Path) -> npt.NDArray[Any]:
    """Return a list column as an array (n, d); lists of unequal length or null are refused."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise EmbedderError(
            f"{path}: column {name!r} has type {kind}", f"{ID_KEY!r}, or lists of floats named by modality"
        )
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    values = pc.list_flatten(column)
    if None in lengths or len(lengths) > 1 or values.null_count:
        raise EmbedderError(
            f"{path}: lists in column {name!r} are null or of lengths {lengths[:N_SHOWN]}", "equal lengths, no null"
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


def _id_strings(ids: npt.NDArray[Any], path: Path) -> list[str]:
    if ids.ndim != 1 or ids.dtype.kind not in "iuU":
        raise EmbedderError(
            f"{path}: {ID_KEY} is a {ids.ndim}-d array of {ids.dtype}", "a 1-d array of strings or integers"
        )
    return [str(name) for name in ids.tolist()]


def _row_by_id(object_ids: Sequence[str], where: str) -> dict[str, int]:
    rows = {name: row for row, name in enumerate(object_ids)}
    if len(rows) < len(object_ids):
        repeated = [name for name, count in Counter(object_ids).items() if count > 1]
        raise EmbedderError(
            f"{where}: {len(repeated)} object ids occur more than once: {_some(repeated)}", "each id once"
        )
    return rows


def _checked(array: npt.NDArray[Any], modality: str, object_ids: Sequence[str], where: str) -> Vectors:
    """Return one modality's vectors as float32 (n, d)."""
    if array.ndim != 2 or array.dtype.kind != "f" or array.shape[1] == 0:
        raise EmbedderError(
            f"{where}: {modality!r} is a {array.ndim}-d array of {array.dtype}, shape {array.shape}",
            "a 2-d array of floats",
        )
    if len(array) != len(object_ids):
        raise EmbedderError(f"{where}: {modality!r} has {len(array)} rows", f"{len(object_ids)}, one an object id")
    with np.errstate(over="ignore"):  # shows as infinity below
        vectors: Vectors = np.asarray(array, np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        names = _some([object_ids[row] for row in bad[:N_SHOWN]], len(bad))
        raise EmbedderError(
            f"{where}: {modality!r} has NaN or infinity (as float32) for {len(bad)} objects: {names}", "finite values"
        )
    return vectors


def _some(names: Sequence[str], count: int | None = None) -> str:
    more = (len(names) if count is None else count) > N_SHOWN
    return ", ".join(names[:N_SHOWN]) + (", ..." if more else "")
