"""The index of a reader's files: their light columns as Parquet, each file read once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from astroclip_bench.datasets.arrays import numpy_to_arrow
from astroclip_bench.datasets.digests import json_digest
from astroclip_bench.errors import DataError
from astroclip_bench.files import atomic_path, sha256_file, storage_errors, write_json
from dataset_builders.pool import run_shards
from dataset_builders.upstream.reader import Reader, companions

FILE_COLUMN = "file"
"""Number of the upstream file a row comes from, in the reader's order."""


@dataclass(frozen=True)
class IndexedFile:
    """What is on record of one indexed file.

    `inputs` are the file and its companions, each with path, size and SHA-256; `state` are their sizes and times of
    change, by which a change is noticed.
    """

    inputs: list[dict[str, Any]]
    state: list[list[int]]
    read: int
    kept: int
    dropped: Mapping[str, int]


@dataclass(frozen=True)
class IndexedFiles:
    """The index of all files of a reader: one Parquet file for each of `paths`, in the reader's order."""

    reader: Reader
    folder: Path
    paths: tuple[Path, ...]
    files: tuple[IndexedFile, ...]

    @property
    def tables(self) -> list[Path]:
        """The Parquet files that hold rows; the others' schema may lack columns that are nowhere else missing."""
        return [_table_path(self.folder, number) for number, file in enumerate(self.files) if file.kept]

    def check_usable(self) -> None:
        """Check that there is a usable row.

        Raises
        ------
        DataError
            If there is none, telling why the rows were left out.
        """
        if not self.tables:
            raise DataError(
                f"{self.reader.name}: no usable row in {len(self.files):,} files ({self._left_out()})",
                todo="check that these are the right files and cuts",
            )

    def read(self) -> pa.Table:
        """Return the index as one table; a column that some file lacks is null there."""
        tables = [pq.read_table(path, partitioning=None) for path in self.tables]
        return pa.concat_tables(tables, promote_options="default").combine_chunks()

    def step(self) -> dict[str, Any]:
        """Return the counts of this step, for the manifest."""
        return {
            "step": f"index of {self.reader.name}",
            "read": sum(file.read for file in self.files),
            "kept": sum(file.kept for file in self.files),
            "dropped": add_counts(file.dropped for file in self.files),
        }

    def inputs(self) -> list[dict[str, Any]]:
        """Return the files and their companions, each once, with sizes and checksums, for the manifest."""
        entries = {entry["path"]: entry for file in self.files for entry in file.inputs}
        return [{"reader": self.reader.name, **entry} for entry in entries.values()]

    def _left_out(self) -> str:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in self.step()["dropped"].items() if count)
        return reasons or "they are empty"


def index_files(
    reader: Reader,
    folder: Path,
    *,
    checksums: bool = True,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> IndexedFiles:
    """Index every file of a reader into `folder`; files indexed before and unchanged since are not read again.

    Parameters
    ----------
    checksums
        Whether to read each file whole for its SHA-256, besides its light columns.
    workers, scheduler
        Processes, or the Dask cluster, to work on; see `dataset_builders.parquet.build_dataset`.
    progress
        Called with the number of files done and their total.

    Raises
    ------
    DataError
        If a file cannot be used; the message names it.
    """
    paths = reader.files()
    task = _IndexFile(reader, tuple(paths), _common_root(paths), folder, checksums)
    missing = [number for number in range(len(paths)) if task.finished(number) is None]
    done = len(paths) - len(missing)
    for _ in run_shards(task, missing, workers, lambda rows: None, scheduler):
        done += 1
        if progress:
            progress(done, len(paths))
    records = [task.finished(number) for number in range(len(paths))]
    return IndexedFiles(reader, folder, tuple(paths), tuple(record for record in records if record is not None))


@dataclass(frozen=True)
class _IndexFile:
    """Called with the number of a file: reads its light columns, writes them, and then the record of it."""

    reader: Reader
    paths: tuple[Path, ...]
    root: Path
    folder: Path
    checksums: bool

    def __call__(self, number: int, tick: Callable[[int], None]) -> None:
        path, state = self.paths[number], self._state(number)
        index = self.reader.index(path)
        with atomic_path(_table_path(self.folder, number)) as temporary:
            pq.write_table(_to_arrow(index.columns, number), temporary, compression="zstd")
        inputs = [
            {
                "path": self._name(part),
                "bytes": size,
                "sha256": _sha256(part, size, changed) if self.checksums else None,
            }
            for part, (size, changed) in zip(self._parts(number), state, strict=True)
        ]
        record = IndexedFile(inputs, state, index.read, len(index), dict(index.dropped))
        write_json(self._record_path(number), {**asdict(record), "options": self._options(number)})

    def finished(self, number: int) -> IndexedFile | None:
        """Return the record of a file that is indexed and unchanged since, or None."""
        path = self._record_path(number)
        if not path.is_file():
            return None
        with storage_errors(path):
            content = json.loads(path.read_bytes())
        options = content.pop("options")
        record = IndexedFile(**content)
        return record if record.state == self._state(number) and options == self._options(number) else None

    def _record_path(self, number: int) -> Path:
        return _table_path(self.folder, number).with_suffix(".json")

    def _options(self, number: int) -> str:
        return json_digest([self.reader.name, dict(self.reader.options()), self.checksums, str(self.paths[number])])

    def _parts(self, number: int) -> list[Path]:
        path = self.paths[number]
        return [path, *(part for part in companions(self.reader, path) if part.is_file())]

    def _state(self, number: int) -> list[list[int]]:
        return [file_state(part) for part in self._parts(number)]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name


def file_state(path: Path) -> list[int]:
    """Return the size of a file and its time of change, in nanoseconds."""
    with storage_errors(path):
        stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


@lru_cache(maxsize=8)
def _sha256(path: Path, _size: int, _changed: int) -> str:
    """Return the SHA-256 of a file; of a companion of many files, only once."""
    return sha256_file(path)


def add_counts(counts: Any) -> dict[str, int]:
    """Return the sum of several counts by reason, reasons in the order in which they first occur."""
    total: dict[str, int] = {}
    for part in counts:
        for reason, count in part.items():
            total[reason] = total.get(reason, 0) + count
    return total


def _table_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.parquet"


def _common_root(paths: Sequence[Path]) -> Path:
    """Return the folder below which all files lie; the manifest names files from there on."""
    root = paths[0].parent
    while not all(path.is_relative_to(root) for path in paths):
        root = root.parent
    return root


def _to_arrow(columns: Mapping[str, npt.NDArray[Any]], number: int) -> pa.Table:
    arrays = {name: _column(values) for name, values in columns.items()}
    arrays[FILE_COLUMN] = pa.array(np.full(len(columns["row"]), number, np.int32))
    return pa.table(arrays)


def _column(values: npt.NDArray[Any]) -> pa.Array:
    """Return an array as an Arrow column; text, and None in it, as strings."""
    if values.dtype.kind in "OUS":
        return pa.array([_text(value) for value in values.tolist()], pa.string())
    return numpy_to_arrow(values)


def _text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
