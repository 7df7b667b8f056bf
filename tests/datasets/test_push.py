"""Pushing a data set, over real HTTP, to as much of the Hub as that needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_server import HubServer, point_library_at, serving_hub
from tiny_source import TinySource, tiny_info

from astroclip_bench.datasets import open_dataset
from astroclip_bench.datasets.push import push_dataset
from astroclip_bench.errors import DataError
from dataset_builders.parquet import build_dataset

NAME = "org/tiny"


@pytest.fixture
def hub(monkeypatch):
    """Run the Hub here, and point its library at it."""
    with serving_hub(HubServer()) as running:
        point_library_at(running.url, monkeypatch)
        yield running


@pytest.fixture(scope="module")
def later(tmp_path_factory) -> Path:
    """Return the next version of the small data set: other rows in fewer files."""
    source = TinySource(n_shards=2, info=tiny_info(version="1.1"))
    return build_dataset(source, tmp_path_factory.mktemp("later") / "data-set")


def push(folder: Path, **options) -> tuple[str, list[str]]:
    said: list[str] = []
    return push_dataset(folder, NAME, say=said.append, **options), said


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_repository_gets_the_whole_folder_in_one_commit(hub, copy):
    (copy / "notes.txt").write_text("mine")
    (copy / "data" / "left-over.parquet").write_bytes(b"no part of it")
    seen = []
    url, said = push(copy, private=True, progress=lambda done, total: seen.append((done, total)))
    assert url == f"{hub.url}/datasets/{NAME}/commit/x"
    repository = hub.repositories[NAME]
    assert repository.private
    (commit,) = repository.commits
    assert commit["summary"] == f"tiny 1.0 (data digest {open_dataset(copy).digest})"
    expected = contents(copy)
    for name in ("notes.txt", "data/left-over.parquet", "eval.yaml"):
        del expected[name]
    assert {"README.md", "manifest.json", "croissant.json"} < set(expected)
    assert hub.files(NAME) == {".gitattributes": b"", **expected}
    assert said == [f"{NAME}: new", f"{len(expected)} files to send, 0 already there, 0 to remove"]
    assert seen


def test_what_was_pushed_can_be_opened_again(hub, tiny, tmp_path):
    push(tiny)
    for path, content in hub.files(NAME).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    assert open_dataset(tmp_path).digest == open_dataset(tiny).digest


def test_the_same_again_sends_nothing(hub, tiny):
    push(tiny)
    sent = len(hub.uploads)
    _, said = push(tiny)
    assert said[0] == f"{NAME}: version 1.0, with the same data"
    assert len(hub.uploads) == sent
    assert len(hub.repositories[NAME].commits) == 1


def test_a_later_version_replaces_the_earlier_and_removes_what_no_longer_belongs(hub, tiny, later):
    push(tiny)
    hub.files(NAME)["data/stray.parquet"] = b"would be loaded with the rest"
    hub.files(NAME)["docs/figure.png"] = b"someone's figure"
    _, said = push(later)
    assert said[0].startswith(f"{NAME}: replaces version 1.0 (data digest ")
    assert said[0].endswith(" by 1.1")
    expected = {**contents(later), ".gitattributes": b"", "docs/figure.png": b"someone's figure"}
    del expected["eval.yaml"]
    assert hub.files(NAME) == expected
    assert len(hub.repositories[NAME].commits) == 2


def test_an_interrupted_push_goes_on_from_where_it_was(hub, tiny):
    hub.faults[("POST", "/commit/")] = [503]
    with pytest.raises(
        DataError, match=r"the Hub is busy or down \(HTTP 503\); wait a while, and run the same command"
    ):
        push(tiny)
    files = {entry.sha256 for entry in open_dataset(tiny).manifest.files}
    assert set(hub.uploads) == files
    push(tiny)
    assert len(hub.uploads) == len(files)
    assert hub.files(NAME)["manifest.json"] == (tiny / "manifest.json").read_bytes()


def test_a_busy_server_is_asked_again(hub, tiny):
    hub.faults[("PUT", "/large/")] = [503, 503]
    hub.faults[("POST", "/preupload/")] = [503]
    push(tiny)
    assert hub.files(NAME)["README.md"] == (tiny / "README.md").read_bytes()


def test_a_pull_request_leaves_the_branch_alone(hub, tiny, later):
    push(tiny)
    url, _ = push(later, create_pr=True)
    assert url == f"{hub.url}/datasets/{NAME}/discussions/1"
    assert hub.files(NAME)["manifest.json"] == (tiny / "manifest.json").read_bytes()
    assert hub.repositories[NAME].pull_requests[0]["manifest.json"] == (later / "manifest.json").read_bytes()


def test_a_pull_request_needs_a_repository(hub, tiny):
    with pytest.raises(DataError, match=r"no data set org/tiny on the Hub.*leave --create-pr out to make it"):
        push(tiny, create_pr=True)
    assert hub.repositories == {}


def test_another_branch(hub, tiny, later):
    push(tiny)
    push(later, revision="v1.1")
    assert hub.files(NAME)["manifest.json"] == (tiny / "manifest.json").read_bytes()
    assert hub.files(NAME, "v1.1")["manifest.json"] == (later / "manifest.json").read_bytes()


def test_eval_yaml_goes_along_when_asked(hub, copy):
    push(copy)
    assert "eval.yaml" not in hub.files(NAME)
    push(copy, benchmark=True)
    assert hub.files(NAME)["eval.yaml"] == (copy / "eval.yaml").read_bytes()
    (copy / "eval.yaml").unlink()
    with pytest.raises(DataError, match=r"no eval\.yaml; leave --benchmark out"):
        push(copy, benchmark=True)


def test_metadata_that_the_folder_has_no_more_go(hub, copy):
    push(copy)
    (copy / "croissant.json").unlink()
    push(copy)
    assert "croissant.json" not in hub.files(NAME)
    assert "manifest.json" in hub.files(NAME)


def manifest_with(folder: Path, **changes) -> bytes:
    return json.dumps({**json.loads((folder / "manifest.json").read_bytes()), **changes}).encode()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "other"}, r"org/tiny holds the data set 'other'; expected 'tiny'; push to another repository"),
        ({"manifest_version": 2}, "has manifest version 2; expected 1; push to another repository"),
        ({"version": "1.10"}, r"has version 1\.10; expected 1\.0 or older"),
        ({"files": 3}, r"its manifest\.json cannot be read"),
    ],
)
def test_something_else_is_not_overwritten(hub, tiny, changes, says):
    push(tiny)
    before = hub.files(NAME)
    before["manifest.json"] = manifest_with(tiny, **changes)
    with pytest.raises(DataError, match=says):
        push(tiny)
    assert hub.files(NAME) is before


def test_a_repository_of_something_else_is_left_alone(hub, tiny):
    hub.add(NAME, {"model.safetensors": b"weights", "README.md": b""})
    with pytest.raises(DataError, match=r"holds files of something else, such as 'model\.safetensors'"):
        push(tiny)


def rewritten(path: Path, record_version: int | None = None, without: str | None = None) -> bytes:
    """Return a Parquet file with another record version, or without a column."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    if record_version is not None:
        metadata = json.loads(table.schema.metadata[b"astroclip_bench"])
        metadata["record_version"] = record_version
        table = table.replace_schema_metadata({b"astroclip_bench": json.dumps(metadata).encode()})
    if without is not None:
        table = table.drop_columns(without)
    target = path.with_suffix(".new")
    pq.write_table(table, target)
    return target.read_bytes()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"record_version": 99}, "has record version 99; expected 1; push to another repository"),
        ({"without": "mag_r"}, r"has version 1\.0 with other columns; 'mag_r' differs"),
    ],
)
def test_another_schema_is_not_overwritten(hub, tiny, copy, changes, says):
    push(tiny)
    first = open_dataset(tiny).manifest.files[0].path
    hub.files(NAME)[first] = rewritten(copy / first, **changes)
    with pytest.raises(DataError, match=says):
        push(tiny)


