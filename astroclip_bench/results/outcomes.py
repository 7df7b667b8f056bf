"""Outcomes of single objects, beside the result that they were scored to: ``RESULT.parquet`` of ``RESULT.json``.

One row for each test object, cell (task, protocol, reference and query modality) and seed of a probe, with the columns of
the data set that objects are resampled and grouped by. Every score on the test split that a result holds for its
embedder can be computed again from them, and two models compared object by object. Scores on fewer labels, in pools drawn
by hash, and of floors have no rows.

Whoever scores a cell calls a `Keep` with it. The rows go to disk as they come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property, reduce
from operator import and_, or_
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from astroclip_bench.errors import ResultError, StorageError
from astroclip_bench.files import atomic_path, sha256_file, storage_errors

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from astroclip_bench.results.record import Result

Columns = Mapping[str, "NDArray[Any]"]

OUTCOMES_VERSION = 1
MARK = b"astroclip_bench_outcomes"
"""Key of the Parquet file's metadata that holds the version."""
ROW_GROUP_ROWS = 2**18
"""Rows gathered before they are written: some 40 MB."""
DICTIONARY_BYTES = 2**24

CELL_COLUMNS = ("task", "protocol", "reference", "query", "seed")
OBJECT_COLUMNS = ("object_id", "healpix")
"""Followed by the columns that form groups, where the data set has them."""
OUTCOME_COLUMNS: Mapping[str, str] = {
    "label": "float64",
    "prediction": "float64",
    "pit": "float64",
    "crps": "float64",
    "greater": "int32",
    "ties": "int32",
    "rank": "float64",
    "pool": "int32",
    "nearest_1": "float64",
    "nearest_5": "float64",
    "nearest_10": "float64",
    "label_class": "string",
    "predicted_class": "string",
}
"""What a cell may tell of an object, and its type; null where a cell has no such thing.

label, prediction
    Of a number, in the unit of the target; NaN where the object has no label.
pit, crps
    Of the distribution that the neighbours give: see `astroclip_bench.tasks.metrics.Sample`.
greater, ties, rank, pool
    Of a search among `pool` objects: how many others are more similar to the query than its own pair, how many as
    similar, and the mean rank under a random order of these (from 1).
nearest_1, nearest_5, nearest_10
    Mean agreement with, or difference from, the query's own label of so many nearest others; NaN where it has no label.
label_class, predicted_class
    Of a classification; null where the object has no label.
"""


class CellKey(NamedTuple):
    """What names a cell in a file of outcomes; task and protocol are of the versions that the result names."""

    task: str
    protocol: str
    reference: str
    query: str


class Keep(Protocol):
    """What a scored cell hands its outcomes to."""

    def __call__(self, key: CellKey, columns: Columns, seed: int = 0) -> None:
        """Take columns of `OUTCOME_COLUMNS`, (n,) each: one value for every test object, in the split's order.

        A probe that was trained with several seeds calls once for each.
        """


def discard(key: CellKey, columns: Columns, seed: int = 0) -> None:
    """Keep nothing."""


def outcomes_path(result: Path | str) -> Path:
    """Return the path of the outcomes that belong to the result at this path.

    Raises
    ------
    StorageError
        If the two would be one file.
    """
    path = Path(result)
    if path.suffix == ".parquet":
        raise StorageError(
            f"--out {path} is the name of the outcomes", "that of the result", f"use --out {path.with_suffix('.json')}"
        )
    return path.with_suffix(".parquet") if path.suffix == ".json" else path.with_name(f"{path.name}.parquet")


def check_replaceable(path: Path | str) -> None:
    """Fail if there is a file at `path`, not empty, that is none of outcomes: embeddings, perhaps, that must not be lost.

    Raises
    ------
    StorageError
        Naming the file.
    """
    if Path(path).exists() and Path(path).stat().st_size and not _is_outcomes(Path(path)):
        raise StorageError(
            f"{path} exists and was not written by astroclip-bench evaluate",
            todo="name another --out: the outcomes of single objects are written beside it as .parquet",
        )


