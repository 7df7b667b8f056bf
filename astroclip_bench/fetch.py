"""Lists of files fetched over HTTP into a folder: measured first, then resumed, checked and named when whole."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from astroclip_bench.errors import DataError, StorageError, UserError
from astroclip_bench.files import storage_errors
from astroclip_bench.parallel import in_parallel
from astroclip_bench.progress import Progress

if TYPE_CHECKING:
    from astroclip_bench.transfer import Line

PART_SUFFIX = ".part"
LOCK_NAME = ".download.lock"
SPARE_BYTES = 100_000_000
"""What a download must leave free on the disk."""


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Parameters
    ----------
    url
        Where it is.
    path
        Where it goes, below the folder; with slashes.
    sums
        Address of a list of checksums in which it is named: the output of ``sha256sum``, or a Zenodo record (JSON).
    about_bytes
        Its size, roughly, where asking the server is not worth a request: files that are made when asked for.
    """

    url: str
    path: str
    sums: str | None = None
    about_bytes: int | None = None


@dataclass(frozen=True)
class FileList:
    """What a source of downloads declares.

    Parameters
    ----------
    files
        What to fetch.
    about
        What it is, in a few words, with its licence.
    requests_a_second
        Bound on the rate of requests, where the server's owners are to be spared.
    """

    files: tuple[RemoteFile, ...]
    about: str
    requests_a_second: float | None = None


@dataclass(frozen=True)
class Planned:
    """One file of a plan: what is known of it before it is fetched.

    `here` is what lies there of it already; `checksum` is ``sha256:...`` or ``md5:...``, if there is one.
    """

    file: RemoteFile
    bytes: int | None
    checksum: str | None
    here: int
    done: bool = False

    @property
    def left(self) -> int:
        """Bytes still to come; 0 where the size is not known."""
        return 0 if self.done or self.bytes is None else max(0, self.bytes - self.here)


@dataclass(frozen=True)
class Plan:
    """What a download will do."""

    out: Path
    files: tuple[Planned, ...]

    @property
    def missing(self) -> tuple[Planned, ...]:
        """The files that are not whole yet."""
        return tuple(planned for planned in self.files if not planned.done)

    @property
    def left(self) -> int:
        """Bytes still to come, as far as sizes are known."""
        return sum(planned.left for planned in self.files)

    def describe(self) -> str:
        """Return the plan in a few words."""
        missing = self.missing
        counts = {
            "already here": len(self.files) - len(missing),
            "resumed": sum(planned.here > 0 for planned in missing),
            "of unknown size": sum(planned.bytes is None for planned in missing),
            "without a published checksum": sum(planned.checksum is None for planned in missing),
        }
        notes = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
        return f"{len(missing):,} files, {format_bytes(self.left)} to fetch into {self.out}{notes}"


def plan_downloads(files: Sequence[RemoteFile], out: Path | str, line: Line, connections: int = 4) -> Plan:
    """Ask the servers for the sizes and checksums of the files that are not in the folder `out` yet.

    A file that lies there under its own name is whole: it gets the name last, when it has been checked.

    Raises
    ------
    DataError
        If a file does not exist or cannot be had, two go to one place, or one would leave the folder.
    """
    from astroclip_bench.transfer import MissingFileError, get_text, received_bytes, size_of

    out = Path(out).expanduser()
    _check_paths(files)
    missing = [file for file in files if not (out / file.path).is_file()]
    listings = sorted({file.sums for file in missing if file.sums})
    texts = in_parallel(lambda url: get_text(line, url), listings, connections, line.stop)
    sums = {url: _read_sums(text, url) for url, text in zip(listings, texts, strict=True)}
    absent: list[MissingFileError] = []

    def size(file: RemoteFile) -> int | None:
        try:
            return size_of(line, file.url) if file.about_bytes is None else file.about_bytes
        except MissingFileError as error:
            absent.append(error)
            return None

    known = dict(zip(missing, in_parallel(size, missing, connections, line.stop), strict=True))
    if absent:
        others = f" (and {len(absent) - 1} more of {len(files)} files)" if len(absent) > 1 else ""
        raise DataError(f"{absent[0].found}{others}", todo=absent[0].todo)

    def planned(file: RemoteFile) -> Planned:
        if file not in known:
            whole = (out / file.path).stat().st_size
            return Planned(file, whole, None, whole, done=True)
        name = PurePosixPath(file.path).name
        checksum = sums[file.sums].get(name) if file.sums else None
        return Planned(file, known[file], checksum, received_bytes(_part_path(out, file)))

    return Plan(out, tuple(planned(file) for file in files))


