"""Scores after a training, and one recipe at several values of a setting, from the command line."""

from __future__ import annotations

import csv

import pytest
from typer.testing import CliRunner

from astroclip_bench.cli.main import app
from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import load_embedder
from astroclip_bench.errors import UserError
from astroclip_bench.evaluation import evaluate
from astroclip_bench.results.record import ALL, read_result
from baselines.astroclip import figures
from baselines.astroclip.figures import plot_sweep
from baselines.astroclip.sweep import COLUMNS, swept

RECIPE = """
[stages.image]
kind = "moco"
encoder = { name = "timm", backbone = "resnet10t", crop = 24 }
queue = 32
hidden = 16
dimension = 8
augmentation = { size = 24, jitter = 0 }
train = { steps = 2, batch_size = 16 }
[stages.align]
kind = "align"
dimension = 8
start = { image = "image" }
encoders.spectrum = { name = "convnet", channels = [8, 8], strides = [8, 8] }
heads = { image = { name = "mlp" }, spectrum = { name = "mlp" } }
train = { steps = 2, batch_size = 16 }
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def run(command, *arguments):
    return CliRunner().invoke(app, [command, *map(str, arguments), "--quiet"])


def test_training_ends_with_the_scores_of_every_stage(recipe, pairs, tmp_path):
    out = tmp_path / "run"
    done = run("train", recipe, "--data", pairs, "--out", out, "--evaluate")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip().endswith(str(out / "model.pt"))
    assert "Stages, on tiny-pairs" in done.stdout
    image, align = (read_result(out / stage / "result.json") for stage in ("image", "align"))
    again = evaluate(load_embedder(str(out / "align" / "model.pt")), open_dataset(pairs), floors=())
    assert [score.value for score in align.scores] == [score.value for score in again.scores]
    assert {score.query for score in image.scores} == {"image"}
    [known] = align.find(task="redshift", protocol="knn16", metric="r2", reference="image", query="image", group=ALL)
    stages = [line.split() for line in done.stdout.partition("Stages, on")[2].splitlines()]
    [row] = [line for line in stages if line[:5] == ["redshift", "r2", "image", "->", "image"]]
    assert row[8] == f"{known.value:.3f}"  # behind value and interval of the image stage
    assert "training took" in done.stderr

    created = align.created
    assert run("train", recipe, "--data", pairs, "--out", out, "--evaluate").exit_code == 0
    kept = read_result(out / "align" / "result.json")
    assert kept.scores == align.scores
    assert kept.created >= created


def test_a_sweep_shares_what_comes_before_and_goes_on(recipe, pairs, tmp_path):
    out = tmp_path / "sweep"
    arguments = (recipe, "stages.align.dimension=2,4", "stages.align.train.steps=1", "--data", pairs, "--out", out)
    done = run("sweep", *arguments)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.split() == [str(out / name) for name in ("sweep.png", "sweep.pdf", "sweep.csv")]
    stages = sorted(path.name.partition("-")[0] for path in (out / "stages").iterdir())
    assert stages == ["align", "align", "image"]
    results = {value: read_result(out / value / "result.json") for value in ("2", "4")}
    assert [result.embedder["dimension"] for result in results.values()] == [2, 4]
    with (out / "sweep.csv").open() as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS
    wanted = sum(len(result.find(group=ALL)) for result in results.values())
    assert len(rows) == wanted
    axes = plot_sweep("stages.align.dimension", results).axes
    named = {line.get_label(): line for line in axes[0].lines}
    [known] = results["4"].find(
        task="redshift", protocol="knn16", metric="r2", reference="image", query="image", group=ALL
    )
    assert list(named["image -> image"].get_xdata()) == [2.0, 4.0]
    assert named["image -> image"].get_ydata()[1] == known.value
    assert axes[0].get_xscale() == "log"

    made = {path: path.stat().st_mtime_ns for path in out.glob("stages/*/model.pt")}
    assert run("sweep", *arguments).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("stages/*/model.pt")} == made


@pytest.mark.parametrize("settings", [["a.b=1"], ["a=1,2", "b=3,4"], ["a=1,,2"], ["a=1,1"]])
def test_one_setting_has_several_values(settings):
    with pytest.raises(UserError):
        swept(settings)


def test_other_settings_are_left_as_they_are():
    assert swept(["x=[1, 2]", "a.b= 8, 16", "c=3"]) == ("a.b", ["8", "16"], ["x=[1, 2]", "c=3"])


@pytest.mark.parametrize(
    ("values", "places", "powers"),
    [(["8", "32"], [8, 32], True), (["0", "4"], [0, 4], False), (["asinh", "dr2_rgb"], [0, 1], False)],
)
def test_values_have_places(values, places, powers):
    assert figures._places(values) == (dict(zip(values, places, strict=True)), powers)
