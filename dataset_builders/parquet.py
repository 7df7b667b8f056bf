"""A record source to a data set folder: resumable by shard, finished by its card and manifest."""

from __future__ import annotations

import json
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from astroclip_bench.datasets.manifest import (
    BUILD_FOLDER,
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    make_manifest,
    pairs_of,
    read_manifest,
    write_manifest,
)
from astroclip_bench.datasets.parquet import read_columns
from astroclip_bench.datasets.verify import check_unique
from astroclip_bench.errors import DataError, StorageError
from astroclip_bench.files import atomic_path, storage_errors, write_json
from astroclip_bench.records import CONFIG_NAME
from dataset_builders.card import CARD_NAME, dataset_card
from dataset_builders.croissant import write_croissant
from dataset_builders.eval_yaml import write_eval_yaml
from dataset_builders.pool import run_shards
from dataset_builders.shards import Shard, ShardWriter, config_folder, shard_record
from dataset_builders.source import RecordSource, build_record, configurations, source_fingerprint
from dataset_builders.splits import SPLIT_RULES

FINGERPRINT_NAME = "fingerprint.json"
VERSIONED_PACKAGES = ("astroclip-bench", "astropy", "dask", "h5py", "hats", "numpy", "pillow", "pyarrow", "scipy")


def build_dataset(
    source: RecordSource,
    out: Path | str,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the data set folder of a source, or complete one that was interrupted.

    Finished shards are kept in the folder and not made again. The card, the metadata for the Hub and, last, the
    manifest complete it; until then nothing takes it for a data set. A folder that already holds this very data set is returned as it is.

    Parameters
    ----------
    out
        A folder that is new, empty, or of an interrupted build of the same source.
    workers
        Processes; the files are the same bytes for any number.
    scheduler
        Address of a Dask scheduler whose workers make the shards instead, such as ``tcp://host:8786``; they need to
        see `out` under the same path.
    progress
        Called with the rows made so far and their total.

    Raises
    ------
    DataError
        If `out` holds something else, or the source makes rows that break the rules of the record.
    StorageError
        If the disk is full or not writable; what is finished stays, and the same call continues from it.
    """
    out = Path(out).expanduser().absolute()
    fingerprint = source_fingerprint(source)
    if _is_finished(out, fingerprint):
        return out
    _claim(out, fingerprint)
    with storage_errors(out), _sole_builder(out):
        _make_shards(source, out, workers, scheduler, progress)
        _finalise(source, out, fingerprint)
    return out


def _make_shards(
    source: RecordSource,
    out: Path,
    workers: int,
    scheduler: str | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    sizes = {shard: source.shard_size(shard) for shard in source.shards}
    missing = [shard for shard in source.shards if finished_shard(out, shard) is None]
    total, done = sum(sizes.values()), sum(sizes.values()) - sum(sizes[shard] for shard in missing)

    def on_rows(rows: int) -> None:
        nonlocal done
        done += rows
        if progress:
            progress(done, total)

    on_rows(0)
    try:
        for _ in run_shards(ShardWriter(source, out), missing, workers, on_rows, scheduler):
            pass
    finally:
        # A worker that was ended had no time to clear away its unfinished files.
        for scratch in (out / BUILD_FOLDER).glob("shard-*/"):
            shutil.rmtree(scratch, ignore_errors=True)


def _finalise(source: RecordSource, out: Path, fingerprint: str) -> None:
    """Check what spans the shards, write card, metadata and manifest, and clear away what served to resume."""
    shards = [shard for number in source.shards if (shard := finished_shard(out, number))]
    entries = [entry for shard in shards for entry in shard.files]
    dropped: Counter[str] = sum((Counter(shard.dropped) for shard in shards), Counter())
    if not pairs_of(entries):
        left_out = "; ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        found = f"{source.info.name}: no row is left" + (f" ({left_out})" if left_out else "")
        raise DataError(found, todo="check the input and the cuts")
    identifiers = [read_columns(out / entry.path, ["object_id"])["object_id"] for entry in pairs_of(entries)]
    check_unique(identifiers, source.info.name)
    listed = {entry.path for entry in entries}
    for config in (CONFIG_NAME, *configurations(source)):
        for path in (out / config_folder(config)).glob("*.parquet"):
            if path.relative_to(out).as_posix() not in listed:
                path.unlink()
    manifest = make_manifest(source.schema, entries, _build_entry(source, fingerprint, dict(dropped)))
    with atomic_path(out / CARD_NAME) as temporary:
        temporary.write_text(dataset_card(source, manifest), encoding="utf-8")
    write_croissant(out, source, manifest)
    write_eval_yaml(out, source.schema, manifest)
    write_manifest(out, manifest)
    shutil.rmtree(out / BUILD_FOLDER)


def _build_entry(source: RecordSource, fingerprint: str, dropped: dict[str, int]) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint,
        "split_rule": SPLIT_RULES[source.info.split_rule],
        "software": {"python": platform.python_version(), **_installed_versions()},
        **build_record(source),
        "dropped_while_loading": dict(sorted(dropped.items())),
    }


def _installed_versions() -> dict[str, str]:
    """Return the versions of the packages that values may depend on, as far as they are installed."""
    found = {}
    for name in VERSIONED_PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _is_finished(out: Path, fingerprint: str) -> bool:
    """Say whether `out` holds this data set already; another finished data set is refused."""
    if not (out / MANIFEST_NAME).exists():
        return False
    manifest: Manifest = read_manifest(out)
    if manifest.build.get("fingerprint") != fingerprint:
        raise DataError(
            f"{out}: holds the data set {manifest.name} {manifest.version}, made with other options or another version",
            todo="choose another --out, or remove the folder",
        )
    missing = [entry.path for entry in manifest.files if not _has_size(out, entry)]
    if missing:
        raise DataError(f"{out / missing[0]}: missing or changed", todo="remove the folder and build it again")
    return True


def _claim(out: Path, fingerprint: str) -> None:
    """Make `out` the folder of this build, or see that it already is."""
    note = out / BUILD_FOLDER / FINGERPRINT_NAME
    with storage_errors(out):
        if note.is_file():
            if json.loads(note.read_bytes()) != fingerprint:
                raise DataError(
                    f"{out}: an unfinished build of another data set or with other options",
                    todo="run its own command again, choose another --out, or remove the folder",
                )
            return
        if out.is_dir() and any(path.name != BUILD_FOLDER for path in out.iterdir()):
            raise DataError(f"{out}: not empty, and no data set", "a new or empty folder", "choose another --out")
        (out / BUILD_FOLDER).mkdir(parents=True, exist_ok=True)
        write_json(note, fingerprint)


@contextmanager
def _sole_builder(out: Path) -> Iterator[None]:
    """Keep a second process from building in the same folder."""
    from filelock import FileLock, Timeout

    try:
        lock = FileLock(out / BUILD_FOLDER / "lock").acquire(timeout=0)
    except Timeout as error:
        raise StorageError(f"{out}: another process is building here", todo="wait for it to end") from error
    with lock:
        yield


def finished_shard(out: Path, shard: int) -> Shard | None:
    """Return what is on record of a shard that is finished and still whole, or None."""
    record = shard_record(out, shard)
    if not record.is_file():
        return None
    with storage_errors(record):
        content = json.loads(record.read_bytes())
    finished = Shard([FileEntry(**entry) for entry in content["files"]], content["dropped"])
    return finished if all(_has_size(out, entry) for entry in finished.files) else None


def _has_size(out: Path, entry: FileEntry) -> bool:
    path = out / entry.path
    return path.is_file() and path.stat().st_size == entry.bytes
