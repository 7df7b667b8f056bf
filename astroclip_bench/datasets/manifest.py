"""The manifest of a data set folder: which files belong to it, and what each must hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from astroclip_bench.datasets.digests import json_digest, type_name
from astroclip_bench.datasets.parquet import open_parquet, scan_rows
from astroclip_bench.errors import DataError
from astroclip_bench.files import sha256_file, storage_errors, write_json
from astroclip_bench.records import CONFIG_NAME, SPLITS, digest_columns, read_schema

MANIFEST_VERSION = 1
MANIFEST_NAME = "manifest.json"
DATA_FOLDER = "data"
"""Folder of the rows themselves; every other configuration lies in a folder of its own name."""
BUILD_FOLDER = ".build"
"""Folder in which a builder keeps what it needs to resume; gone once the data set is finished."""


@dataclass(frozen=True)
class FileEntry:
    """One Parquet file: where it lies in the folder, its split, and digests of its bytes and of its rows.

    `config` is the Hugging Face configuration it belongs to: `pairs` holds the rows of the data set; any other is a
    selection of their columns, for those who want no more.
    """

    path: str
    split: str
    rows: int
    bytes: int
    sha256: str
    content: str
    config: str = CONFIG_NAME


@dataclass(frozen=True)
class Manifest:
    """What a finished data set folder holds; `build` records how it was made, `counts` the rows of each split."""

    name: str
    version: str
    digest: str
    files: tuple[FileEntry, ...]
    counts: Mapping[str, int]
    build: Mapping[str, Any]

    @property
    def pairs(self) -> tuple[FileEntry, ...]:
        """The files that hold the rows themselves, not a selection of their columns."""
        return pairs_of(self.files)

    @property
    def configs(self) -> list[str]:
        """Names of the configurations, that of the rows themselves first."""
        return list(dict.fromkeys([CONFIG_NAME, *sorted(entry.config for entry in self.files)]))


def pairs_of(files: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    """Return the entries of the configuration that holds the rows themselves."""
    return tuple(entry for entry in files if entry.config == CONFIG_NAME)


def count_rows(files: Iterable[FileEntry]) -> dict[str, int]:
    """Return the number of rows of each split."""
    counts = dict.fromkeys(SPLITS, 0)
    for entry in pairs_of(files):
        counts[entry.split] += entry.rows
    return counts


def data_digest(schema: pa.Schema, files: Iterable[FileEntry]) -> str:
    """Return the digest that every result of this data carries.

    It covers the columns with their types and units, what the modalities declare, and the content of the files in
    order; not the data set's name, texts, previews or provenance.
    """
    _, modalities = read_schema(schema)
    units = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in schema}
    return json_digest(
        {
            "columns": [[field.name, type_name(field.type), units[field.name]] for field in digest_columns(schema)],
            "modalities": {
                name: [list(entry.columns), list(entry.shape), entry.unit, dict(entry.axes)]
                for name, entry in modalities.items()
            },
            "files": [[entry.split, entry.rows, entry.content] for entry in pairs_of(files)],
        }
    )


def make_manifest(schema: pa.Schema, files: Iterable[FileEntry], build: Mapping[str, Any]) -> Manifest:
    """Return the manifest of `files`, put into the order of splits and names."""
    info, _ = read_schema(schema)
    ordered = tuple(
        sorted(
            files, key=lambda entry: (entry.config != CONFIG_NAME, entry.config, SPLITS.index(entry.split), entry.path)
        )
    )
    return Manifest(info.name, info.version, data_digest(schema, ordered), ordered, count_rows(ordered), build)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into the folder, atomically."""
    write_json(folder / MANIFEST_NAME, {"manifest_version": MANIFEST_VERSION, **asdict(manifest)})


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json`, and say what is amiss where it is missing or unreadable.

    Raises
    ------
    DataError
        If the folder or its manifest is missing, damaged, or of another version.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise _missing_manifest(folder)
    with storage_errors(path):
        text = path.read_bytes()
    try:
        content = json.loads(text)
        version = content.pop("manifest_version")
        if version != MANIFEST_VERSION:
            raise DataError(f"{path}: manifest version {version}", f"version {MANIFEST_VERSION}", "build it again")
        files = tuple(FileEntry(**entry) for entry in content.pop("files"))
        manifest = Manifest(files=files, **content)
        if dict(manifest.counts) != count_rows(files):
            raise DataError(f"{path}: the counts do not add up to the rows of the files", todo="build it again")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a readable manifest ({error})", todo="build the data set again") from error
    for entry in files:
        # A manifest may come from anyone: it must not lead out of its folder.
        parts = PurePosixPath(entry.path)
        if parts.is_absolute() or ".." in parts.parts or entry.split not in SPLITS:
            raise DataError(f"{path}: refused the entry {entry.path!r} of split {entry.split!r}")
    return manifest


def index_folder(folder: Path | str) -> Manifest:
    """Write the manifest of a folder of Parquet files that are of the record's schema but have none.

    Raises
    ------
    DataError
        If there are no such files, or a file is damaged, of another schema, or holds rows of several splits.
    """
    folder = Path(folder)
    paths = sorted(
        (path for path in folder.rglob("*.parquet") if not path.relative_to(folder).parts[0].startswith(".")),
        key=lambda path: (_config_of(folder, path) != CONFIG_NAME, path),
    )
    if not paths:
        raise DataError(f"{folder}: no Parquet files in it", "the files of a data set")
    schema = open_parquet(paths[0]).schema_arrow
    read_schema(schema, str(paths[0]))
    manifest = make_manifest(schema, [file_entry(folder, path) for path in paths], {"indexed": True})
    write_manifest(folder, manifest)
    return manifest


def file_entry(folder: Path, path: Path) -> FileEntry:
    """Return the entry of one finished Parquet file by reading it whole."""
    scan = scan_rows(path)
    if len(scan.splits) != 1 or scan.splits[0] not in SPLITS:
        raise DataError(f"{path}: rows of the splits {', '.join(map(repr, scan.splits))}", "one split in each file")
    relative = path.relative_to(folder).as_posix()
    size, config = path.stat().st_size, _config_of(folder, path)
    return FileEntry(relative, scan.splits[0], scan.rows, size, sha256_file(path), scan.content, config)


def _config_of(folder: Path, path: Path) -> str:
    """Return the configuration of a file: the folder it lies in, where there is a folder `data` beside it."""
    parts = path.relative_to(folder).parts
    beside_data = len(parts) > 1 and parts[0] != DATA_FOLDER and (folder / DATA_FOLDER).is_dir()
    return parts[0] if beside_data else CONFIG_NAME


def _missing_manifest(folder: Path) -> DataError:
    """Return the error that tells what stands where a manifest was expected."""
    expected = f"a data set folder with {MANIFEST_NAME}"
    build = "write one with: astroclip-bench data build"
    if not folder.exists():
        return DataError(f"{folder}: no such folder", expected, "check the path")
    if not folder.is_dir():
        return DataError(f"{folder}: not a folder", expected, "give the folder that holds the file")
    with storage_errors(folder):
        names = {path.name for path in folder.iterdir()}
    if BUILD_FOLDER in names:
        return DataError(f"{folder}: an unfinished data set", expected, "run the same data build command again")
    if any(folder.rglob("*.parquet")):
        call = f"from astroclip_bench.datasets import index_folder; index_folder({str(folder)!r})"
        return DataError(f"{folder}: Parquet files without {MANIFEST_NAME}", todo=f'write it with: python -c "{call}"')
    return DataError(f"{folder}: {'an empty folder' if not names else 'no data set in it'}", expected, build)
