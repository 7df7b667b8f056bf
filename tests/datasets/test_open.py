"""Opening a data set: by folder, name and Hub id; and one clear line for whatever is wrong with it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_source import TinySource, tiny_info

from astroclip_bench import plugins
from astroclip_bench.datasets import access, check_dataset, index_folder, open_dataset, verify
from astroclip_bench.errors import DataError, StorageError, UserError
from astroclip_bench.files import sha256_file
from astroclip_bench.records import SCHEMA_KEY
from dataset_builders.parquet import build_dataset

FIRST = "data/train-00000-of-00003.parquet"


def edit_manifest(folder: Path, change) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rewrite(folder: Path, change, path: str = FIRST, **entry) -> None:
    """Replace a file's table by `change(table)`, and make sizes and digests in the manifest fit again."""
    target = folder / path
    pq.write_table(change(pq.read_table(target, partitioning=None)), target)

    def fit(content):
        for file in content["files"]:
            if file["path"] == path:
                file.update(bytes=target.stat().st_size, sha256=sha256_file(target), **entry)

    edit_manifest(folder, fit)


def truncate(folder: Path) -> None:
    path = folder / FIRST
    path.write_bytes(path.read_bytes()[:5000])


def truncate_and_fit(folder: Path) -> None:
    truncate(folder)
    path = folder / FIRST
    edit_manifest(folder, lambda content: content["files"][0].update(bytes=5000, sha256=sha256_file(path)))


def flip_byte(folder: Path) -> None:
    path = folder / FIRST
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def retype(table: pa.Table) -> pa.Table:
    index = table.schema.get_field_index("redshift")
    return table.set_column(index, "redshift", table["redshift"].cast(pa.float64()))


def other_metadata(table: pa.Table) -> pa.Table:
    metadata = json.loads(table.schema.metadata[SCHEMA_KEY])
    metadata["dataset"]["version"] = "2.0"
    return table.replace_schema_metadata({SCHEMA_KEY: json.dumps(metadata)})


def break_split_entry(content) -> None:
    content["files"][0]["path"] = "../elsewhere.parquet"


BAD_FOLDERS = {
    "truncated file": (truncate, [FIRST, "5000 bytes (truncated)"]),
    "truncated file the manifest agrees with": (truncate_and_fit, [FIRST, "not a readable Parquet file"]),
    "flipped byte": (flip_byte, [FIRST, "SHA-256", "(changed)"]),
    "missing file": (lambda folder: (folder / FIRST).unlink(), [FIRST, "the file is missing"]),
    "missing column": (
        lambda folder: rewrite(folder, lambda table: table.drop_columns("redshift"), FIRST.replace("00000-", "00001-")),
        ["train-00001", "column 'redshift' is missing"],
    ),
    "modality without its column": (
        lambda folder: rewrite(folder, lambda table: table.drop_columns("image")),
        [FIRST, "modality 'image' reads column 'image', which is missing"],
    ),
    "wrong type": (
        lambda folder: rewrite(folder, retype),
        [FIRST, "column 'redshift' has type double", "expected float"],
    ),
    "another column": (
        lambda folder: rewrite(
            folder, lambda table: table.append_column("x", table["ra"]), FIRST.replace("00000-", "00001-")
        ),
        ["train-00001", "column 'x' is not in the other files"],
    ),
    "no record metadata": (
        lambda folder: rewrite(folder, lambda table: table.replace_schema_metadata(None)),
        [FIRST, "no readable 'astroclip_bench' entry"],
    ),
    "metadata of another version": (
        lambda folder: rewrite(folder, other_metadata, FIRST.replace("00000-", "00001-")),
        ["train-00001", "schema metadata differ"],
    ),
    "fewer rows than the manifest says": (
        lambda folder: rewrite(folder, lambda table: table.slice(1)),
        [FIRST, "26 rows; expected 27"],
    ),
    "wrong counts": (
        lambda folder: edit_manifest(folder, lambda content: content["counts"].update(train=1)),
        ["manifest.json", "counts do not add up"],
    ),
    "another digest": (
        lambda folder: edit_manifest(folder, lambda content: content.update(digest="0" * 32)),
        ["data digest of the manifest does not fit"],
    ),
    "another name": (
        lambda folder: edit_manifest(folder, lambda content: content.update(name="other")),
        ["data set tiny 1.0; expected other 1.0"],
    ),
    "no files": (
        lambda folder: edit_manifest(
            folder, lambda content: content.update(files=[], counts=dict.fromkeys(content["counts"], 0))
        ),
        ["the manifest lists no files"],
    ),
    "path out of the folder": (lambda folder: edit_manifest(folder, break_split_entry), ["refused the entry '../"]),
    "manifest of another version": (
        lambda folder: edit_manifest(folder, lambda content: content.update(manifest_version=9)),
        ["manifest version 9; expected version 1"],
    ),
    "broken manifest": (
        lambda folder: (folder / "manifest.json").write_text("{"),
        ["manifest.json: not a readable manifest"],
    ),
    "missing manifest": (
        lambda folder: (folder / "manifest.json").unlink(),
        ["Parquet files without manifest.json", "index_folder("],
    ),
    "empty folder": (
        lambda folder: (shutil.rmtree(folder), folder.mkdir()),
        ["an empty folder", "astroclip-bench data build"],
    ),
    "unfinished folder": (
        lambda folder: ((folder / "manifest.json").unlink(), (folder / ".build").mkdir()),
        ["an unfinished data set", "run the same data build command again"],
    ),
}


