"""From a result to a submission: what is refused, what is written, and what goes to the Hub."""

from __future__ import annotations

import json

import pytest
import yaml
from hub_server import HubServer, point_library_at, serving_hub
from submissions import CARD, change_result

from astroclip_bench.errors import DataError
from astroclip_bench.results.record import read_result
from leaderboard.errors import SubmissionError
from leaderboard.hub import propose, publish_embeddings
from leaderboard.submission import read_submission
from leaderboard.submit import Prepared
from leaderboard.texts import dump_yaml
from leaderboard.verify import Verdict


@pytest.fixture
def hub(monkeypatch):
    """Run the Hub here, with an empty repository of submissions."""
    with serving_hub(HubServer()) as running:
        point_library_at(running.url, monkeypatch)
        running.add("org/board", {})
        yield running


@pytest.fixture
def room(tmp_path, monkeypatch):
    """Return an empty working folder with a model card."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "card.yaml").write_text(dump_yaml(CARD))
    return tmp_path


def submit(run, room, survey, result, *options):
    return run("submit", result, "--model-card", room / "card.yaml", "--data", survey.folder, *options)


def test_a_result_becomes_a_folder_that_verifies(run, room, survey, evaluated, model):
    outcome = submit(run, room, survey, evaluated, "--model", model, "--out", "subs", "--benchmark", "org/tiny")
    assert outcome.code == 0, outcome.err
    assert "toy--tiny/embeddings/test.parquet" in outcome.out
    assert "SIMULATED" in outcome.out
    assert "0 of" in outcome.out
    submission = read_submission(room / "subs" / "toy--tiny")
    assert submission.card == CARD
    assert not submission.result.floors
    before = read_result(evaluated)
    assert submission.result.embedder == before.embedder
    assert submission.result.options == before.options
    assert [path.name for path in (room / "subs").iterdir()] == ["toy--tiny"]
    assert run("leaderboard", "verify", "subs", "--data", survey.folder).code == 0
    entries = yaml.safe_load((room / ".eval_results" / "toy--tiny.yaml").read_text())
    assert {entry["dataset"]["id"] for entry in entries} == {"org/tiny"}
    assert {entry["dataset"]["task_id"] for entry in entries} == {"redshift", "retrieval"}
    assert all("SIMULATED" in entry["notes"] and 0 <= abs(entry["value"]) <= 1 for entry in entries)
    again = submit(run, room, survey, evaluated, "--model", model, "--out", "subs")
    assert again.code == 2
    assert "exists" in again.err


def test_a_dry_run_writes_nothing(run, room, survey, evaluated, model):
    outcome = submit(run, room, survey, evaluated, "--model", model, "--dry-run")
    assert outcome.code == 0
    assert "What will be sent" in outcome.out
    assert [path.name for path in room.iterdir()] == ["card.yaml"]


def test_vectors_come_from_the_cache_without_the_model(run, room, survey):
    assert run("evaluate", "photometry", "--data", survey.folder, "--out", "r.json", "--no-floors").code == 0
    outcome = submit(run, room, survey, "r.json", "--out", "subs")
    assert outcome.code == 0, outcome.err
    assert "no .eval_results entry" in outcome.err
    assert run("leaderboard", "verify", "subs", "--data", survey.folder).code == 0


@pytest.mark.slow
def test_probes_and_the_validation_split(run, room, survey, model):
    arguments = ("--data", survey.folder, "--out", "r.json", "--no-floors", "--suite", "full")
    assert run("evaluate", model, *arguments).code == 0
    outcome = submit(run, room, survey, "r.json", "--out", "subs", "--model", model)
    assert outcome.code == 0, outcome.err
    submission = read_submission(room / "subs" / "toy--tiny")
    assert set(submission.files) == {"train", "validation", "test"}
    assert {"linear", "mlp"} <= {score.protocol for score in submission.result.scores}
    assert run("leaderboard", "verify", "subs", "--data", survey.folder).code == 0


def test_predictions_alone(run, room, survey):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    test = survey.splits["test"]
    guesses = np.random.default_rng(0).uniform(size=test.rows)
    pq.write_table(pa.table({"object_id": test.object_ids, "predicted_redshift_from_image": guesses}), "guess.parquet")
    assert run("evaluate", "guess.parquet", "--data", survey.folder, "--out", "r.json", "--no-floors").code == 0
    assert submit(run, room, survey, "r.json", "--out", "subs", "--model", "guess.parquet").code == 0
    assert set(read_submission(room / "subs" / "toy--tiny").files) == {"test"}
    outcome = run("leaderboard", "verify", "subs", "--data", survey.folder, "--format", "json")
    assert outcome.code == 0
    assert json.loads(outcome.out)[0]["passed"]


def test_labels_in_the_place_of_predictions_are_refused(run, room, survey):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    test = survey.splits["test"]
    known = np.nan_to_num(test.column("redshift"), nan=0.5)
    pq.write_table(pa.table({"object_id": test.object_ids, "predicted_redshift_from_image": known}), "guess.parquet")
    assert run("evaluate", "guess.parquet", "--data", survey.folder, "--out", "r.json", "--no-floors").code == 0
    outcome = submit(run, room, survey, "r.json", "--out", "subs", "--model", "guess.parquet")
    assert outcome.code == 2
    assert "own predictions: redshift from image: 100% are the label" in outcome.err
    assert not (room / "subs").exists()


def test_a_file_in_the_place_of_the_folder_is_found_before_the_work(run, room, survey, evaluated, model):
    (room / "file").write_text("")
    outcome = submit(run, room, survey, evaluated, "--model", model, "--out", "file/subs")
    assert outcome.code == 2
    assert len(outcome.err.strip().splitlines()) == 1
    assert "What will be sent" not in outcome.out


def spoiled(evaluated, room, change):
    content = json.loads(evaluated.read_text())
    change(content)
    (room / "spoiled.json").write_text(json.dumps(content))
    return room / "spoiled.json"


def limited(content):
    content["options"]["limit"] = 50


def unfinished(content):
    content["complete"], content["incomplete_because"] = False, ["tasks not asked for: redshift"]


def stale(content):
    content["result_version"] = 0


def old(content):
    for row in content["scores"]:
        row["protocol_version"] = 99


def elsewhere(content):
    content["dataset"]["digest"] = "0" * 32


def improved(content):
    for row in content["scores"]:
        if row["metric"] == "r2":
            row["value"] = 0.999


def shortened(content):
    content["scores"] = [row for row in content["scores"] if row["query"] != "image"]


def of_another_model(content):
    content["embedder"]["digest"] = "f" * 64


REFUSED = {
    limited: "--limit 50",
    unfinished: "incomplete: tasks not asked for",
    stale: "result_version is 0",
    old: "version 99 of the protocol",
    elsewhere: "data of digest",
    improved: "what the embeddings give",
    shortened: "the result lacks",
    of_another_model: "--model has the digest",
}


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_what_may_not_be_submitted_is_refused_in_one_line(run, room, survey, evaluated, model, change):
    outcome = submit(run, room, survey, spoiled(evaluated, room, change), "--model", model, "--out", "subs")
    assert outcome.code == 2
    assert REFUSED[change] in outcome.err
    assert outcome.err.count("\n") == 1
    assert not list((room / "subs").glob("*")) if (room / "subs").exists() else True


def test_vectors_that_are_not_to_be_had_are_named(run, room, survey, evaluated):
    outcome = submit(run, room, survey, evaluated, "--out", "subs")
    assert outcome.code == 2
    assert "name the model" in outcome.err


def test_a_card_that_lacks_something_is_refused_first(run, room, survey, evaluated):
    (room / "card.yaml").write_text(dump_yaml({key: value for key, value in CARD.items() if key != "labels"}))
    outcome = submit(run, room, survey, evaluated)
    assert outcome.code == 2
    assert "'labels' is a required property" in outcome.err


@pytest.mark.parametrize("name", ["../up", "a/b", "-x", "a b"])
def test_odd_names_are_refused(run, room, survey, evaluated, model, name):
    outcome = submit(run, room, survey, evaluated, "--model", model, f"--name={name}", "--out", "subs")
    assert outcome.code == 2
    assert "no name of a submission" in outcome.err


def test_a_pull_request_on_the_hub(run, room, survey, evaluated, model, hub):
    options = ("--model", model, "--hub", "org/board", "--benchmark", "org/tiny")
    outcome = submit(run, room, survey, evaluated, *options, "--yes")
    assert outcome.code == 0, outcome.err
    proposed = hub.repositories["org/board"].pull_requests[0]
    assert {path for path in proposed if path.startswith("submissions/")} == {
        f"submissions/toy--tiny/{name}"
        for name in ("submission.yaml", "result.json", "embeddings/train.parquet", "embeddings/test.parquet")
    }
    assert "submissions/toy--tiny/submission.yaml" not in hub.files("org/board")
    entry = yaml.safe_load((room / ".eval_results" / "toy--tiny.yaml").read_text())[0]
    assert entry["source"]["url"] == f"{hub.url}/datasets/org/board/discussions/1"
    place = room / "back" / "toy--tiny"
    for path, content in proposed.items():
        if path.startswith("submissions/"):
            target = place / path.removeprefix("submissions/toy--tiny/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    assert run("leaderboard", "verify", place, "--data", survey.folder).code == 0


def test_nothing_is_sent_without_a_yes(run, room, survey, evaluated, model, hub, monkeypatch):
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    outcome = submit(run, room, survey, evaluated, "--model", model, "--hub", "org/board")
    assert outcome.code == 1
    assert "What will be sent" in outcome.out
    assert not hub.repositories["org/board"].pull_requests
    assert not (room / ".eval_results").exists()


def test_the_hub_refuses_in_words(honest, hub):
    prepared = Prepared(honest, Verdict("toy"), 0.0)
    with pytest.raises(DataError, match="no data set org/none"):
        propose(prepared, "org/none", "title")
    hub.add("org/full", {"submissions/toy/submission.yaml": b"there"})
    with pytest.raises(SubmissionError, match="has a submission"):
        propose(prepared, "org/full", "title")
    hub.read_only = True
    with pytest.raises(DataError, match="HTTP 403"):
        propose(prepared, "org/board", "title")


def test_embeddings_are_fetched_from_the_hub_at_a_commit(honest, hub):
    from leaderboard.submission import _download

    content = (honest / "embeddings" / "test.parquet").read_bytes()
    hub.add("org/vectors", {"toy/test.parquet": content})
    commit = hub.repositories["org/vectors"].branches["main"][0]
    address = f"hf://datasets/org/vectors@{commit}/toy/test.parquet"
    assert _download(address, len(content)).read_bytes() == content
    with pytest.raises(SubmissionError, match="another size"):
        _download(address, len(content) + 1)
    with pytest.raises(DataError, match="no data set org/none"):
        _download(address.replace("org/vectors", "org/none"), len(content))


def test_embeddings_in_a_repository_of_ones_own(run, room, survey, evaluated, model, hub):
    options = ("--model", model, "--hub", "org/board", "--embeddings", "me/vectors", "--yes")
    outcome = submit(run, room, survey, evaluated, *options)
    assert outcome.code == 0, outcome.err
    assert {path for path in hub.files("me/vectors") if path.endswith(".parquet")} == {
        "toy--tiny/train.parquet",
        "toy--tiny/test.parquet",
    }
    files = {
        path.removeprefix("submissions/toy--tiny/"): content
        for path, content in hub.repositories["org/board"].pull_requests[0].items()
        if path.startswith("submissions/")
    }
    assert files.keys() == {"submission.yaml", "result.json"}
    commit = hub.repositories["me/vectors"].branches["main"][0]
    entries = yaml.safe_load(files["submission.yaml"])["embeddings"]
    assert {entry["address"] for entry in entries} == {
        f"hf://datasets/me/vectors@{commit}/toy--tiny/{split}.parquet" for split in ("train", "test")
    }
    place = room / "back" / "toy--tiny"
    place.mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    assert run("leaderboard", "verify", place, "--data", survey.folder).code == 0


def test_embeddings_that_the_hub_refuses_stay_where_they_are(folder, hub):
    hub.read_only = True
    with pytest.raises(DataError, match="HTTP 403"):
        publish_embeddings(Prepared(folder, Verdict("toy"), 0.0), "me/vectors")
    assert (folder / "embeddings" / "test.parquet").is_file()
    assert "address" not in (folder / "submission.yaml").read_text()


def test_verify_tells_of_every_submission(run, folder, survey, tmp_path):
    import shutil

    shutil.copytree(folder, folder.parent / "good")
    change_result(folder, lambda content: content["options"].update(limit=10))
    outcome = run("leaderboard", "verify", folder.parent, "--data", survey.folder, "--out", tmp_path / "verdicts.json")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("astroclip-bench: 1 of 2 submissions did not pass, first toy: state")
    assert "REFUSED" in outcome.out
    assert "passed" in outcome.out
    verdicts = json.loads((tmp_path / "verdicts.json").read_text())
    assert [verdict["passed"] for verdict in verdicts] == [True, False]


@pytest.mark.parametrize("command", [("submit",), ("leaderboard", "verify"), ("leaderboard",)])
def test_help_fits_a_screen(run, command):
    outcome = run(*command, "--help")
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) <= 60
