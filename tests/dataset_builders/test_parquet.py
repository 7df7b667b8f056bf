"""Building a data set folder: its files, its rules, and what happens when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny_source import TinySource, tiny_info

from astroclip_bench.datasets import check_dataset, open_dataset
from astroclip_bench.datasets.manifest import BUILD_FOLDER
from astroclip_bench.errors import DataError, StorageError, UserError
from astroclip_bench.records import COLUMNS, image_column, image_modality, record_schema, spectrum_modality
from dataset_builders import shards
from dataset_builders.parquet import build_dataset
from dataset_builders.shards import row_bytes, row_group_rows

SUPPORT = Path(__file__).resolve().parents[1] / "support"


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_of(folder)}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_dataset(TinySource(), tmp_path_factory.mktemp("built") / "out")


def test_the_folder(built):
    expected = {f"data/{s}-0000{i}-of-00003.parquet" for s in ("train", "validation", "test") for i in range(3)}
    assert files_of(built) == {"README.md", "croissant.json", "eval.yaml", "manifest.json", *expected}
    manifest = json.loads((built / "manifest.json").read_text())
    assert manifest["manifest_version"] == 1
    assert manifest["counts"] == {"train": 80, "validation": 20, "test": 20}
    assert manifest["build"]["rows_dropped"] == {"none": 0}
    assert {"python", "pyarrow", "astroclip-bench"} <= set(manifest["build"]["software"])
    assert check_dataset(built).rows == 120


def test_encodings(built):
    file = pq.ParquetFile(built / "data/train-00000-of-00003.parquet")
    group = file.metadata.row_group(0)
    columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
    assert all(column.compression == "ZSTD" and column.has_column_index for column in columns.values())
    for name in ("image.list.element.list.element.list.element", "redshift", "ra"):
        assert "BYTE_STREAM_SPLIT" in columns[name].encodings
    assert file.schema_arrow.field("image").metadata[b"unit"] == b"nmgy"


def test_row_groups_follow_the_size_of_a_row(tmp_path, monkeypatch):
    names = ("object_id", "healpix", "split", "flux", "ivar")
    columns = [*(COLUMNS[name] for name in names), image_column()]
    pair = record_schema(tiny_info(), columns, [image_modality(), spectrum_modality()])
    assert row_bytes(pair) == 24 + 8 + 24 + 2 * 7781 * 4 + 3 * 152 * 152 * 4
    assert 150 < row_group_rows(pair) < 250
    assert row_group_rows(pair) * row_bytes(pair) < 100_000_000
    monkeypatch.setattr(shards, "ROW_GROUP_MAX_ROWS", 12)
    folder = build_dataset(TinySource(), tmp_path / "out")
    metadata = pq.read_metadata(folder / "data/train-00000-of-00003.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [12, 12, 3]


def test_any_number_of_workers_writes_the_same_bytes(built, tmp_path):
    progress = []
    two = build_dataset(TinySource(), tmp_path / "two", workers=2, progress=lambda *state: progress.append(state))
    assert contents(two) == contents(built)
    assert progress[0] == (0, 120)
    assert progress[-1] == (120, 120)
    assert progress == sorted(progress)


def test_a_split_without_rows_writes_no_file(tmp_path):
    class OnePixel(TinySource):
        """Every galaxy on a pixel of the training split."""

        def make(self, first, count):
            batch = super().make(first, count)
            return batch.set_column(3, "healpix", [100] * count).set_column(4, "split", ["train"] * count)

    folder = build_dataset(OnePixel(n_shards=1), tmp_path / "out")
    assert files_of(folder) == {"README.md", "croissant.json", "manifest.json", "data/train-00000-of-00001.parquet"}
    dataset = open_dataset(folder)
    assert dataset.splits["test"].rows == 0
    assert dataset.splits["test"].object_ids == []
    assert list(dataset.splits["test"].batches(["image"], 4)) == []
    assert dataset.splits["test"].column("image").shape == (0, 3, 8, 8)


def test_a_finished_data_set_is_returned(tmp_path):
    seen = tmp_path / "seen"
    build_dataset(TinySource(seen=seen), tmp_path / "out")
    made = seen.read_text()
    assert build_dataset(TinySource(seen=seen), tmp_path / "out") == tmp_path / "out"
    assert seen.read_text() == made
    with pytest.raises(DataError, match=r"holds the data set tiny 1\.0, made with other options"):
        build_dataset(TinySource(info=tiny_info(version="2.0")), tmp_path / "out")


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(DataError, match="not empty, and no data set"):
        build_dataset(TinySource(), tmp_path)
    assert files_of(tmp_path) == {"thesis.tex"}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan pixels", "tiny, shard 1: column 'image' has 2 values that are not finite; expected finite numbers"),
        ("nan label", "column 'redshift' has 16 rows that are not finite; expected null where a value is missing"),
        ("null modality", "column 'flux_g' is null in 16 rows"),
        ("split", "split 'dev'; expected one of train, validation, test"),
        ("type", "column 'mag_r' has type string; expected float"),
        ("column", "column 'mag_r' is missing"),
        ("duplicate", "1 object ids occur more than once, such as '1000' (41 times)"),
    ],
)
def test_bad_rows_are_refused(tmp_path, fault, message):
    with pytest.raises(DataError) as caught:
        build_dataset(TinySource(fault=fault), tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_workers_error_arrives(tmp_path):
    with pytest.raises(DataError, match="tiny, shard 1: column 'image' has 2 values that are not finite"):
        build_dataset(TinySource(fault="nan pixels"), tmp_path / "out", workers=2)


def test_interrupted_builds_resume(tmp_path, built):
    out, seen = tmp_path / "out", tmp_path / "seen"

    def interrupt(done, total):
        if done > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(TinySource(seen=seen), out, progress=interrupt)
    assert {name for name in files_of(out) if not name.startswith(BUILD_FOLDER)} == {
        f"data/{split}-00000-of-00003.parquet" for split in ("train", "validation", "test")
    }
    assert not list((out / BUILD_FOLDER).glob("shard-*-*"))
    with pytest.raises(DataError, match="unfinished data set"):
        open_dataset(out)
    with pytest.raises(DataError, match="an unfinished build of another data set"):
        build_dataset(TinySource(shard_rows=41), out)
    first = []
    build_dataset(TinySource(seen=seen), out, progress=lambda *state: first.append(state))
    assert first[0] == (40, 120)
    assert [line.split()[0] for line in seen.read_text().splitlines()] == ["0", "1", "1", "2"]
    assert contents(out) == contents(built)


def test_a_damaged_finished_shard_is_made_again(tmp_path, built):
    out = tmp_path / "out"
    with pytest.raises(StorageError):
        build_dataset(TinySource(fault="stop", fault_shard=2), out)
    (out / "data/train-00000-of-00003.parquet").write_bytes(b"PAR1")
    build_dataset(TinySource(), out)
    assert contents(out) == contents(built)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk(tmp_path, workers):
    out = tmp_path / "out"
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        build_dataset(TinySource(fault="stop", fault_shard=0), out, workers=workers)
    assert not (out / "manifest.json").exists()
    assert not list(out.rglob("*.tmp"))
    assert check_dataset(build_dataset(TinySource(), out)).rows == 120


def test_a_full_disk_while_parquet_is_written(tmp_path, monkeypatch):
    original = pq.ParquetWriter.write_table
    calls = []

    def fail_later(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > 4:
            raise OSError(28, "No space left on device")
        return original(self, *args, **kwargs)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", fail_later)
        with pytest.raises(StorageError, match="No space left on device"):
            build_dataset(TinySource(), out)
    for path in (out / "data").iterdir():
        assert pq.ParquetFile(path).read().num_rows > 0
    assert check_dataset(build_dataset(TinySource(), out)).rows == 120


def test_a_killed_worker(tmp_path):
    with pytest.raises(UserError, match="a worker process ended before its work was done"):
        build_dataset(TinySource(fault="killed"), tmp_path / "out", workers=2)


def test_two_builds_in_one_folder(tmp_path):
    def build_again(done, total):
        build_dataset(TinySource(), tmp_path / "out")

    with pytest.raises(StorageError, match="another process is building here"):
        build_dataset(TinySource(), tmp_path / "out", progress=build_again)


def test_no_rows_and_no_workers(tmp_path):
    with pytest.raises(DataError, match="no row is left"):
        build_dataset(TinySource(n_shards=1, shard_rows=0), tmp_path / "empty")
    with pytest.raises(UserError, match="0 workers"):
        build_dataset(TinySource(), tmp_path / "none", workers=0)


SCRIPT = """
import sys
from pathlib import Path
from tiny_source import TinySource
from dataset_builders.parquet import build_dataset
if __name__ == "__main__":
    out = Path(sys.argv[1])
    build_dataset(TinySource(n_shards=6, seconds_a_batch=0.4, seen=out.with_name("seen")), out, workers=2)
"""


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1][:3]
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopping_the_command_stops_its_workers(tmp_path, stop):
    out, seen = tmp_path / "out", tmp_path / "seen"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    process = subprocess.Popen(
        [sys.executable, str(script), str(out)], env=environment, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list(out.glob(f"{BUILD_FOLDER}/shard-*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    if stop == signal.SIGINT:
        os.killpg(process.pid, stop)  # as a terminal does: to parent and workers alike
    else:
        process.kill()
    _, messages = process.communicate(timeout=20)
    assert process.returncode != 0
    assert messages.count(b"Traceback") == (1 if stop == signal.SIGINT else 0)
    workers = {int(line.split()[1]) for line in seen.read_text().splitlines()}
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not (out / "manifest.json").exists()
    for path in (out / "data").iterdir():
        pq.ParquetFile(path).read()
    if stop == signal.SIGINT:
        assert [path for path in (out / BUILD_FOLDER).iterdir() if path.is_dir()] == []
    source = TinySource(n_shards=6, seen=seen)
    before = len(seen.read_text().splitlines())
    assert check_dataset(build_dataset(source, out)).rows == 240
    assert len(seen.read_text().splitlines()) - before < 6
