"""Downloads over real HTTP, from a server on this machine that fails on purpose."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from email.utils import format_datetime
from pathlib import Path

import pytest
from file_server import FileServer, serving

from astroclip_bench.errors import DataError, StorageError, UserError
from astroclip_bench.fetch import (
    LOCK_NAME,
    RemoteFile,
    check_space,
    fetch,
    format_bytes,
    plan_downloads,
)
from astroclip_bench.parallel import StoppedError, in_parallel
from astroclip_bench.transfer import Line, open_client

CONTENT = bytes(range(256)) * 8192  # two pieces of a megabyte
OTHER = CONTENT[::-1]


@pytest.fixture
def server():
    with serving(FileServer(files={"/a.bin": CONTENT, "/sub/b.bin": b"small"})) as running:
        yield running


@pytest.fixture
def line():
    with open_client(4) as client:
        yield Line(client, attempts=3, first_wait_seconds=0.01)


def run(server, line, out, *files: RemoteFile, **options) -> int:
    plan = plan_downloads(files or [RemoteFile(f"{server.url}/a.bin", "a.bin")], out, line)
    return fetch(plan, line, **options)


def left_behind(out: Path) -> set[str]:
    return {path.name for path in out.rglob("*") if path.is_file()} - {LOCK_NAME}


def test_files_arrive_and_are_not_asked_for_again(server, line, tmp_path):
    files = [RemoteFile(f"{server.url}/a.bin", "a.bin"), RemoteFile(f"{server.url}/sub/b.bin", "deep/er/b.bin")]
    seen = []
    plan = plan_downloads(files, tmp_path / "new", line)
    assert plan.left == len(CONTENT) + 5
    assert plan.describe().startswith("2 files, 2.1 MB to fetch into")
    assert fetch(plan, line, progress=lambda done, total: seen.append((done, total))) == 0
    assert (tmp_path / "new/a.bin").read_bytes() == CONTENT
    assert (tmp_path / "new/deep/er/b.bin").read_bytes() == b"small"
    assert left_behind(tmp_path / "new") == {"a.bin", "b.bin"}
    assert seen[-1] == (2, 2)
    server.requests.clear()
    again = plan_downloads(files, tmp_path / "new", line)
    assert again.missing == ()
    assert again.describe().startswith("0 files, 0 B to fetch")
    fetch(again, line)
    assert server.requests == []


@pytest.mark.parametrize("cut", [0, 1, 1_500_000])
def test_a_cut_connection_is_gone_on_from(server, line, tmp_path, cut):
    server.faults["/a.bin"] = [("cut", cut)]
    run(server, line, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    (first, second) = server.asked("GET", "/a.bin")
    assert first == (None, 200)
    assert second == ((f"bytes={cut}-", 206) if cut else (None, 200))


def test_an_answer_of_unknown_length_that_ends_early_is_gone_on_from(server, line, tmp_path):
    server.faults["/a.bin"] = [("unsized", 1_500_000)]
    run(server, line, tmp_path)
    assert server.asked("GET", "/a.bin") == [(None, 200), ("bytes=1500000-", 206)]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_another_range_than_was_asked_for_is_not_taken(server, line, tmp_path):
    server.faults["/a.bin"] = [("cut", 1_500_000), ("shifted",)]
    run(server, line, tmp_path)
    assert [status for _, status in server.asked("GET", "/a.bin")] == [200, 206, 200]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_server_that_falls_silent_is_left(server, line, tmp_path):
    line.client.timeout = 0.2
    server.faults["/a.bin"] = [("stalled", 0.5)]
    run(server, line, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_longer_file_than_announced_is_refused(server, line, tmp_path):
    plan = plan_downloads([RemoteFile(f"{server.url}/a.bin", "a.bin")], tmp_path, line)
    server.files["/a.bin"] += b"more"
    with pytest.raises(DataError, match=r"2097156 bytes received; expected 2097152; run it again"):
        fetch(plan, line)
    assert left_behind(tmp_path) == set()


def test_redirects_are_followed_but_not_in_circles(server, line, tmp_path):
    server.faults["/old.bin"] = [("status", 302, {"Location": "/a.bin"})]
    server.files["/old.bin"] = b""
    run(server, line, tmp_path, RemoteFile(f"{server.url}/old.bin", "a.bin", about_bytes=1))
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    server.faults["/old.bin"] = [("status", 302, {"Location": "/old.bin"})] * 50
    with pytest.raises(DataError, match="redirected in a circle"):
        run(server, line, tmp_path, RemoteFile(f"{server.url}/old.bin", "b.bin", about_bytes=1))


INTERRUPTED = """
import sys
url = sys.argv.pop()
from astroclip_bench.cli.main import main
from astroclip_bench.cli import data
from astroclip_bench.fetch import FileList, RemoteFile
data.plugin_names = lambda group: ["some"]
data.load_plugin = lambda group, name: some
def some() -> FileList:
    return FileList((RemoteFile(url, "a.bin"),), "A file")