def _is_outcomes(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with storage_errors(path):
        try:
            metadata = pq.read_metadata(path).metadata
        except pa.ArrowException:
            return False
    return bool(metadata) and metadata.get(MARK) == str(OUTCOMES_VERSION).encode()


class OutcomesWriter:
    """Writes the rows of one evaluation; `keep` is its `Keep`.

    Parameters
    ----------
    path
        Of a new file.
    objects
        Of each test object, (n,): `OBJECT_COLUMNS`, and what forms groups.
    """

    def __init__(self, path: Path, objects: Mapping[str, Any]) -> None:
        self._path = path
        self._objects = objects
        self._gathered: list[pa.Table] = []

    @cached_property
    def _object_arrays(self) -> dict[str, pa.Array]:
        import pyarrow as pa

        arrays = {name: pa.array(values, from_pandas=True) for name, values in self._objects.items()}
        return {name: _encoded(array) for name, array in arrays.items()}

    @cached_property
    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        names = pa.dictionary(pa.int32(), pa.string())
        types = dict.fromkeys(CELL_COLUMNS, names) | {"seed": pa.int8()}
        types |= {name: array.type for name, array in self._object_arrays.items()}
        types |= {name: names if kind == "string" else getattr(pa, kind)() for name, kind in OUTCOME_COLUMNS.items()}
        return pa.schema(list(types.items()), metadata={MARK: str(OUTCOMES_VERSION)})

    @cached_property
    def _file(self) -> Any:
        import pyarrow.parquet as pq

        # Values that hardly repeat are split by byte: signs and exponents then shrink.
        split = ["prediction", "pit", "crps"]
        return pq.ParquetWriter(
            self._path,
            self._schema,
            compression="zstd",
            use_dictionary=[name for name in self._schema.names if name not in split],
            use_byte_stream_split=split,
            dictionary_pagesize_limit=DICTIONARY_BYTES,
        )

    def keep(self, key: CellKey, columns: Columns, seed: int = 0) -> None:
        """Add the rows of a cell: see `Keep`."""
        import pyarrow as pa

        count = len(self._objects["object_id"])
        cell = {name: _encoded(pa.repeat(value, count)) for name, value in key._asdict().items()}
        arrays = {**cell, "seed": pa.repeat(pa.scalar(seed, pa.int8()), count), **self._object_arrays}
        for name in OUTCOME_COLUMNS:
            kind = self._schema.field(name).type
            found = columns.get(name)
            # NaN stays: an object without a number is there, a cell without numbers has null.
            arrays[name] = pa.nulls(count, kind) if found is None else pa.array(found).cast(kind)
        assert columns.keys() <= OUTCOME_COLUMNS.keys(), columns.keys()
        self._gather(pa.table(arrays, schema=self._schema))

    def copy(self, path: Path | str, keys: Collection[CellKey]) -> None:
        """Add the rows of the cells `keys` of an earlier file, of the same objects."""
        for table in _row_groups(path, keys) if keys else ():
            self._gather(table.cast(self._schema))

    def _gather(self, table: pa.Table) -> None:
        self._gathered.append(table)
        if sum(map(len, self._gathered)) >= ROW_GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._gathered:
            self._file.write_table(pa.concat_tables(self._gathered).unify_dictionaries())
            self._gathered = []

    def close(self) -> None:
        """Write what is left, and end the file."""
        self._flush()
        self._file.close()


@contextmanager
def write_outcomes(path: Path | str, objects: Mapping[str, Any]) -> Iterator[OutcomesWriter]:
    """Give a writer of the file of outcomes at `path`, which stands there, whole, when the block ends well.

    Until then an earlier file stays, to be copied from.

    Parameters
    ----------
    objects
        See `OutcomesWriter`.

    Raises
    ------
    StorageError
        If the file cannot be written, or is none of outcomes.
    """
    check_replaceable(path)
    with atomic_path(path) as temporary, closing(OutcomesWriter(temporary, objects)) as writer:
        yield writer


def read_outcomes(path: Path | str, columns: Sequence[str] | None = None, **equal: str) -> pd.DataFrame:
    """Return the rows of a file of outcomes: those of the named columns, and of cells of the given values.

    ``read_outcomes("result.parquet", task="redshift", protocol="knn16", query="image")``. Cells stand one after the other,
    each in the order of the test split, seed by seed.

    Raises
    ------
    ResultError
        If the file is none of outcomes.
    StorageError
        If it cannot be read.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not _is_outcomes(Path(path)):
        raise ResultError(f"{path} holds no outcomes of objects", "a file written by astroclip-bench evaluate")
    wanted = reduce(and_, (pc.field(name) == value for name, value in equal.items()), pc.scalar(True))
    with storage_errors(path):
        table = pq.read_table(
            path, columns=None if columns is None else list(columns), filters=wanted, partitioning=None
        )
    frame: pd.DataFrame = table.unify_dictionaries().to_pandas()
    return frame


def digest_outcomes(path: Path | str) -> dict[str, Any]:
    """Return what a result says of its file of outcomes: version, sha256, number of rows."""
    import pyarrow.parquet as pq

    with storage_errors(path):
        rows = pq.read_metadata(path).num_rows
    return {"version": OUTCOMES_VERSION, "sha256": sha256_file(path), "rows": rows}


def find_cells(path: Path | str, result: Result) -> set[CellKey]:
    """Return the cells of which the file at `path` holds the outcomes; none, if it is missing or of another result."""
    import pyarrow.parquet as pq

    if reason_against(path, result):
        return set()
    table = pq.read_table(path, columns=list(CellKey._fields), partitioning=None).unify_dictionaries()
    cells = table.group_by(list(CellKey._fields)).aggregate([]).to_pylist()
    return {CellKey(**cell) for cell in cells}


def reason_against(path: Path | str, result: Result) -> str | None:
    """Return why the file at `path` does not hold the outcomes of a result, or None."""
    if result.outcomes is None:
        return "names no outcomes of single objects"
    if not Path(path).exists():
        return f"needs its outcomes of single objects, and there is no {path}"
    if sha256_file(path) != result.outcomes["sha256"]:
        return f"has other outcomes than those in {path}, by their sha256"
    return None


def _row_groups(path: Path | str, keys: Collection[CellKey]) -> Iterator[pa.Table]:
    """Give the row groups one after the other, and of them the rows of the cells `keys`."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    cells = [reduce(and_, (pc.field(name) == value for name, value in key._asdict().items())) for key in keys]
    wanted = reduce(or_, cells)
    with storage_errors(path), pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group).filter(wanted)


def _encoded(array: pa.Array) -> pa.Array:
    """Return an array of strings as whole numbers and the strings that they stand for."""
    import pyarrow as pa

    is_text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    return array.cast(pa.string()).dictionary_encode() if is_text else array
