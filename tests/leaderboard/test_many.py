"""Many submissions: kept as they come, none verified twice, the same in several processes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from submissions import change_card, change_result

from astroclip_bench.errors import UserError
from astroclip_bench.files import sha256_file
from leaderboard import many, submission
from leaderboard.build import collect_rows
from leaderboard.errors import SubmissionError
from leaderboard.many import verify_all


@pytest.fixture
def folders(honest, tmp_path) -> list[Path]:
    """Return three submissions, the second of which does not pass."""
    made = [Path(shutil.copytree(honest, tmp_path / "submissions" / name)) for name in ("a", "b", "c")]
    change_result(made[1], lambda content: content["options"].update(limit=10))
    return made


@pytest.fixture
def verified(monkeypatch) -> list[str]:
    """Return the names of the submissions verified from now on."""
    names: list[str] = []
    original = many.verify_submission

    def verify(folder, datasets):
        names.append(folder.name)
        return original(folder, datasets)

    monkeypatch.setattr(many, "verify_submission", verify)
    return names


def without_time(verdicts):
    return [{**verdict, "seconds": 0} for verdict in verdicts]


def test_verdicts_of_one_process_and_of_two(folders, survey):
    here = verify_all(folders, [survey])
    assert [verdict["name"] for verdict in here] == ["a", "b", "c"]
    assert [verdict["passed"] for verdict in here] == [True, False, True]
    assert without_time(verify_all(folders, [survey], workers=2)) == without_time(here)


def test_rows_of_one_process_and_of_two(folders, survey, tmp_path):
    found = []
    for workers in (1, 2):
        said: list[str] = []
        place = tmp_path / f"rows-{workers}"
        found.append(collect_rows(folders[0].parent, place, lambda: [survey], said.append, workers))
        assert sorted(line.partition(":")[0] for line in said) == ["a", "b", "c"]
        assert [row.verdict["passed"] for row in found[-1]] == [True, False, True]
        assert len(list(place.glob("*.parquet"))) == 3
    for one, two in zip(*found, strict=True):
        assert one.scores == two.scores
        assert one.replicates.keys() == two.replicates.keys()
        assert all((one.replicates[key] == two.replicates[key]).all() for key in one.replicates)


def test_going_on_from_what_an_interrupted_run_left(folders, survey, tmp_path, monkeypatch, verified):
    out = tmp_path / "verdicts.json"
    original = many.verify_submission

    def interrupted(folder, datasets):
        if folder.name == "c":
            raise KeyboardInterrupt
        return original(folder, datasets)

    with monkeypatch.context() as patch:
        patch.setattr(many, "verify_submission", interrupted)
        with pytest.raises(KeyboardInterrupt):
            verify_all(folders, [survey], out=out)
    assert [verdict["name"] for verdict in json.loads(out.read_text())] == ["a", "b"]
    verified.clear()
    verdicts = verify_all(folders, [survey], out=out, resume=True)
    assert verified == ["c"]
    assert [verdict["passed"] for verdict in verdicts] == [True, False, True]
    assert json.loads(out.read_text()) == verdicts
    verify_all(folders, [survey], out=out, resume=True)
    assert verified == ["c"]


@pytest.mark.parametrize("change", ["card", "vectors", "data"])
def test_what_has_changed_is_verified_anew(folders, survey, tmp_path, verified, change):
    out = tmp_path / "verdicts.json"
    verify_all(folders, [survey], out=out)
    verified.clear()
    datasets = [survey]
    if change == "card":
        change_card(folders[2], contact="b@example.org")
    elif change == "vectors":
        (folders[2] / "embeddings" / "test.parquet").write_bytes(b"nothing")
    else:
        datasets = [survey, survey]
    verdicts = verify_all(folders, datasets, out=out, resume=True)
    assert verified == (["a", "b", "c"] if change == "data" else ["c"])
    assert verdicts[2]["passed"] == (change != "vectors")


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', "[{}]", '[{"basis": "x"'])
def test_a_file_that_holds_no_verdicts(folders, survey, tmp_path, content):
    out = tmp_path / "verdicts.json"
    out.write_text(content)
    with pytest.raises(SubmissionError, match=r"verdicts\.json: no verdicts in it"):
        verify_all(folders, [survey], out=out, resume=True)
    assert out.read_text() == content


def spoil(folder: Path, kind: str) -> None:
    result = folder / "result.json"
    if kind == "an endless file":
        for path in (result, folder / "submission.yaml", folder / "embeddings" / "test.parquet"):
            os.truncate(path, 1 << 40)
    elif kind == "a link to the root":
        shutil.rmtree(folder)
        folder.symlink_to("/")
    elif kind == "embeddings that are a link":
        shutil.rmtree(folder / "embeddings")
        (folder / "embeddings").symlink_to("/")
    else:
        result.unlink()
        os.mkfifo(result)


@pytest.mark.parametrize(
    "kind", ["an endless file", "a link to the root", "embeddings that are a link", "a pipe in the place of the result"]
)
def test_a_hostile_folder_does_not_hold_up_the_others(folders, survey, tmp_path, monkeypatch, kind):
    """Nothing of it is read beyond the bounds, when it is verified, kept, and put on a board."""
    spoil(folders[1], kind)

    def bounded(path):
        assert Path(path).stat().st_size < 10**8
        return sha256_file(path)

    monkeypatch.setattr(submission, "sha256_file", bounded)
    for _ in range(2):
        verdicts = verify_all(folders, [survey], out=tmp_path / "verdicts.json", resume=True)
        assert [verdict["passed"] for verdict in verdicts] == [True, False, True]
        assert verdicts[1]["checks"][0]["outcome"] == "failed"
        assert "cannot be verified" not in verdicts[1]["checks"][0]["detail"]
    rows = collect_rows(folders[0].parent, tmp_path / "rows", lambda: [survey])
    assert [row.name for row in rows if row.verdict["passed"]] == ["a", "c"]


def test_a_large_result_is_not_read_though_the_rest_is_in_order(folders, survey, monkeypatch):
    os.truncate(folders[1] / "result.json", 1 << 40)
    monkeypatch.setattr(submission, "sha256_file", lambda path: 1 / 0)
    assert "more than" in verify_all(folders[1:2], [survey])[0]["checks"][0]["detail"]


def test_no_workers(folders, survey):
    with pytest.raises(UserError, match="0 workers; expected at least 1"):
        verify_all(folders, [survey], workers=0)


def test_the_same_command_goes_on(run, folders, survey, tmp_path):
    command = ("leaderboard", "verify", folders[0].parent, "--data", survey.folder, "--format", "json")
    command += ("--out", tmp_path / "v.json")
    first, again, anew = run(*command), run(*command, "--workers", "2"), run(*command, "--no-resume")
    assert first.code == again.code == anew.code == 2
    assert "3 of 3 verdicts are kept" in again.err
    assert "kept" not in first.err + anew.err
    assert json.loads(first.out) == json.loads(again.out)
    assert without_time(json.loads(first.out)) == without_time(json.loads(anew.out))
    assert json.loads((tmp_path / "v.json").read_text()) == json.loads(anew.out)