def check_space(plan: Plan) -> None:
    """Refuse a plan that the disk has no room for.

    Raises
    ------
    StorageError
        With what is free and what is wanted.
    """
    folder = next(path for path in (plan.out.absolute(), *plan.out.absolute().parents) if path.exists())
    with storage_errors(folder):
        free = shutil.disk_usage(folder).free
    if plan.left + SPARE_BYTES > free:
        raise StorageError(
            f"{plan.out}: {format_bytes(free)} free on the disk",
            f"{format_bytes(plan.left + SPARE_BYTES)}",
            "free some space, choose another --out, or fetch fewer files",
        )


def fetch(plan: Plan, line: Line, connections: int = 4, progress: Progress | None = None) -> int:
    """Fetch what is missing, several files at a time, and return how many were compared with a checksum.

    A file that fails does not keep the others from being fetched; a full disk does. Whatever has come in stays, in
    files with the suffix ``.part``, and the next run goes on from it.

    Parameters
    ----------
    progress
        Called with the bytes that are here and those expected.

    Raises
    ------
    DataError
        If a file cannot be had, or is not what its checksum says; with the number of such files.
    StorageError
        If the disk is full or not writable.
    """
    count = _Counter(plan, progress)
    failures: list[DataError] = []

    def one(planned: Planned) -> None:
        try:
            _fetch_one(plan.out, planned, line, count.advance)
        except DataError as error:
            failures.append(error)

    with _sole_fetcher(plan.out):
        in_parallel(one, plan.missing, connections, line.stop)
    if failures:
        first, rest = failures[0], len(plan.missing) - len(failures)
        raise DataError(
            f"{len(failures)} of {len(plan.missing)} files failed, {rest} are here; {first.found}",
            first.expected,
            first.todo,
        )
    return sum(planned.checksum is not None for planned in plan.missing)


def format_bytes(size: float) -> str:
    """Return a size with a decimal unit: ``1.9 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


class _Counter:
    """Bytes received by all threads, told to a `Progress` in megabytes."""

    def __init__(self, plan: Plan, progress: Progress | None) -> None:
        self._here = sum(planned.here for planned in plan.missing)
        self._total = self._here + plan.left
        self._progress = progress
        self._lock = threading.Lock()

    def advance(self, received: int) -> None:
        with self._lock:
            self._here += received
            if self._progress:
                self._progress(self._here // 10**6, max(self._total, self._here) // 10**6)


def _fetch_one(out: Path, planned: Planned, line: Line, advance: Callable[[int], None]) -> None:
    """Fetch one file, check it, and give it its name."""
    from astroclip_bench.transfer import discard, receive

    part = _part_path(out, planned.file)
    with storage_errors(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        expected_bytes = planned.bytes if planned.file.about_bytes is None else None
        receive(line, planned.file.url, part, advance, expected_bytes)
        found = part.stat().st_size
        if expected_bytes is not None and found > expected_bytes:
            discard(part)
            raise DataError(f"{planned.file.url}: {found} bytes received", f"{expected_bytes}", "run it again")
        if planned.checksum is not None:
            algorithm, _, expected = planned.checksum.partition(":")
            with part.open("rb") as handle:
                digest = hashlib.file_digest(handle, algorithm).hexdigest()
            if digest != expected:
                discard(part)
                raise DataError(
                    f"{planned.file.url}: {algorithm} {digest[:16]}..., removed",
                    f"{expected[:16]}... as {planned.file.sums} says",
                    "run it again; if it stays so, use a mirror (--base-url)",
                )
        part.replace(out / planned.file.path)


@contextmanager
def _sole_fetcher(out: Path) -> Iterator[None]:
    """Keep a second process from writing to the same parts."""
    from filelock import FileLock, Timeout

    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / LOCK_NAME)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise StorageError(f"{out}: another process is fetching into it", todo="wait for it to end") from error
    with lock:
        yield


def _part_path(out: Path, file: RemoteFile) -> Path:
    return out / f"{file.path}{PART_SUFFIX}"


def _check_paths(files: Sequence[RemoteFile]) -> None:
    if not files:
        raise UserError("nothing to fetch", todo="check the options")
    seen: set[str] = set()
    for file in files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise DataError(f"{file.path!r} leads out of the folder", "a path below it")
        if file.path in seen:
            raise DataError(f"two files go to {file.path!r}", "each to a place of its own")
        seen.add(file.path)


def _read_sums(text: str | None, url: str) -> dict[str, str]:
    """Return file name -> ``algorithm:hexdigest``; empty where there is no such list."""
    if text is None:
        return {}
    try:
        if text.lstrip().startswith("{"):
            return {entry["key"]: entry["checksum"] for entry in json.loads(text)["files"]}
        pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
        return {PurePosixPath(name.lstrip("*")).name: f"sha256:{digest}" for digest, name in pairs}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{url}: not a list of checksums", "the output of sha256sum", "check --base-url") from error
