"""Check that a data set folder holds what its manifest says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from astroclip_bench.datasets.arrays import arrow_to_numpy
from astroclip_bench.datasets.digests import json_digest, type_name
from astroclip_bench.datasets.manifest import FileEntry, Manifest, data_digest, read_manifest
from astroclip_bench.datasets.parquet import open_parquet, row_groups, scan_rows
from astroclip_bench.datasets.views import BenchDataset, SplitView
from astroclip_bench.errors import DataError, StorageError
from astroclip_bench.files import cache_dir, sha256_file, storage_errors, write_json
from astroclip_bench.records import CONFIG_NAME, SCHEMA_KEY, SPLITS, read_schema

Verify = Literal["digests", "sizes"]
REBUILD = "build or download the data set again"


def open_folder(folder: Path, verify: Verify = "digests") -> BenchDataset:
    """Open a data set folder after checking it against its manifest.

    Checked are the presence, size, schema and row count of every file, the data digest, and the SHA-256 of every
    file (with ``verify="digests"``; remembered in the cache for as long as size and time of a file stay the same).

    Raises
    ------
    DataError
        Naming the file and what is wrong with it.
    """
    folder = folder.expanduser().resolve()
    manifest = read_manifest(folder)
    if not manifest.pairs:
        raise DataError(f"{folder}: the manifest lists no files", todo=REBUILD)
    for entry in manifest.files:
        _check_size(folder, entry)
    if verify == "digests":
        _check_sha256(folder, manifest)
    schema = _check_schemas(folder, manifest)
    where = folder / manifest.files[0].path
    info, modalities = read_schema(schema, str(where))
    if (info.name, info.version) != (manifest.name, manifest.version):
        raise DataError(f"{where}: data set {info.name} {info.version}", f"{manifest.name} {manifest.version}", REBUILD)
    if data_digest(schema, manifest.files) != manifest.digest:
        raise DataError(f"{folder}: the data digest of the manifest does not fit its files", todo=REBUILD)
    splits = {
        split: SplitView(split, folder, tuple(entry for entry in manifest.pairs if entry.split == split), schema)
        for split in SPLITS
    }
    return BenchDataset(folder, info, modalities, schema, manifest, splits)


@dataclass(frozen=True)
class DatasetReport:
    """What the deep check went through."""

    name: str
    version: str
    digest: str
    files: int
    rows: int
    pixels: int
    """Number of HEALPix pixels."""
    straddling_pixels: int
    """Number of those with rows in more than one split; 0 under the split rule ``healpix``."""


def check_dataset(folder: Path | str, progress: Callable[[int, int], None] | None = None) -> DatasetReport:
    """Read every value of a data set folder and compare it with the manifest.

    Beyond what `open_folder` checks: the pages decode, the content digests agree, identifiers are unique, every row
    is in the file of its split, and the arrays of the modalities are finite. Under the split rule ``healpix`` no pixel
    straddles two splits; under another such pixels are counted.

    Parameters
    ----------
    progress
        Called with the rows read so far and their total.

    Raises
    ------
    DataError
        At the first thing amiss, naming the file.
    """
    dataset = open_folder(Path(folder))
    total = sum(entry.rows for entry in dataset.manifest.files)
    numeric = [modality for modality in dataset.modalities.values() if modality.dtype != "string"]
    columns = sorted({name for modality in numeric for name in modality.columns})
    identifiers: list[pa.ChunkedArray] = []
    split_of_pixel: dict[int, str] = {}
    straddling: set[int] = set()
    done = 0
    for entry in dataset.manifest.files:
        path = dataset.folder / entry.path
        scan = scan_rows(path)
        if scan.content != entry.content:
            raise DataError(f"{path}: content digest {scan.content}", f"{entry.content}, as in the manifest", REBUILD)
        if set(scan.splits) - {entry.split}:
            raise DataError(f"{path}: rows of split {', '.join(scan.splits)}", f"{entry.split} alone", REBUILD)
        for pixel in pc.unique(scan.healpix).to_pylist():
            if pixel < 0:
                continue  # no place on the sky
            if split_of_pixel.setdefault(pixel, entry.split) != entry.split:
                if dataset.info.split_rule == "healpix":
                    raise DataError(f"{path}: HEALPix pixel {pixel} is also in split {split_of_pixel[pixel]}")
                straddling.add(pixel)
        if entry.config == CONFIG_NAME:
            _check_finite(path, columns)
            identifiers.append(scan.object_ids)
        done += entry.rows
        if progress:
            progress(done, total)
    check_unique(identifiers, str(dataset.folder))
    manifest, total = dataset.manifest, sum(dataset.manifest.counts.values())
    return DatasetReport(
        name=manifest.name,
        version=manifest.version,
        digest=manifest.digest,
        files=len(manifest.files),
        rows=total,
        pixels=len(split_of_pixel),
        straddling_pixels=len(straddling),
    )


def check_unique(identifiers: list[pa.ChunkedArray], where: str) -> None:
    """Refuse identifiers that occur twice.

    Raises
    ------
    DataError
        With the number of repeated identifiers and the first of them.
    """
    counts = pc.value_counts(pa.chunked_array([chunk for ids in identifiers for chunk in ids.chunks], pa.string()))
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        first = repeated[0].as_py()
        raise DataError(
            f"{where}: {len(repeated)} object ids occur more than once, such as {first['values']!r}"
            f" ({first['counts']} times)",
            "every object_id once",
        )


def _check_finite(path: Path, columns: list[str]) -> None:
    if not columns:
        return
    for table in row_groups(path, columns):
        for name in columns:
            if not np.isfinite(arrow_to_numpy(table[name])).all():
                raise DataError(f"{path}: column {name!r} holds values that are not finite", todo=REBUILD)


def _check_size(folder: Path, entry: FileEntry) -> None:
    path = folder / entry.path
    if not path.is_file():
        raise DataError(f"{path}: the file is missing", f"{entry.rows} rows of split {entry.split}", REBUILD)
    with storage_errors(path):
        size = path.stat().st_size
    if size != entry.bytes:
        cause = "truncated" if size < entry.bytes else "changed"
        raise DataError(f"{path}: {size} bytes ({cause})", f"{entry.bytes} bytes", REBUILD)


def _check_sha256(folder: Path, manifest: Manifest) -> None:
    """Compare the SHA-256 of every file, leaving out those verified before and unchanged since."""
    verified = _remembered(folder)
    for entry in manifest.files:
        path = folder / entry.path
        with storage_errors(path):
            stat = path.stat()
        state = [stat.st_size, stat.st_mtime_ns, entry.sha256]
        if verified.get(entry.path) == state:
            continue
        found = sha256_file(path)
        if found != entry.sha256:
            raise DataError(f"{path}: SHA-256 {found[:16]}... (changed)", f"{entry.sha256[:16]}...", REBUILD)
        verified[entry.path] = state
    try:
        write_json(_memory_path(folder), verified)
    except StorageError:
        # Without a writable cache the next run hashes again, which is slower and no less right.
        return


def _memory_path(folder: Path) -> Path:
    return cache_dir("verified") / f"{json_digest(str(folder))}.json"


def _remembered(folder: Path) -> dict[str, Any]:
    try:
        remembered = json.loads(_memory_path(folder).read_bytes())
    except (OSError, ValueError, StorageError):
        return {}
    return remembered if isinstance(remembered, dict) else {}


def _check_schemas(folder: Path, manifest: Manifest) -> pa.Schema:
    """Compare schema and row count of every file with its configuration's first and the manifest.

    Returns the schema of the rows themselves.
    """
    references: dict[str, pa.Schema] = {}
    for entry in manifest.files:
        path = folder / entry.path
        with open_parquet(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
        if rows != entry.rows:
            raise DataError(f"{path}: {rows} rows", f"{entry.rows}, as in the manifest", REBUILD)
        if entry.config not in references:
            references[entry.config] = schema
            read_schema(schema, str(path))
        _check_same_schema(path, schema, references[entry.config])
    return references[CONFIG_NAME]


def _check_same_schema(path: Path, schema: pa.Schema, reference: pa.Schema) -> None:
    types = {field.name: type_name(field.type) for field in schema}
    for field in reference:
        expected = type_name(field.type)
        if field.name not in types:
            raise DataError(f"{path}: column {field.name!r} is missing", f"it, of type {expected}", REBUILD)
        if types[field.name] != expected:
            raise DataError(f"{path}: column {field.name!r} has type {types[field.name]}", expected, REBUILD)
    extra = set(types) - set(reference.names)
    if extra:
        raise DataError(f"{path}: column {min(extra)!r} is not in the other files", todo=REBUILD)
    if (schema.metadata or {}).get(SCHEMA_KEY) != (reference.metadata or {}).get(SCHEMA_KEY):
        raise DataError(f"{path}: the schema metadata differ from the other files'", todo=REBUILD)
