"""The table of systems, its command, and the table that it writes; run on a system made up for the purpose."""

from __future__ import annotations

import inspect
import sys
import types
from importlib import import_module

import pytest
from typer.testing import CliRunner

from astroclip_bench.cli.main import app
from astroclip_bench.report.material import published
from astroclip_bench.tasks.registry import all_tasks
from baselines.systems import catalogue
from baselines.systems.run import read_run
from baselines.systems.system import Outcome, System
from baselines.systems.table import read_runs, render


@pytest.mark.parametrize("system", catalogue.SYSTEMS.values(), ids=catalogue.SYSTEMS)
def test_every_system_can_be_run_and_names_what_there_is(system):
    parameters = inspect.signature(import_module(system.module).reproduce).parameters
    assert list(parameters)[:2] == ["dataset", "out"]
    assert {"scale", "device", "quiet"} <= set(parameters)
    models = {group["model"] for group in [*published()["groups"], *published()["retrieval"]]}
    assert set(system.published) <= models
    for task, metric in system.shown:
        assert metric in all_tasks()[task].metrics


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Return the folder of the runs of a system that scores a projection of photometry."""
    from tiny_source import TinySource

    from dataset_builders.parquet import build_dataset

    def reproduce(dataset, out, *, scale, device="cpu", quiet=False):
        from astroclip_bench.embedders import load_embedder
        from astroclip_bench.evaluation import evaluate
        from astroclip_bench.results.record import write_result

        if not (out / "result.json").exists():
            write_result(evaluate(load_embedder("photometry"), dataset, floors=()), out / "result.json")
        return Outcome({"projected | <b>": out / "result.json"}, scores={"colours": 1.0})

    module = types.ModuleType("made_up_system")
    module.reproduce = reproduce
    monkeypatch.setitem(sys.modules, "made_up_system", module)
    system = System(
        "made-up", "A projection", "nobody", "made_up_system", "everything", published=("Siddiquei's reproduction",)
    )
    monkeypatch.setitem(catalogue.SYSTEMS, "made-up", system)
    data = build_dataset(TinySource(n_shards=2, shard_rows=600), tmp_path / "tiny")
    arguments = ["reproduce", "made-up", "--data", str(data), "--out", str(tmp_path / "out"), "--quiet"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    return tmp_path / "out", outcome.output, arguments


def test_a_run_leaves_a_record_and_a_table(made_up):
    out, shown, _ = made_up
    run = read_run(out / "made-up")
    assert (run.data, run.simulated, run.results) == ("tiny", True, {"projected | <b>": "result.json"})
    assert run.command == "astroclip-bench reproduce made-up --data tiny"
    table = (out / "table.md").read_text()
    main, detail = (line for line in table.splitlines() if line.startswith("| ") and "redshift r2" in line)
    assert "tiny (SIMULATED)" in main
    assert "redshift r2 photometry -> photometry: " in main
    assert "; chance" in detail
    assert "ranks nothing" in table
    assert "colours" in table
    assert "tiny (SIMULATED)" in shown


def test_a_second_run_keeps_the_time_that_it_took(made_up):
    out, _, arguments = made_up
    before = read_run(out / "made-up")
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert read_run(out / "made-up") == before


def test_published_figures_stand_in_a_column_of_their_own(made_up):
    from baselines.systems.table import _published

    assert _published(("Siddiquei's reproduction",))["redshift", "r2", "image", "image"] == "0.8"
    assert _published(()) == {}
    assert "published, OTHER data" in render(read_runs(made_up[0]), "github")


def test_an_unknown_system_gets_the_nearest_name():
    outcome = CliRunner().invoke(app, ["reproduce", "vrakis"])
    assert outcome.exit_code == 2
    assert "vrakkis" in outcome.output


def test_without_a_name_the_systems_are_listed():
    outcome = CliRunner().invoke(app, ["reproduce"])
    assert outcome.exit_code == 0
    assert all(name in outcome.output for name in ("vrakkis", "siddiquei", "three-modalities"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"system": "made-up"}', '{"figures": 3}'])
def test_a_damaged_record_gets_one_line_before_any_work(made_up, text):
    out, _, arguments = made_up
    (out / "made-up" / "system.json").write_text(text)
    (out / "made-up" / "result.json").unlink()
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 2
    assert "system.json: no record of a run" in outcome.output
    assert not (out / "made-up" / "result.json").exists()


def test_missing_extras_are_named_together_before_any_work(made_up, monkeypatch):
    from baselines.systems import run

    monkeypatch.setattr(run, "find_spec", lambda package: None)
    out, _, arguments = made_up
    (out / "made-up" / "result.json").unlink()
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 2
    assert "pip install 'astroclip-bench[train]'" in outcome.output
    assert not (out / "made-up" / "result.json").exists()
    assert all(set(system.extras) <= set(run.EXTRAS) for system in catalogue.SYSTEMS.values())
