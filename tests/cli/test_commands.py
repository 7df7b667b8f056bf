"""The commands on good input: what they write where."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from astroclip_bench.results.record import read_result


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_evaluate_prints_a_table_and_writes_the_result(run, tiny, tmp_path):
    outcome = run("evaluate", "photometry", "--data", tiny)
    assert outcome.code == 0
    assert "photometry (16-d) on tiny 1.0 (SIMULATED data" in outcome.out
    assert re.search(r"redshift\s+r2\s+photometry -> photometry\s+-?\d\.\d+\s+(-|\[)", outcome.out)
    path = tmp_path / "results" / "photometry--tiny.json"
    assert f"written: {path.relative_to(tmp_path)}" in outcome.err
    result = read_result(path)
    assert result.complete
    assert all(check["passed"] for check in result.checks)
    assert result.environment["packages"]["astroclip-bench"]


def test_evaluate_gives_json_alone_on_standard_output(run, tiny):
    outcome = run("evaluate", "photometry", "--data", tiny, "--format", "json", "--out", "r.json", "--no-floors")
    content = json.loads(outcome.out)
    assert content["result_version"] == 1
    assert content["floors"] == {}
    assert content == json.loads(Path("r.json").read_text())


def test_the_second_run_keeps_the_scores_and_never_starts_anew(run, tiny, monkeypatch):
    from astroclip_bench.tasks import scoring

    arguments = ("evaluate", "photometry", "--data", tiny, "--out", "r.json", "--no-floors")
    assert run(*arguments).code == 0
    first = read_result("r.json").scores
    monkeypatch.setattr(scoring, "score_pair", lambda *a, **k: pytest.fail("scored again"))
    assert run(*arguments).code == 0
    assert run(*arguments, "--resume", "always").code == 0
    assert read_result("r.json").scores == first
    monkeypatch.undo()


def test_a_run_of_some_tasks_is_completed_by_the_next(run, tiny):
    arguments = ("evaluate", "random-projection", "--data", tiny, "--out", "r.json", "--no-floors")
    first = run(*arguments, "--tasks", "redshift", "--limit", "300")
    assert "INCOMPLETE" in first.out
    assert not read_result("r.json").complete
    assert run(*arguments).code == 0
    assert read_result("r.json").complete


def test_the_full_suite_goes_on_from_the_default_one(run, tiny):
    arguments = ("evaluate", "photometry", "--data", tiny, "--out", "r.json", "--no-floors", "--tasks", "redshift")
    assert "linear" not in run(*arguments).out
    assert "photometry -> photometry, mlp" in run(*arguments, "--suite", "full", "--resume", "always").out
    assert {score.protocol for score in read_result("r.json").scores} == {"knn16", "knn64-std", "linear", "mlp"}
    outcome = run(*arguments, "--suite", "ful")
    assert outcome.code == 2
    assert "did you mean full" in outcome.err
    assert "Suite full" in run("tasks").out


@pytest.mark.parametrize("threads", [1, 2])
def test_scores_do_not_depend_on_the_number_of_threads(run, tiny, threads):
    run("evaluate", "photometry", "--data", tiny, "--out", f"{threads}.json", "--threads", threads, "--no-floors")
    values = {
        (s.cell, s.metric, s.group): s.value for s in read_result(f"{threads}.json").scores if s.value is not None
    }
    run("evaluate", "photometry", "--data", tiny, "--out", "default.json", "--no-floors")
    again = {(s.cell, s.metric, s.group): s.value for s in read_result("default.json").scores if s.value is not None}
    assert values == pytest.approx(again, rel=1e-9)


def test_tasks_are_listed_as_table_and_json(run):
    assert "log_stellar_mass" in run("tasks").out
    names = [task["name"] for task in json.loads(run("tasks", "--format", "json").out)]
    assert names[:2] == ["redshift", "stellar-mass"]


def test_data_info_and_check(run, tiny):
    info = run("data", "info", tiny)
    assert info.code == 0
    assert "tiny 1.0 (simulated)" in info.out
    assert "(3, 8, 8) [nmgy]" in info.out
    check = run("data", "check", tiny)
    assert check.code == 0
    assert "600 galaxies, all checks passed" in check.out


def test_data_build_lists_the_builders_of_all_packages(run):
    outcome = run("data", "build", "--help")
    assert outcome.code == 0
    assert {"mock", "sdss-photometry"} <= set(outcome.out.split())
    assert run("data", "build", "mocj").code == 2


def test_check_model_says_what_it_is_given_and_passes(run):
    outcome = run("check-model", "photometry")
    assert outcome.code == 0
    assert "batch['flux_g']" in outcome.out
    assert "determinism" in outcome.out


def test_doctor_finds_everything(run):
    outcome = run("doctor")
    assert outcome.code == 0, outcome.out
    assert "FAILED" not in outcome.out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("evaluate",),
        ("compare",),
        ("tasks",),
        ("data",),
        ("data", "info"),
        ("check-model",),
        ("analyse",),
        ("robustness",),
        ("baselines", "run"),
        ("sweep",),
    ],
)
def test_every_help_has_an_example(run, arguments):
    outcome = run(*arguments, "--help")
    assert outcome.code == 0
    assert arguments == ("data",) or "astroclip-bench" in outcome.out.split("Usage:")[1].partition("\n")[2]


def test_an_unknown_option_is_the_users_error(run):
    assert run("evaluate", "--modle", "x").code == 2
    assert run("evalute").code == 2
