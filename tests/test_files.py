"""Writing is whole or not at all, and a full disk is named whatever library notices it."""

from __future__ import annotations

import errno
import shutil

import pytest

from astroclip_bench import files
from astroclip_bench.errors import DataError, StorageError
from astroclip_bench.files import atomic_path, write_json


def test_a_file_appears_whole_and_nothing_else_does(tmp_path):
    with atomic_path(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]
    assert (tmp_path / "new" / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no"), DataError("no")])
def test_a_failed_write_leaves_the_old_file(tmp_path, error):
    write_json(tmp_path / "a.json", {"old": 1})
    before = (tmp_path / "a.json").read_text()

    def write_half():
        with atomic_path(tmp_path / "a.json") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == before


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("file write failed"), Exception("os error 28")],
)
def test_a_full_disk_is_a_storage_error_that_says_so(tmp_path, monkeypatch, error):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage._replace(free=0))
    with pytest.raises(StorageError, match="No space left on device; free some space"), atomic_path(tmp_path / "a"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_names_the_full_disk_is_believed(tmp_path):
    with pytest.raises(StorageError, match="free some space"), atomic_path(tmp_path / "a"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")


def test_with_space_left_a_librarys_error_stays_what_it_is(tmp_path):
    with pytest.raises(RuntimeError, match="broken"), atomic_path(tmp_path / "a"):
        raise RuntimeError("broken")
