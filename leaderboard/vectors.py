"""Embeddings of one split in a Parquet file: float16, keyed by object id, as the harness takes stored embeddings.

The file holds ``object_id`` (string), a list of float16 for each modality, named like it, and a float32
``predicted_<target>_from_<modality>`` for each label that the model itself predicts. Files come from anyone: what a file
says of itself is compared with what the data set's split needs before any value is read, and reading is held to a bound
of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.embedders.stored_files import ID_KEY
from astroclip_bench.files import atomic_path, storage_errors
from leaderboard.errors import SubmissionError

if TYPE_CHECKING:
    import pyarrow as pa

Arrays = Mapping[str, NDArray[Any]]
"""Modality -> vectors (n, d); ``predicted_<target>_from_<modality>`` -> (n,)."""

LARGEST_EXPONENT = 14
"""Vectors are scaled by a power of two to a largest component below 2**14: far from float16's ends (6e-8, 65504)."""
ID_BYTES = 128
SPARE_BYTES = 64 * 2**20
"""Memory that reading may take beside a few times the size of the vectors."""


@dataclass(frozen=True)
class Layout:
    """What a file of embeddings must hold.

    Parameters
    ----------
    modalities
        Names of those embedded, each with vectors of `dimension`.
    predictions
        Names of the entries of predictions.
    """

    modalities: tuple[str, ...]
    dimension: int
    predictions: tuple[str, ...] = ()

    def schema(self) -> pa.Schema:
        """Return the columns, in the order in which they are written."""
        import pyarrow as pa

        vectors = pa.list_(pa.float16(), self.dimension) if self.modalities else None
        columns = [(ID_KEY, pa.string()), *((name, vectors) for name in self.modalities)]
        return pa.schema([*columns, *((name, pa.float32()) for name in self.predictions)])

    def bytes_of(self, rows: int) -> int:
        """Return the most that `rows` objects take, uncompressed, with what Parquet writes beside the values."""
        values = 2 * len(self.modalities) * self.dimension + 4 * len(self.predictions)
        return rows * (2 * values + 2 * ID_BYTES) + 2**20


def common_exponent(splits: Sequence[Arrays], modalities: Sequence[str]) -> int:
    """Return the power of two that scales all vectors at once below 2**`LARGEST_EXPONENT`.

    One for all modalities and splits: no protocol then tells scaled vectors from those they were made of.
    """
    largest = max((float(np.abs(arrays[name]).max(initial=0.0)) for arrays in splits for name in modalities), default=0)
    return 0 if largest == 0 else LARGEST_EXPONENT - int(np.frexp(largest)[1])


def to_float16(arrays: Arrays, modalities: Sequence[str], exponent: int) -> dict[str, NDArray[Any]]:
    """Return vectors scaled by ``2**exponent`` in float16, and predictions in float32."""
    return {
        name: np.ldexp(array.astype(np.float64), exponent).astype(np.float16)
        if name in modalities
        else array.astype(np.float32)
        for name, array in arrays.items()
    }


