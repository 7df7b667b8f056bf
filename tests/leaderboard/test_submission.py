"""The folder of a submission: what belongs there, and what is refused."""

from __future__ import annotations

import os
import shutil

import pytest
import yaml
from submissions import CARD, change_card

from leaderboard.errors import SubmissionError
from leaderboard.submission import fetch, list_submissions, read_submission
from leaderboard.texts import dump_yaml
from leaderboard.verify import verify_submission


def test_it_is_read_as_it_was_written(honest):
    submission = read_submission(honest)
    assert submission.name == "toy"
    assert submission.card == CARD
    assert submission.result.complete
    assert set(submission.files) == {"train", "test"}
    assert fetch(submission, "test", 10**6) == honest / "embeddings" / "test.parquet"


def test_submissions_are_listed_by_name(honest, tmp_path):
    assert list_submissions(honest) == [honest]
    for name in ("b", "a"):
        shutil.copytree(honest, tmp_path / name)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "README.md").write_text("a file beside them")
    assert [path.name for path in list_submissions(tmp_path)] == ["a", "b"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SubmissionError, match="no submissions"):
        list_submissions(tmp_path / "empty")


def add_code(folder):
    (folder / "model.py").write_text("import os")


def add_pickle(folder):
    (folder / "embeddings" / "train.pkl").write_bytes(b"\x80\x04.")


def add_folder(folder):
    (folder / ".git").mkdir()


def link_result(folder):
    (folder / "result.json").unlink()
    (folder / "result.json").symlink_to("/etc/hostname")


def link_embeddings(folder):
    shutil.rmtree(folder / "embeddings")
    (folder / "embeddings").symlink_to("/")


def a_pipe(folder):
    (folder / "embeddings" / "test.parquet").unlink()
    os.mkfifo(folder / "embeddings" / "test.parquet")


def no_result(folder):
    (folder / "result.json").unlink()


def no_card(folder):
    (folder / "submission.yaml").unlink()


@pytest.mark.parametrize(
    "spoil", [add_code, add_pickle, add_folder, link_result, link_embeddings, a_pipe, no_result, no_card]
)
def test_what_does_not_belong_is_refused(folder, survey, spoil):
    spoil(folder)
    verdict = verify_submission(folder, [survey])
    assert [check.name for check in verdict.failures] == ["form"]


@pytest.mark.parametrize("name", ["a b", "-rf", ".hidden", "a;b", "<b>", "x" * 200])
def test_odd_names_of_folders_are_refused(folder, survey, name):
    place = folder.rename(folder.parent / name)
    assert [check.name for check in verify_submission(place, [survey]).failures] == ["form"]


def test_a_path_in_the_text_leads_nowhere(folder, survey):
    where = folder / "submission.yaml"
    content = yaml.safe_load(where.read_text())
    for change in ({"split": "../../etc/passwd"}, {"path": "/etc/passwd"}):
        spoiled = {**content, "embeddings": [{**content["embeddings"][0], **change}]}
        where.write_text(dump_yaml(spoiled))
        with pytest.raises(SubmissionError):
            read_submission(folder)


def test_html_in_a_name_is_refused_and_elsewhere_kept_as_text(folder, survey):
    change_card(folder, description="<script>alert(1)</script>", contact="A <a@example.org>")
    assert verify_submission(folder, [survey]).passed
    change_card(folder, name="<script>alert(1)</script>")
    assert [check.name for check in verify_submission(folder, [survey]).failures] == ["form"]


def test_one_split_twice_is_refused(folder):
    where = folder / "submission.yaml"
    content = yaml.safe_load(where.read_text())
    content["embeddings"].append(content["embeddings"][0])
    where.write_text(dump_yaml(content))
    with pytest.raises(SubmissionError, match="two files"):
        read_submission(folder)


def test_embeddings_on_the_hub_are_fetched_and_compared(folder, survey, monkeypatch):
    from leaderboard import submission as room

    elsewhere = folder.parent / "elsewhere.parquet"
    shutil.move(folder / "embeddings" / "test.parquet", elsewhere)
    where = folder / "submission.yaml"
    content = yaml.safe_load(where.read_text())
    address = "hf://datasets/org/vectors@" + "a" * 40 + "/toy/test.parquet"
    next(entry for entry in content["embeddings"] if entry["split"] == "test")["address"] = address
    where.write_text(dump_yaml(content))
    asked = []
    monkeypatch.setattr(room, "_download", lambda address, size: asked.append(address) or elsewhere)
    assert verify_submission(folder, [survey]).passed
    elsewhere.write_bytes(elsewhere.read_bytes()[:-1] + b"x")
    assert [check.name for check in verify_submission(folder, [survey]).failures] == ["embeddings"]
    assert set(asked) == {address}
    assert len(asked) == 2


def test_a_file_too_large_is_not_fetched(folder, survey, monkeypatch):
    from leaderboard import submission as room

    where = folder / "submission.yaml"
    content = yaml.safe_load(where.read_text())
    for entry in content["embeddings"]:
        entry |= {"address": "hf://datasets/org/vectors@" + "a" * 40 + "/toy.parquet", "bytes": 10**12}
    where.write_text(dump_yaml(content))
    monkeypatch.setattr(room, "_download", lambda address, size: pytest.fail("it was fetched"))
    (failure,) = verify_submission(folder, [survey]).failures
    assert "1,000,000,000,000 bytes; expected at most" in failure.detail
