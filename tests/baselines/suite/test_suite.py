"""The baselines of a data set by one command: what is made, kept, made again, and left out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import r2_score

from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import load_embedder
from astroclip_bench.errors import UserError
from astroclip_bench.results.record import Result, Score, read_result
from baselines.astroclip.config import RECIPES, read_recipe
from baselines.suite import run as suite
from baselines.suite.summary import figures, render, summary
from baselines.suite.table import BASELINES, TARGETS


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Return 400 galaxies of random images and two fluxes."""
    from tiny_source import TinySource

    from dataset_builders.parquet import build_dataset

    source = TinySource(n_shards=4, shard_rows=100)
    return open_dataset(build_dataset(source, tmp_path_factory.mktemp("suite") / "data-set"))


def run(tiny, out, names, seeds=2, said=None):
    return suite.run_baselines(
        tiny, out, suite.choose(names), seeds, quiet=True, say=(lambda line: None) if said is None else said.append
    )


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Let the photometry network learn for a few steps only."""
    recipe = tmp_path / "quick.toml"
    (packaged,) = [path for folder in RECIPES for path in folder.glob("photometry-mlp.toml")]
    text = packaged.read_text()
    recipe.write_text(text.replace("epochs = 100", "epochs = 4").replace("batch_size = 128", "batch_size = 32"))
    (row,) = suite.choose(["photometry-mlp"])
    others = tuple(one for one in BASELINES if one is not row)
    monkeypatch.setattr(suite, "BASELINES", (*others, replace(row, settings={"recipe": str(recipe)})))


def test_rows_of_the_table_are_complete():
    assert len({row.name for row in BASELINES}) == len(BASELINES)
    for row in BASELINES:
        assert row.seeds in (1, 3)
        if "recipe" in row.settings:
            recipe = read_recipe(row.settings["recipe"])
            if row.learns:
                (stage,) = recipe.stages
                assert stage.name in row.modalities  # the runner looks its columns up by that name
                assert tuple(stage.own["targets"]) == TARGETS
                assert stage.train.best == "loss"


def test_each_leaves_a_model_or_predictions_and_a_result(tiny, tmp_path, quick):
    outcomes = run(tiny, tmp_path, ["mean", "magnitudes", "gradient-boosting", "photometry-mlp"])
    assert [len(outcome.results) for outcome in outcomes] == [1, 1, 1, 2]
    test = tiny.splits["test"]
    known = np.isfinite(test.column("redshift"))
    for outcome in outcomes:
        for seed, result in enumerate(outcome.results):
            folder = tmp_path / outcome.baseline.name / f"seed-{seed}"
            assert read_result(folder / "result.json").scores == result.scores
            assert result.embedder["name"] == outcome.baseline.name
            assert result.dataset["digest"] == tiny.digest
            stored = load_embedder(str(folder / "predictions.parquet"))
            (modality,) = stored.info.targets
            prediction = stored.lookup_prediction(test.object_ids, modality, "redshift")[known]
            protocol = "knn16" if outcome.baseline.name == "magnitudes" else "direct"
            (score,) = result.find(task="redshift", protocol=protocol, metric="r2", group="all")
            assert score.value == pytest.approx(r2_score(test.column("redshift")[known], prediction), abs=1e-5)
    assert (tmp_path / "photometry-mlp" / "seed-1" / "model.pt").exists()
    (direct,) = outcomes[0].results[0].find(task="redshift", protocol="direct", metric="r2", group="all")
    assert direct.value == pytest.approx(0, abs=0.1)


def test_what_was_made_is_kept_and_made_again_with_other_settings(tiny, tmp_path, monkeypatch):
    said: list[str] = []
    first = run(tiny, tmp_path, ["gradient-boosting"], said=said)
    result = tmp_path / "gradient-boosting" / "seed-0" / "result.json"
    written = result.stat().st_mtime_ns
    assert said == ["gradient-boosting, seed 0: making", "gradient-boosting, seed 0: scoring"]
    said.clear()
    again = run(tiny, tmp_path, ["gradient-boosting"], said=said)
    assert said == ["gradient-boosting, seed 0: kept"]
    assert (again[0].results[0].scores, result.stat().st_mtime_ns) == (first[0].results[0].scores, written)

    said.clear()
    (result.parent / suite.RESULT).unlink()  # killed before it was scored: what was made stays
    assert run(tiny, tmp_path, ["gradient-boosting"], said=said)[0].results[0].scores == first[0].results[0].scores
    assert said == ["gradient-boosting, seed 0: scoring"]

    said.clear()
    (row,) = suite.choose(["gradient-boosting"])
    monkeypatch.setattr(suite, "BASELINES", (replace(row, settings={"iterations": 3}),))
    run(tiny, tmp_path, ["gradient-boosting"], said=said)
    assert said[0] == "gradient-boosting, seed 0: making"
    made = json.loads((result.parent / suite.MADE).read_text())
    assert made["identity"]["settings"] == {"iterations": 3, "targets": ["redshift"]}


def test_what_a_data_set_lacks_is_said(tiny, tmp_path, monkeypatch):
    reasons = {row.name: suite.reason_against(row, tiny, ("redshift",)) for row in BASELINES}
    assert reasons["spectrum-pca"] == "the data set has no spectrum"
    assert "hf download timm/resnet18" in reasons["timm-resnet18"]
    assert reasons["gradient-boosting"] == reasons["mean"] == ""
    assert "none of the labels" in suite.reason_against(suite.choose(["mean"])[0], tiny, ())

    monkeypatch.setattr(suite, "find_spec", lambda name: None)
    assert "astroclip-bench[train]" in suite.reason_against(suite.choose(["photometry-mlp"])[0], tiny, ("redshift",))

    outcomes = run(tiny, tmp_path, ["image-pca", "conv-att"])  # images of 8 pixels, and no spectra
    assert "images of 8 x 8 pixels" in outcomes[0].reason
    table = render(outcomes, tiny)
    assert "Left out: conv-att (the data set has no spectrum)." in table
    assert "SIMULATED data" in table
    assert set(summary(outcomes, tiny)["left_out"]) == {"image-pca", "conv-att"}


def test_labels_of_few_galaxies_are_not_learnt(tiny, monkeypatch):
    assert suite.known_targets(tiny) == ("redshift",)
    monkeypatch.setattr(suite, "KNOWN_SHARE", 0.9)
    assert suite.known_targets(tiny) == ()


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(UserError, match="did you mean zoobot"):
        suite.choose(["zobot"])


def score(value, low, high, **changes) -> Score:
    values = {
        "task": "redshift",
        "protocol": "direct",
        "metric": "r2",
        "reference": "photometry",
        "query": "photometry",
    }
    numbers = {"value": value, "standard_error": 0.1, "low": low, "high": high, "n": 50}
    fixed = {"task_version": 1, "protocol_version": 1, "target": "redshift", "group": "all"}
    return Score(**{**values, **numbers, **fixed, **changes})


def test_figures_are_means_and_spreads_over_seeds(tiny):
    results = [
        Result({}, {}, [score(0.5, 0.4, 0.6), score(0.9, None, None, group="snr:1")], True),
        Result({}, {}, [score(0.7, 0.6, 0.9)], True),
    ]
    (row,) = suite.choose(["photometry-mlp"])
    outcome = suite.Outcome(row, tuple(results))
    (figure,) = figures(outcome)
    assert (figure.seeds, figure.n, figure.protocol) == (2, 50, "direct")
    assert (figure.value, figure.low, figure.high) == pytest.approx((0.6, 0.5, 0.75))
    assert figure.spread == pytest.approx(0.2 / np.sqrt(2))
    table = render([outcome], tiny)
    assert "0.600 +- 0.141 [0.500, 0.750]" in table
    assert "log M* R2" not in table
    (alone,) = figures(suite.Outcome(row, (Result({}, {}, [score(0.5, None, None)], True),)))
    assert (alone.spread, alone.low) == (None, None)


def test_the_command(tiny, tmp_path, monkeypatch, capsys):
    import sys

    from astroclip_bench.cli.main import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["astroclip-bench", "baselines", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), capsys.readouterr()

    code, captured = call("run", "--data", tiny.folder, "--out", tmp_path, "--only", "mean,magnitudes", "--quiet")
    assert code == 0
    assert "SIMULATED data" in captured.out
    assert "| magnitudes" in (tmp_path / "table.md").read_text()
    found = json.loads((tmp_path / "baselines.json").read_text())
    assert found["dataset"]["digest"] == tiny.digest
    assert {one["baseline"] for one in found["figures"]} == {"mean", "magnitudes"}
    code, captured = call("list")
    assert all(row.name in captured.out for row in BASELINES)
    code, captured = call("run", "--data", tiny.folder, "--out", tmp_path, "--only", "zobot")
    assert code == 2
    assert "did you mean zoobot" in captured.err
    for help_of in (["--help"], ["run", "--help"]):
        code, captured = call(*help_of)
        assert code == 0
        assert len(captured.out.splitlines()) < 45