def assert_one_line(error: UserError, parts: list[str]) -> None:
    text = str(error)
    assert "\n" not in text
    assert error.exit_code == 2
    for part in parts:
        assert part in text


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_a_bad_folder_gives_one_line(copy, name):
    spoil, parts = BAD_FOLDERS[name]
    spoil(copy)
    with pytest.raises(DataError) as caught:
        open_dataset(copy)
    assert_one_line(caught.value, parts)


def test_a_file_is_no_folder(tiny):
    with pytest.raises(DataError, match=r"README.md: not a folder"):
        open_dataset(tiny / "README.md")


def test_a_path_that_is_not_there():
    with pytest.raises(DataError, match=r"somewhere/far/away: no such folder"):
        open_dataset("/somewhere/far/away")


def test_a_file_that_cannot_be_read(copy, monkeypatch):
    original = Path.open

    def refuse(self, *args, **kwargs):
        if self.suffix == ".parquet":
            raise PermissionError(13, "Permission denied", str(self))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match=r"train-00000.*Permission denied; check its permissions"):
        open_dataset(copy)


def test_a_damaged_page_is_found_while_reading(copy):
    flip_byte(copy)
    dataset = open_dataset(copy, verify="sizes")
    with pytest.raises(DataError, match=r"train-00000.*not a readable Parquet file"):
        list(dataset.splits["train"].batches(dataset.schema.names, 16))


def test_hashing_is_done_once_for_an_unchanged_file(copy, monkeypatch):
    hashed = []
    monkeypatch.setattr(verify, "sha256_file", lambda path: hashed.append(path.name) or sha256_file(path))
    open_dataset(copy)
    assert len(hashed) == 9
    open_dataset(copy)
    assert len(hashed) == 9
    os.utime(copy / FIRST)
    open_dataset(copy)
    assert hashed[9:] == [Path(FIRST).name]
    flip_byte(copy)
    with pytest.raises(DataError, match="SHA-256"):
        open_dataset(copy)


def test_a_cache_that_cannot_be_written_does_not_matter(copy, monkeypatch):
    def refuse(*args):
        raise StorageError("read-only")

    monkeypatch.setattr(verify, "write_json", refuse)
    assert open_dataset(copy).splits["train"].rows == 80


def test_deep_check(tiny):
    seen = []
    report = check_dataset(tiny, progress=lambda done, total: seen.append((done, total)))
    assert (report.rows, report.files, report.pixels, report.straddling_pixels) == (120, 9, 12, 0)
    assert report.digest == open_dataset(tiny).digest
    assert seen[-1] == (120, 120)


def test_deep_check_compares_contents(copy):
    # The bytes and the manifest agree here; only the values tell.
    rewrite(copy, lambda table: table.set_column(0, table.schema.field(0), pa.array(list("a" * table.num_rows))))
    with pytest.raises(DataError, match=r"train-00000.*content digest"):
        check_dataset(copy)


def write_split(path, rows, split):
    column = pa.array([split] * rows.num_rows)
    pq.write_table(rows.set_column(rows.schema.get_field_index("split"), rows.schema.field("split"), column), path)


def test_a_split_of_another_rule_may_share_pixels_and_the_check_counts_them(tmp_path):
    source = TinySource(n_shards=1, info=tiny_info(split_rule="astroclip-v1"))
    rows = pa.Table.from_batches(list(source.rows(0)))
    # The rows lie on twelve pixels in turn, so the last eight share theirs with earlier rows.
    write_split(tmp_path / "train.parquet", rows.slice(0, 32), "train")
    write_split(tmp_path / "test.parquet", rows.slice(32), "test")
    index_folder(tmp_path)
    report = check_dataset(tmp_path)
    assert (report.pixels, report.straddling_pixels) == (12, 8)