main()
"""


def test_ctrl_c_leaves_a_part_that_the_same_command_goes_on_from(server, tmp_path):
    server.faults["/a.bin"] = [("stalled", 20)]
    command = [sys.executable, "-c", INTERRUPTED, "data", "download", "some", "--yes", "--out", str(tmp_path)]
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    (tmp_path / "a.bin.part.json").write_text(json.dumps(f'"{hashlib.md5(CONTENT).hexdigest()}"'))
    script = subprocess.Popen([*command, f"{server.url}/a.bin"], stderr=subprocess.PIPE, text=True)
    while not server.asked("GET", "/a.bin"):
        time.sleep(0.05)
        assert script.poll() is None
    script.send_signal(signal.SIGINT)
    _, said = script.communicate(timeout=30)
    assert script.returncode == 130, said
    assert said.splitlines()[-1] == "astroclip-bench: interrupted; run the same command again to go on"
    server.faults.clear()
    run_again = subprocess.run([*command, f"{server.url}/a.bin"], capture_output=True, text=True, timeout=30)
    assert run_again.returncode == 0, run_again.stderr
    assert server.asked("GET", "/a.bin")[-1] == ("bytes=1000-", 206)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_later_run_goes_on_from_the_part(server, line, tmp_path):
    server.faults["/a.bin"] = [("cut", 1_200_000), *[("status", 503, {})] * 2]
    with pytest.raises(DataError, match=r"HTTP 503 \(3 times in a row\); check the network, and run the same command"):
        run(server, line, tmp_path)
    assert left_behind(tmp_path) == {"a.bin.part", "a.bin.part.json"}
    server.requests.clear()
    plan = plan_downloads([RemoteFile(f"{server.url}/a.bin", "a.bin")], tmp_path, line)
    assert plan.left == len(CONTENT) - 1_200_000
    assert "1 resumed" in plan.describe()
    fetch(plan, line)
    assert server.asked("GET", "/a.bin") == [("bytes=1200000-", 206)]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert left_behind(tmp_path) == {"a.bin"}


def test_a_changed_file_is_fetched_anew(server, line, tmp_path):
    server.faults["/a.bin"] = [("cut", 1_200_000), *[("status", 503, {})] * 2]
    with pytest.raises(DataError):
        run(server, line, tmp_path)
    server.files["/a.bin"] = OTHER
    run(server, line, tmp_path)
    assert server.asked("GET", "/a.bin")[-1] == ("bytes=1200000-", 200)
    assert (tmp_path / "a.bin").read_bytes() == OTHER


def test_a_server_without_ranges_or_marks_sends_everything_again(server, line, tmp_path):
    server.with_ranges = False
    server.faults["/a.bin"] = [("cut", 1_200_000)]
    run(server, line, tmp_path)
    assert server.asked("GET", "/a.bin")[-1] == ("bytes=1200000-", 200)
    server.with_ranges, server.with_etag = True, False
    server.faults["/sub/b.bin"] = [("cut", 2)]
    run(server, line, tmp_path, RemoteFile(f"{server.url}/sub/b.bin", "b.bin"))
    assert server.asked("GET", "/sub/b.bin") == [(None, 200), (None, 200)]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert (tmp_path / "b.bin").read_bytes() == b"small"


def test_a_part_that_is_whole_or_too_long(server, line, tmp_path):
    mark = json.dumps(f'"{hashlib.md5(CONTENT).hexdigest()}"')
    for part in (CONTENT, CONTENT + b"x"):
        (tmp_path / "a.bin.part").write_bytes(part)
        (tmp_path / "a.bin.part.json").write_text(mark)
        run(server, line, tmp_path)
        assert (tmp_path / "a.bin").read_bytes() == CONTENT
        assert left_behind(tmp_path) == {"a.bin"}
        (tmp_path / "a.bin").unlink()
    assert [status for _, status in server.asked("GET", "/a.bin")] == [416, 416, 200]


@pytest.mark.parametrize("when", ["0", "date", "nonsense"])
def test_a_busy_server_is_asked_again_when_it_says(server, line, tmp_path, when):
    from datetime import UTC, datetime

    value = format_datetime(datetime.now(UTC), usegmt=True) if when == "date" else when
    server.faults["/a.bin"] = [("status", 503, {"Retry-After": value}), ("status", 429, {})]
    run(server, line, tmp_path)
    assert [status for _, status in server.asked("GET", "/a.bin")] == [503, 429, 200]


def test_retry_after_is_waited_for(server, line, tmp_path):
    server.faults["/sub/b.bin"] = [("status", 503, {"Retry-After": "1"})]
    start = time.monotonic()
    run(server, line, tmp_path, RemoteFile(f"{server.url}/sub/b.bin", "b.bin"))
    assert 1.0 <= time.monotonic() - start < 3.0


def test_progress_between_failures_counts_as_progress(server, line, tmp_path):
    server.faults["/a.bin"] = [("cut", 200_000)] * 8
    run(server, line, tmp_path)
    assert len(server.asked("GET", "/a.bin")) == 9
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "says"), [(403, "the server refuses it"), (401, "refuses"), (400, "HTTP 400")])
def test_a_refusal_is_final(server, line, tmp_path, status, says):
    server.refused["/a.bin"] = status
    with pytest.raises(DataError, match=rf"/a\.bin: HTTP {status}.*{says}|{says}"):
        run(server, line, tmp_path)
    assert len(server.requests) == 1


def test_missing_files_are_counted_before_anything_is_fetched(server, line, tmp_path):
    names = ("none", "a.bin", "nor this")
    files = [RemoteFile(f"{server.url}/{name}", name) for name in names]
    with pytest.raises(DataError, match=r"no such file \(HTTP 404\) \(and 1 more of 3 files\)"):
        run(server, line, tmp_path / "out", *files)
    assert not (tmp_path / "out").exists()


def test_one_bad_file_does_not_stop_the_others(server, line, tmp_path):
    server.faults["/a.bin"] = [("status", 403, {})]
    files = [RemoteFile(f"{server.url}/{name}", name) for name in ("a.bin", "sub/b.bin")]
    with pytest.raises(DataError, match=r"1 of 2 files failed, 1 are here; .*/a\.bin: HTTP 403"):
        run(server, line, tmp_path, *files)
    assert (tmp_path / "sub/b.bin").is_file()


def test_checksums_are_compared(server, line, tmp_path):
    server.add_with_sums("good", "all.sha256sum", {"a.bin": CONTENT, "b.bin": b"b"})
    sums = f"{server.url}/good/all.sha256sum"
    files = [RemoteFile(f"{server.url}/good/{name}", name, sums) for name in ("a.bin", "b.bin")]
    assert run(server, line, tmp_path, *files) == 2
    assert len(server.asked("GET", "/good/all.sha256sum")) == 1


def test_a_wrong_checksum_is_refused_and_the_file_removed(server, line, tmp_path):
    server.add_with_sums("bad", "all.sha256sum", {"a.bin": CONTENT})
    server.files["/bad/a.bin"] = OTHER
    file = RemoteFile(f"{server.url}/bad/a.bin", "a.bin", f"{server.url}/bad/all.sha256sum")
    with pytest.raises(DataError, match=r"sha256 .*removed; expected .* as .*all\.sha256sum says; run it again"):
        run(server, line, tmp_path, file)
    assert left_behind(tmp_path) == set()


def test_lists_of_checksums(server, line, tmp_path):
    digest = hashlib.md5(CONTENT).hexdigest()
    server.files["/record"] = json.dumps({"files": [{"key": "a.bin", "checksum": f"md5:{digest}"}]}).encode()
    server.files["/binary"] = f"{hashlib.sha256(CONTENT).hexdigest()} *./a.bin\n\n".encode()
    server.files["/odd"] = b"<html>"
    file = RemoteFile(f"{server.url}/a.bin", "a.bin")
    for listing in ("record", "binary"):
        checked = RemoteFile(file.url, f"{listing}/a.bin", f"{server.url}/{listing}")
        assert run(server, line, tmp_path, checked) == 1
    absent = RemoteFile(file.url, "a.bin", f"{server.url}/none")
    plan = plan_downloads([absent], tmp_path, line)
    assert "1 without a published checksum" in plan.describe()
    assert fetch(plan, line) == 0
    with pytest.raises(DataError, match="not a list of checksums"):
        run(server, line, tmp_path, RemoteFile(file.url, "c.bin", f"{server.url}/odd"))


def test_sizes_that_the_server_does_not_tell(server, line, tmp_path):
    server.with_head = False
    plan = plan_downloads([RemoteFile(f"{server.url}/a.bin", "a.bin")], tmp_path, line)
    assert "1 of unknown size" in plan.describe()
    fetch(plan, line)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_rough_size_spares_the_question(server, line, tmp_path):
    run(server, line, tmp_path, RemoteFile(f"{server.url}/a.bin", "a.bin", about_bytes=10))
    assert [method for method, *_ in server.requests] == ["GET"]


def test_the_rate_of_requests_is_bounded(server, line, tmp_path):
    line.requests_a_second = 20
    start = time.monotonic()
    files = [RemoteFile(f"{server.url}/sub/b.bin?{i}", f"{i}", about_bytes=5) for i in range(5)]
    run(server, line, tmp_path, *files)
    assert time.monotonic() - start >= 4 / 20


def test_no_server_and_no_address(line, tmp_path):
    gone = RemoteFile("http://127.0.0.1:9/a", "a")
    with pytest.raises(DataError, match=r"ConnectError.*\(3 times in a row\); check the network"):
        plan_downloads([gone], tmp_path, line)
    line.stop.clear()
    with pytest.raises(DataError, match="no web address; expected https://"):
        plan_downloads([RemoteFile("ftp://x/y", "a")], tmp_path, line)


def test_a_disk_without_room_is_refused_before_and_named_while_writing(server, line, tmp_path, monkeypatch):
    plan = plan_downloads([RemoteFile(f"{server.url}/a.bin", "a.bin")], tmp_path / "not/yet/there", line)
    check_space(plan)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2_000_000))
    with pytest.raises(StorageError, match=r"2 MB free on the disk; expected 102 MB; free some space"):
        check_space(plan)
    open_file = Path.open

    def open_on_full_disk(path: Path, mode: str = "r", *rest, **named):
        return open_file(Path("/dev/full") if path.suffix == ".part" and mode == "ab" else path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", open_on_full_disk)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        fetch(plan, line)


def test_one_process_at_a_time(server, line, tmp_path):
    from filelock import FileLock

    plan = plan_downloads([RemoteFile(f"{server.url}/a.bin", "a.bin")], tmp_path, line)
    with (
        FileLock(tmp_path / LOCK_NAME, thread_local=False),
        pytest.raises(StorageError, match="another process is fetching into it"),
    ):
        fetch(plan, line)


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "."])
def test_files_stay_in_the_folder(server, line, tmp_path, path):
    with pytest.raises(DataError, match="leads out of the folder"):
        run(server, line, tmp_path, RemoteFile(f"{server.url}/a.bin", path))


def test_lists_that_make_no_sense(server, line, tmp_path):
    file = RemoteFile(f"{server.url}/a.bin", "a.bin")
    with pytest.raises(DataError, match=r"two files go to 'a\.bin'"):
        run(server, line, tmp_path, file, file)
    with pytest.raises(UserError, match="nothing to fetch"):
        plan_downloads([], tmp_path, line)


def test_the_first_error_calls_the_others_off(line):
    started = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            started.wait(5)
            raise ValueError("first")
        started.set()
        return line.persist(lambda: item if line.stop.wait(5) else -1, "url")

    with pytest.raises(ValueError, match="first"):
        in_parallel(work, range(50), 2, line.stop)
    with pytest.raises(StoppedError):
        in_parallel(work, range(50), 2, line.stop)


def test_sizes_in_words():
    assert [format_bytes(size) for size in (0, 999, 1.9e9, 2.1e13)] == ["0 B", "999 B", "1.9 GB", "21 TB"]
