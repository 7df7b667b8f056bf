"""One shard's rows to Parquet: encodings, row groups, one file a split."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from astroclip_bench.datasets.arrays import array_shape, arrow_to_numpy, select_rows, value_type
from astroclip_bench.datasets.digests import ContentDigest
from astroclip_bench.datasets.manifest import BUILD_FOLDER, FileEntry
from astroclip_bench.files import sha256_file, storage_errors, write_json
from astroclip_bench.records import SPLITS
from dataset_builders.source import RecordSource
from dataset_builders.validate import conform

DATA_FOLDER = "data"
ROW_GROUP_BYTES = 64_000_000
"""Uncompressed size aimed at: 190 rows of an image and a spectrum, and under the Hub viewer's limit of 100 MB."""
ROW_GROUP_MAX_ROWS = 65_536
COMPRESSION = "zstd"


@dataclass(frozen=True)
class ShardWriter:
    """What a worker process needs to write any shard; called with its number, it writes its files.

    `schema` is the source's with the Hugging Face features added (see `with_features`).
    """

    source: RecordSource
    schema: pa.Schema
    out: Path

    def __call__(self, shard: int, tick: Callable[[int], None]) -> list[FileEntry]:
        """Write the files of `shard`, then its record in the build folder, and return their entries.

        Every file appears under its name when it is complete; the record appears last.

        Raises
        ------
        DataError
            If a row breaks the rules of the record.
        StorageError
            If the disk is full or not writable.
        """
        build, data = self.out / BUILD_FOLDER, self.out / DATA_FOLDER
        with storage_errors(self.out), tempfile.TemporaryDirectory(prefix=f"shard-{shard:05d}-", dir=build) as scratch:
            files = self._write_files(shard, Path(scratch), tick)
            data.mkdir(exist_ok=True)
            entries = []
            for split, file in files.items():
                final = data / file.path.name
                entries.append(
                    FileEntry(
                        path=final.relative_to(self.out).as_posix(),
                        split=split,
                        rows=file.rows,
                        bytes=file.path.stat().st_size,
                        sha256=sha256_file(file.path),
                        content=file.digest.hexdigest(),
                    )
                )
                file.path.replace(final)
        write_json(shard_record(self.out, shard), [asdict(entry) for entry in entries])
        return entries

    def _write_files(self, shard: int, scratch: Path, tick: Callable[[int], None]) -> dict[str, SplitFile]:
        files: dict[str, SplitFile] = {}
        total = len(self.source.shards)
        where = f"{self.source.info.name}, shard {shard}"
        with ExitStack() as stack:
            for rows in self.source.rows(shard):
                batch = conform(rows, self.schema, where)
                for split in SPLITS:
                    part = _rows_of_split(batch, split)
                    if not part.num_rows:
                        continue
                    if split not in files:
                        name = f"{split}-{shard:05d}-of-{total:05d}.parquet"
                        files[split] = SplitFile(scratch / name, self.schema)
                        stack.enter_context(files[split])
                    files[split].write(part)
                tick(batch.num_rows)
        return {split: files[split] for split in SPLITS if split in files}


class SplitFile:
    """A Parquet file being written; rows gather until they fill a row group."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self.digest = ContentDigest(schema)
        self._group_rows = row_group_rows(schema)
        self._gathered: list[pa.RecordBatch] = []
        self._gathered_rows = 0
        self._writer = open_writer(path, schema)

    def __enter__(self) -> SplitFile:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            self._flush()
        self._writer.close()

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self.digest.update(batch)
        self.rows += batch.num_rows
        while self._gathered_rows + batch.num_rows >= self._group_rows:
            room = self._group_rows - self._gathered_rows
            self._gathered.append(batch.slice(0, room))
            self._flush()
            batch = batch.slice(room)
        if batch.num_rows:
            self._gathered.append(batch)
            self._gathered_rows += batch.num_rows

    def _flush(self) -> None:
        if self._gathered:
            table = pa.Table.from_batches(self._gathered).combine_chunks()
            self._writer.write_table(table, row_group_size=self._group_rows)
        self._gathered, self._gathered_rows = [], 0


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet file with the encodings of this project.

    Floating-point columns are stored byte by byte across values (BYTE_STREAM_SPLIT), which zstd compresses better;
    the page index lets a reader skip to rows, and page checksums tell it of a flipped bit.
    """
    floats = float_leaves(schema)
    words = [field.name for field in schema if pa.types.is_string(field.type)]
    return pq.ParquetWriter(
        path,
        schema,
        compression=COMPRESSION,
        use_dictionary=words,
        use_byte_stream_split=floats or False,
        write_page_index=True,
        write_page_checksum=True,
    )


def with_features(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the metadata from which `datasets` restores the same features."""
    from datasets import Features

    features = Features.from_arrow_schema(schema).arrow_schema.metadata
    return schema.with_metadata({**(schema.metadata or {}), **features})


def shard_record(out: Path, shard: int) -> Path:
    """Return the path of the file that says a shard is finished."""
    return out / BUILD_FOLDER / f"shard-{shard:05d}.json"


def row_bytes(schema: pa.Schema) -> int:
    """Return the uncompressed size of one row, strings taken as 24 bytes."""
    total = 0.0
    for field in schema:
        leaf = value_type(field.type)
        bits = 192 if pa.types.is_string(leaf) else leaf.bit_width
        total += bits / 8 * float(np.prod(array_shape(field.type), dtype=np.int64))
    return int(np.ceil(total))


def row_group_rows(schema: pa.Schema) -> int:
    """Return how many rows make a row group."""
    return max(1, min(ROW_GROUP_MAX_ROWS, ROW_GROUP_BYTES // row_bytes(schema)))


def float_leaves(schema: pa.Schema) -> list[str]:
    """Return the Parquet paths of the floating-point leaf columns."""
    return [
        field.name + ".list.element" * len(array_shape(field.type))
        for field in schema
        if pa.types.is_floating(value_type(field.type))
    ]


def _rows_of_split(batch: pa.RecordBatch, split: str) -> pa.RecordBatch:
    mask = arrow_to_numpy(batch.column("split")) == split
    return batch if mask.all() else select_rows(batch, mask)