def test_deep_check_finds_duplicates_and_straddling_pixels(tmp_path):
    source = TinySource(n_shards=1)
    batch = pa.Table.from_batches(list(source.rows(0)))
    for split, rows in (("train", batch.slice(0, 20)), ("test", batch.slice(10, 20))):
        write_split(tmp_path / f"{split}.parquet", rows, split)
    index_folder(tmp_path)
    with pytest.raises(DataError, match=r"HEALPix pixel \d+ is also in split train"):
        check_dataset(tmp_path)
    (tmp_path / "test.parquet").unlink()
    pq.write_table(pq.read_table(tmp_path / "train.parquet").slice(5, 3), tmp_path / "train2.parquet")
    index_folder(tmp_path)
    with pytest.raises(DataError, match="3 object ids occur more than once, such as '1005'"):
        check_dataset(tmp_path)


def test_parquet_files_of_the_schema_can_be_indexed(copy):
    before = open_dataset(copy).digest
    (copy / "manifest.json").unlink()
    index_folder(copy)
    assert open_dataset(copy).digest == before
    assert check_dataset(copy).rows == 120


class Named:
    """A data set that an entry point could name."""

    name = "tiny-named"

    def __init__(self) -> None:
        self.built = 0

    def build(self, out, *, workers=1, progress=None):
        """Build the small data set."""
        self.built += 1
        return build_dataset(TinySource(), out, workers=workers, progress=progress)


@pytest.fixture
def named(monkeypatch, tmp_path):
    monkeypatch.setenv("ASTROCLIP_BENCH_CACHE", str(tmp_path / "cache"))
    instance = Named()
    monkeypatch.setattr(access, "plugin_names", lambda group: ["tiny-named", "mock-mini"])
    monkeypatch.setattr(access, "load_plugin", lambda group, name: instance)
    return instance


def test_a_name_is_generated_once(named, tmp_path):
    progress = []
    first = open_dataset("tiny-named", progress=lambda done, total: progress.append(done))
    assert progress[-1] == 120
    assert first.folder == tmp_path / "cache" / "datasets" / "tiny-named"
    assert open_dataset("tiny-named").digest == first.digest
    assert named.built == 1


def test_versions_of_a_name_lie_apart(named):
    first = open_dataset("tiny-named").folder
    named.version = "2.0"
    assert open_dataset("tiny-named").folder == first.with_name("tiny-named-2.0")
    assert named.built == 2


def test_a_name_comes_before_a_folder(named, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny, tmp_path / "tiny-named")
    assert open_dataset("./tiny-named").folder == tmp_path / "tiny-named"
    assert open_dataset("tiny-named").folder != tmp_path / "tiny-named"


def test_an_unknown_name_gets_a_suggestion(named):
    with pytest.raises(DataError, match=r"no data set or folder 'mock-minni'.*did you mean mock-mini\?"):
        open_dataset("mock-minni")
    assert "mock-mini" in plugins.plugin_names("datasets")


def test_a_revision_needs_the_hub(named, tiny):
    for source in ("tiny-named", tiny):
        with pytest.raises(DataError, match="leave the revision out"):
            open_dataset(source, revision="v1")


@pytest.mark.parametrize(
    ("source", "revision", "expected"),
    [
        ("org/tiny", None, ("org/tiny", None)),
        ("org/tiny", "v2", ("org/tiny", "v2")),
        ("hf://org/tiny@main", None, ("org/tiny", "main")),
        ("hf://datasets/org/tiny", None, ("org/tiny", None)),
    ],
)
def test_hub_ids_are_downloaded(tiny, monkeypatch, source, revision, expected):
    calls = []

    def snapshot_download(repository, *, repo_type, revision, allow_patterns):
        calls.append((repository, revision))
        assert repo_type == "dataset"
        return str(tiny)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert open_dataset(source, revision=revision).splits["test"].rows == 20
    assert calls == [expected]


def test_hub_failures_give_one_line(monkeypatch):
    from huggingface_hub import errors

    with pytest.raises(DataError, match=r"org/tiny is not in the local cache and the Hub cannot be reached"):
        open_dataset("org/tiny")
    with pytest.raises(DataError, match=r"is not a Hub id"):
        open_dataset("hf://nothing")

    class Response:
        """What the client's errors look at."""

        headers: dict[str, str] = {}  # noqa: RUF012
        request = None

    failures = {
        errors.RepositoryNotFoundError: "no data set org/tiny@v1 on the Hub",
        errors.RevisionNotFoundError: "has no revision 'v1'",
        errors.GatedRepoError: "asks for permission",
        errors.HfHubHTTPError: "cannot be reached",
    }
    for failure, message in failures.items():

        def fail(*args, failure=failure, **kwargs):
            raise failure("no", response=Response())

        monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
        with pytest.raises(DataError, match=message):
            open_dataset("org/tiny", revision="v1")