def test_a_new_version_may_have_other_columns(hub, later, copy):
    push(copy)
    first = open_dataset(copy).manifest.files[0].path
    hub.files(NAME)[first] = rewritten(copy / first, without="mag_r")
    push(later)
    assert hub.files(NAME)["manifest.json"] == (later / "manifest.json").read_bytes()


def test_a_damaged_folder_stays_at_home(hub, copy):
    (copy / open_dataset(copy).manifest.files[0].path).write_bytes(b"PAR1")
    with pytest.raises(DataError, match="truncated"):
        push(copy)
    assert hub.repositories == {}


def test_a_repository_that_changes_meanwhile(hub, tiny, later):
    push(tiny)
    hub.faults[("POST", "/commit/")] = [412]
    with pytest.raises(DataError, match=r"was changed by someone else meanwhile \(HTTP 412\); run the same command"):
        push(later)


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        ("no token", r"the Hub does not know you \(HTTP 401\); run hf auth login, or set HF_TOKEN"),
        ("read only", r"does not let you write to org/tiny \(HTTP 403\); use a token with the role write"),
        ("bad request", r"refuses the push to org/tiny \(HTTP 400\): .*check the card and the files"),
        ("offline", r"the Hub cannot be reached.*check the network"),
        ("no network", r"the Hub cannot be reached.*check the network"),
    ],
)
def test_one_clear_line(hub, tiny, monkeypatch, problem, says):
    from huggingface_hub import constants

    if problem == "no token":
        monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    elif problem == "read only":
        hub.read_only = True
    elif problem == "bad request":
        hub.faults[("POST", "/commit/")] = [400]
    elif problem == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=says) as caught:
        push(tiny)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (
            RuntimeError("shard refused"),
            r"sending files to org/tiny failed \(shard refused\); run the same command again",
        ),
        (PermissionError("token expired"), r"failed \(token expired\); run the same command again"),
        (TimeoutError("no answer"), r"the Hub cannot be reached \(no answer\)"),
    ],
)
def test_errors_of_the_storage_library(hub, tiny, monkeypatch, raised, says):
    from huggingface_hub import HfApi

    def fail(*_, **__):
        raise raised

    monkeypatch.setattr(HfApi, "preupload_lfs_files", fail)
    with pytest.raises(DataError, match=says):
        push(tiny)


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "org/ti ny", ""])
def test_names_that_are_none(hub, tiny, name):
    with pytest.raises(DataError, match="no name of a repository; expected org/name"):
        push_dataset(tiny, name)
