"""`analyse` and `robustness` on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_robustness_prints_a_table_writes_the_record_and_goes_on(run, tiny, monkeypatch):
    arguments = ("robustness", "photometry", "--data", tiny, "--perturbations", "missing-g, dust")
    outcome = run(*arguments)
    assert outcome.code == 0, outcome.err
    assert "photometry on tiny 1.0 (SIMULATED data" in outcome.out
    assert re.search(r"photometry +dust +0\.3 mag +-?\d\.\d{3}", outcome.out)
    path = Path("results/photometry--tiny-robustness.json")
    first = json.loads(path.read_text())
    assert {(row["perturbation"], row["level"]) for row in first["curves"]} == {
        *(("dust", level) for level in (0.0, 0.1, 0.3, 1.0)),
        *(("missing-g", level) for level in (0.0, 1.0)),
    }
    from astroclip_bench import robustness

    monkeypatch.setattr(robustness, "knn_regress", lambda *a, **k: pytest.fail("scored again"))
    assert run(*arguments).code == 0
    assert json.loads(path.read_text()) == first


def test_wrong_robustness_requests_are_the_users_errors(run, tiny):
    assert run("robustness", "photometry", "--data", tiny, "--perturbations", "fog").code == 2
    Path("r.json").write_text("{}")
    outcome = run("robustness", "photometry", "--data", tiny, "--out", "r.json")
    assert outcome.code == 2
    assert "r.json" in outcome.err


def test_a_limited_robustness_run_says_so(run, tiny):
    outcome = run("robustness", "photometry", "--data", tiny, "--perturbations", "missing-g", "--limit", "90")
    assert "INCOMPLETE: --limit 90" in outcome.out


def test_analyse_prints_diagnostics_and_writes_a_folder(run, tiny, monkeypatch):
    from astroclip_bench.analysis import structure

    monkeypatch.setattr(structure, "project", lambda vectors, seed: np.asarray(vectors[:, 1:3], np.float64))
    outcome = run("analyse", "photometry", "--data", tiny, "--against", "random-projection", "--eps", "0.01")
    assert outcome.code == 0, outcome.err
    assert "photometry (16-d) on tiny 1.0 (SIMULATED data" in outcome.out
    assert "participation_ratio" in outcome.out
    assert "random-projection" in outcome.out
    folder = Path("results/photometry--tiny-analysis")
    assert {path.name for path in folder.iterdir()} == {
        "analysis.json",
        "umap.parquet",
        "outliers.parquet",
        "umap.png",
        "gallery",
    }


@pytest.mark.parametrize("command", ["analyse", "robustness"])
def test_help_has_examples_on_one_screen(run, command):
    outcome = run(command, "--help")
    assert outcome.code == 0
    assert f"astroclip-bench {command} model.pt" in outcome.out
    assert len(outcome.out.splitlines()) <= 60
