"""Files and folders: atomic writing, digests, the cache folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from astroclip_bench.errors import BenchError, StorageError

FULL_DISK_BYTES = 2**20
"""A disk with less space than this, when writing fails, is full."""


def cache_dir(*parts: str) -> Path:
    """Return (and make) the folder `$ASTROCLIP_BENCH_CACHE`, or `$XDG_CACHE_HOME/astroclip-bench`, and its sub-folder."""
    root = os.environ.get("ASTROCLIP_BENCH_CACHE")
    if root is None:
        root = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "astroclip-bench")
    path = Path(root).expanduser().joinpath(*parts)
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def storage_errors(path: Path | str) -> Iterator[None]:
    """Turn an `OSError` raised while reading or writing `path` into a `StorageError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            todo = "free some space, or choose another folder (--out, or the variable ASTROCLIP_BENCH_CACHE)"
        elif isinstance(error, FileNotFoundError):
            todo = "check the path"
        elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
            todo = "check its permissions, or choose another folder (--out, or the variable ASTROCLIP_BENCH_CACHE)"
        else:
            todo = "check the path and the disk"
        reason = error.strerror or str(error)
        raise StorageError(f"{error.filename or path}: {reason}", todo=todo) from error


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """Turn what a library raises on a full disk, which need not be an `OSError`, into one."""
    try:
        yield
    except (OSError, BenchError):
        raise
    except Exception as error:
        if os.strerror(errno.ENOSPC) in str(error) or shutil.disk_usage(path.parent).free < FULL_DISK_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`, renamed onto it when the block ends well and removed when it does not.

    A reader therefore sees the old file or the whole new one, never a part. The parent folder is made if needed.

    Raises
    ------
    StorageError
        If the disk is full or the folder cannot be written.
    """
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            with _full_disk_named(path):
                yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Like `atomic_path` for a folder that does not exist yet (or is empty)."""
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN is refused, since JSON has none."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_file(path: Path | str) -> str:
    """Return the hexadecimal SHA-256 of a file, read in pieces."""
    with storage_errors(path), Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_strings(values: list[str]) -> str:
    """Return the BLAKE2b digest (32 hex digits) of a sequence of strings, order included."""
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        encoded = value.encode()
        digest.update(len(encoded).to_bytes(4, "little"))
        digest.update(encoded)
    return digest.hexdigest()