def write_vectors(path: Path, layout: Layout, object_ids: Sequence[str], arrays: Arrays) -> None:
    """Write a file of embeddings, atomically: arrays as `to_float16` gives them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: list[Any] = [pa.array(object_ids, pa.string())]
    columns += [
        pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(arrays[name]).reshape(-1)), layout.dimension)
        for name in layout.modalities
    ]
    columns += [pa.array(arrays[name]) for name in layout.predictions]
    table = pa.table(columns, schema=layout.schema())
    with atomic_path(path) as temporary:
        # Nothing repeats, so a dictionary would only be in the way.
        pq.write_table(table, temporary, compression="zstd", use_dictionary=False, row_group_size=2**16)


def read_vectors(path: Path, layout: Layout, object_ids: Sequence[str]) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """Return the ids and the arrays of a file, of no other objects than these.

    Whether ids occur twice and values are finite is left to `astroclip_bench.embedders.stored.StoredEmbeddings`, which looks at all splits at once.

    Raises
    ------
    SubmissionError
        If the file claims more, or holds other, than the split needs: rows, columns, types, sizes, ids.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    bound = layout.bytes_of(len(object_ids))
    if path.is_symlink() or not path.is_file():
        raise SubmissionError(f"{path}: no such file, or not a plain one", "a regular file")
    with storage_errors(path):
        size = path.stat().st_size
    if size > bound:
        raise SubmissionError(f"{path}: {size:,} bytes", f"at most {bound:,} for {len(object_ids):,} objects")
    try:
        with memory_bound(4 * bound + SPARE_BYTES), pq.ParquetFile(path, read_dictionary=[ID_KEY]) as file:
            _check_claims(file, layout, len(object_ids), bound, path)
            table = file.read(use_threads=False)
            table.validate(full=True)
            found = _ids(table[ID_KEY], path)
            arrays = {name: _vectors(table[name], layout.dimension, name, path) for name in layout.modalities}
            arrays |= {name: np.asarray(table[name].to_numpy()) for name in layout.predictions}
    except (pa.ArrowException, OSError, MemoryError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SubmissionError(f"{path}: not readable as Parquet within {bound:,} bytes ({reason})") from error
    _check_ids(found, object_ids, path)
    return found, arrays


def _check_claims(file: Any, layout: Layout, rows: int, bound: int, path: Path) -> None:
    """Compare what the footer says with what is needed."""
    metadata, expected = file.metadata, layout.schema()
    if metadata.num_rows != rows:
        raise SubmissionError(f"{path}: {metadata.num_rows:,} rows", f"{rows:,}, one for every object of the split")
    found = {field.name: str(field.type) for field in file.schema_arrow}
    found[ID_KEY] = found.get(ID_KEY, "nothing").replace(
        "dictionary<values=string, indices=int32, ordered=0>", "string"
    )
    wanted = {field.name: str(field.type).replace("item:", "element:") for field in expected}
    found = {name: kind.replace("item:", "element:") for name, kind in found.items()}
    if found != wanted or len(file.schema_arrow) != len(wanted):
        name = min({*found.items()} ^ {*wanted.items()}, default=("a column given twice", ""))[0]
        raise SubmissionError(
            f"{path}: column {name[:80]!r} is {found.get(name, 'missing')[:80]}", wanted.get(name, "no such column")
        )
    values = dict.fromkeys(layout.modalities, rows * layout.dimension)
    counted: dict[str, int] = {}
    claimed = 0
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(place)
            name = chunk.path_in_schema.partition(".")[0]
            counted[name] = counted.get(name, 0) + chunk.num_values
            claimed += chunk.total_uncompressed_size
    if claimed > bound:
        raise SubmissionError(f"{path}: {claimed:,} bytes when unpacked", f"at most {bound:,}")
    if counted != {name: values.get(name, rows) for name in wanted}:
        raise SubmissionError(f"{path}: {sum(counted.values()):,} values", "one list of the dimension for each object")


def _ids(column: pa.ChunkedArray, path: Path) -> list[str]:
    """Return the ids; a long one that stands for many rows is refused before it is written out."""
    import pyarrow.compute as pc

    if column.null_count:
        raise SubmissionError(f"{path}: {column.null_count} ids are null")
    longest = max(
        (pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0 for chunk in column.chunks if len(chunk.dictionary)),
        default=0,
    )
    if longest > ID_BYTES:
        raise SubmissionError(f"{path}: an id of {longest:,} bytes", f"at most {ID_BYTES}")
    return [str(value) for value in column.to_pylist()]


def _vectors(column: pa.ChunkedArray, dimension: int, name: str, path: Path) -> NDArray[np.float16]:
    import pyarrow.compute as pc

    values = pc.list_flatten(column)
    if column.null_count or values.null_count or len(values) != len(column) * dimension:
        raise SubmissionError(f"{path}: column {name!r} has nulls", f"{dimension} numbers for each object")
    return np.asarray(values.to_numpy()).reshape(-1, dimension)


def _check_ids(found: Sequence[str], wanted: Sequence[str], path: Path) -> None:
    extra = sorted(set(found) - set(wanted))
    if extra:
        raise SubmissionError(
            f"{path}: {len(extra):,} ids are not of the split, such as {extra[0][:60]!r}", "the ids of the split"
        )


@contextmanager
def memory_bound(extra: int) -> Iterator[None]:
    """Let this process take no more than `extra` bytes of address space beyond what it has, where Linux can hold it.

    A page of a Parquet file may unpack to more than its footer says.
    """
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        yield
        return
    import resource

    used = int(statm.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = used + extra
    if soft != resource.RLIM_INFINITY:
        bound = min(bound, soft)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
