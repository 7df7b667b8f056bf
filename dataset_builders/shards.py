"""One shard's rows to Parquet: encodings, row groups, one file a split."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from astroclip_bench.datasets.arrays import array_shape, arrow_to_numpy, select_rows, value_type
from astroclip_bench.datasets.digests import ContentDigest
from astroclip_bench.datasets.manifest import BUILD_FOLDER, DATA_FOLDER, FileEntry
from astroclip_bench.files import sha256_file, storage_errors, write_json
from astroclip_bench.records import CONFIG_NAME, SPLITS, columns_of_role, digest_columns
from dataset_builders.source import Configuration, RecordSource, configuration_schema, configurations
from dataset_builders.validate import conform

if TYPE_CHECKING:
    import datasets

ROW_GROUP_BYTES = 64_000_000
"""Uncompressed size aimed at: 190 rows of an image and a spectrum, and under the Hub viewer's limit of 100 MB."""
ROW_GROUP_MAX_ROWS = 65_536
COMPRESSION = "zstd"


@dataclass(frozen=True)
class Shard:
    """What is on record of a finished shard: its files, and the rows left out while they were loaded."""

    files: list[FileEntry]
    dropped: dict[str, int]


@dataclass(frozen=True)
class ShardWriter:
    """What a worker process needs to write any shard; called with its number, it writes its files."""

    source: RecordSource
    out: Path

    def __call__(self, shard: int, tick: Callable[[int], None]) -> Shard:
        """Write the files of `shard`, then its record in the build folder, and return that.

        Every file appears under its name when it is complete; the record appears last.

        Raises
        ------
        DataError
            If a row breaks the rules of the record.
        StorageError
            If the disk is full or not writable.
        """
        build = self.out / BUILD_FOLDER
        with storage_errors(self.out), tempfile.TemporaryDirectory(prefix=f"shard-{shard:05d}-", dir=build) as scratch:
            files, dropped = self._write_files(shard, Path(scratch), tick)
            entries = [self._publish(config, split, file) for (config, split), file in files.items()]
        finished = Shard(entries, dropped)
        write_json(shard_record(self.out, shard), asdict(finished))
        return finished

    def _publish(self, config: str, split: str, file: SplitFile) -> FileEntry:
        """Move a complete file to its place in the data set folder."""
        final = self.out / config_folder(config) / file.path.name
        final.parent.mkdir(exist_ok=True)
        entry = FileEntry(
            path=final.relative_to(self.out).as_posix(),
            split=split,
            rows=file.rows,
            bytes=file.path.stat().st_size,
            sha256=sha256_file(file.path),
            content=file.digest.hexdigest(),
            config=config,
        )
        file.path.replace(final)
        return entry

    def _write_files(
        self, shard: int, scratch: Path, tick: Callable[[int], None]
    ) -> tuple[dict[tuple[str, str], SplitFile], dict[str, int]]:
        """Write one file for each configuration and split that has rows."""
        files: dict[tuple[str, str], SplitFile] = {}
        selections = configurations(self.source)
        schemas = {CONFIG_NAME: with_features(self.source.schema)}
        schemas |= {
            name: with_features(configuration_schema(self.source.schema, entry)) for name, entry in selections.items()
        }
        where = f"{self.source.info.name}, shard {shard}"
        counted = Counted(self.source.rows(shard))
        with ExitStack() as stack:
            for rows in counted:
                batch = conform(rows, schemas[CONFIG_NAME], where)
                for config, schema in schemas.items():
                    chosen = batch if config == CONFIG_NAME else _selection(batch, selections[config], schema)
                    for split in SPLITS:
                        part = _rows_of_split(chosen, split)
                        if not part.num_rows:
                            continue
                        if (config, split) not in files:
                            (scratch / config).mkdir(exist_ok=True)
                            name = f"{split}-{shard:05d}-of-{len(self.source.shards):05d}.parquet"
                            files[config, split] = SplitFile(scratch / config / name, schema)
                            stack.enter_context(files[config, split])
                        files[config, split].write(part)
                tick(batch.num_rows)
        return files, counted.dropped


class Counted:
    """Iterate over the rows of a shard, and keep what its generator returns: reason -> rows left out."""

    def __init__(self, rows: Iterable[pa.RecordBatch]) -> None:
        self._rows: Any = rows
        self.dropped: dict[str, int] = {}

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        # `yield from` gives what a generator returns, and None for any other iterable.
        self.dropped = dict((yield from self._rows) or {})


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
    metadata = features(schema).arrow_schema.metadata
    return schema.with_metadata({**(schema.metadata or {}), **metadata})


def features(schema: pa.Schema) -> datasets.Features:
    """Return the Hugging Face features of a schema; a preview is an `Image`, which the Hub's viewer shows."""
    from datasets import Features, Image

    plain = Features.from_arrow_schema(schema.remove_metadata())
    return Features({**plain, **{name: Image() for name in columns_of_role(schema, "preview")}})


def shard_record(out: Path, shard: int) -> Path:
    """Return the path of the file that says a shard is finished."""
    return out / BUILD_FOLDER / f"shard-{shard:05d}.json"


def row_bytes(schema: pa.Schema) -> int:
    """Return the uncompressed size of one row, strings taken as 24 bytes and previews as nothing."""
    total = 0.0
    for field in digest_columns(schema):
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


def _selection(batch: pa.RecordBatch, configuration: Configuration, schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows and columns of a configuration."""
    mask = np.asarray(batch.column(configuration.required).is_valid())
    chosen = pa.RecordBatch.from_arrays([batch.column(name) for name in schema.names], schema=schema)
    return chosen if mask.all() else select_rows(chosen, mask)


def config_folder(config: str) -> str:
    """Return the folder of a configuration's files."""
    return DATA_FOLDER if config == CONFIG_NAME else config


def _rows_of_split(batch: pa.RecordBatch, split: str) -> pa.RecordBatch:
    mask = arrow_to_numpy(batch.column("split")) == split
    return batch if mask.all() else select_rows(batch, mask)
