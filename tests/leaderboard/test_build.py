"""From submissions to rows and the board: what is verified when, and that numbers are those of the result."""

from __future__ import annotations

import threading
from urllib.request import urlopen

import numpy as np
import pytest
from submissions import change_card, change_result, seal

from astroclip_bench.results.record import read_result
from leaderboard.build import build_board, collect_rows
from leaderboard.columns import COLUMNS, track_of
from leaderboard.rows import key_of


@pytest.fixture
def said():
    return []


@pytest.fixture
def collect(folder, survey, tmp_path, said):
    """Return a function that collects the rows of the one submission in a folder."""
    folder.rename(tmp_path / "waiting")
    submissions = tmp_path / "submissions"
    submissions.mkdir()
    (tmp_path / "waiting").rename(submissions / "toy")
    return lambda: collect_rows(submissions, tmp_path / "rows", lambda: [survey], said.append)


def test_numbers_and_their_replicates_are_those_of_the_result(collect, folder, tmp_path):
    (row,) = collect()
    scores = read_result(tmp_path / "submissions" / "toy" / "result.json").scores
    columns = {(column.task, column.metric): column for column in COLUMNS}
    known = [
        (key_of(track_of(one.reference, one.query), one.protocol, columns[one.task, one.metric].key), one)
        for one in scores
        if (one.task, one.metric) in columns and one.group == "all"
    ]
    shown = [(key, one) for key, one in known if key in row.scores]
    assert len(shown) >= 4
    assert row.replicates
    for key, one in shown:
        assert row.scores[key].value == pytest.approx(one.value, abs=1e-9)
        assert (key in row.replicates) == (one.low is not None)
        if key in row.replicates:
            low, high = np.percentile(row.replicates[key], (2.5, 97.5))
            assert (low, high) == (pytest.approx(one.low, abs=1e-6), pytest.approx(one.high, abs=1e-6))


def test_what_is_verified_is_not_verified_again(collect, said):
    first = collect()
    assert [line.split(",")[0] for line in said] == ["toy: verified"]
    again = collect()
    assert len(said) == 1
    assert again == first
    np.testing.assert_array_equal(*(next(iter(rows[0].replicates.values())) for rows in (first, again)))


def test_what_changed_is_verified_again_and_shown_as_refused(collect, said, tmp_path):
    collect()
    changed = tmp_path / "submissions" / "toy"
    change_result(changed, lambda content: content["scores"][0].update(value=0.999))
    (row,) = collect()
    assert not row.verdict["passed"]
    assert (row.scores, row.replicates) == ({}, {})
    assert "refused" in said[-1]
    build_board([row], tmp_path / "board")
    assert "toy: scores:" in (tmp_path / "board" / "README.md").read_text()


def test_a_folder_that_is_no_submission_does_not_stop_the_others(collect, said, tmp_path):
    (tmp_path / "submissions" / "stray").mkdir()
    assert [row.name for row in collect()] == ["toy"]
    assert any(line.startswith("stray: refused (form: ") for line in said)


def test_a_changed_card_is_read_again(collect, tmp_path):
    assert collect()[0].card["name"] == "toy"
    change_card(tmp_path / "submissions" / "toy", name="another name")
    seal(tmp_path / "submissions" / "toy")
    assert collect()[0].card["name"] == "another name"


def test_the_command_builds_and_serves(folder, survey, tmp_path, run, monkeypatch):
    (tmp_path / "submissions").mkdir()
    folder.rename(tmp_path / "submissions" / "toy")
    done = run("leaderboard", "build", tmp_path / "submissions", "--data", survey.folder, "--out", tmp_path / "board")
    assert done.code == 0, done.err
    assert done.out.startswith("1 submissions on the board, 0 refused")
    assert sorted(path.name for path in (tmp_path / "board").iterdir()) == [
        "README.md",
        "board.parquet",
        "rows",
        "site",
    ]

    from http.server import ThreadingHTTPServer

    served = []
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", lambda server: served.append(fetch(server)))
    done = run("leaderboard", "serve", tmp_path / "board" / "site", "--port", "0", "--no-browser")
    assert done.code == 0, done.err
    assert b"Which embedding" in served[0]


def fetch(server) -> bytes:
    """Return the first page of a server that answers one request."""
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    with urlopen(f"http://127.0.0.1:{server.server_address[1]}/index.html", timeout=10) as answer:
        content = answer.read()
    thread.join()
    return content


def test_nothing_to_serve_is_one_line(run, tmp_path):
    done = run("leaderboard", "serve", tmp_path)
    assert done.code == 2
    assert "run astroclip-bench leaderboard build" in done.err
