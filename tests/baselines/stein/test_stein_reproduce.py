"""Stein from images to scores, small; and a supervised training that starts from given weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pair_data import open_pairs

from astroclip_bench.embedders import read_model
from astroclip_bench.results.record import read_result
from baselines.stein import figures, reproduce
from baselines.supervised.stage import SupervisedSettings, SupervisedStage

ENCODER = """{ name = "timm", backbone = "resnet10t", crop = 24, transform = "stein_rgb", \
options = { channels = [8, 8, 16, 16], stem_width = 8 } }"""
CONTRAST = f"""
[data]
cache = "memory"
[stages.image]
kind = "moco"
hidden = 16
dimension = 8
queue = 32
encoder = {ENCODER}
augmentation = {{ size = 24, jitter = 0 }}
[stages.image.train]
steps = 4
batch_size = 16
precision = "float32"
"""
PHOTOZ = f"""
[data]
cache = "memory"
[stages.photoz]
kind = "supervised"
targets = ["redshift"]
hidden = []
encoder = {ENCODER}
[stages.photoz.train]
steps = 12
batch_size = 12
learning_rate = 3e-3
precision = "float32"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stein")
    recipes = (folder / "contrast.toml", folder / "photoz.toml")
    for path, text in zip(recipes, (CONTRAST, PHOTOZ), strict=True):
        path.write_text(text)
    dataset = open_pairs(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce, "RECIPES", {"mini": recipes})
        patch.setattr(reproduce, "LABELS", {"mini": (30, 100_000)})
        return dataset, reproduce.reproduce(dataset, folder / "run", scale="mini", quiet=True)


def test_the_run_leaves_results_figures_and_a_curve(run):
    dataset, outcome = run
    assert list(outcome.results) == [
        "MoCo v2, no labels",
        "fine-tuned, all labels",
        "supervised from scratch, all labels",
    ]
    for name, path in outcome.results.items():
        direct = read_result(path).find(task="redshift", protocol="direct", metric="r2", group="all")
        assert bool(direct) == (name != "MoCo v2, no labels")
    rows = dataset.splits["train"].rows
    for line in ("fine-tuned", "supervised from scratch"):
        assert {f"redshift r2, {line}, {count} labels" for count in (30, rows)} <= set(outcome.scores)
    assert f"redshift sigma_nmad, linear probe, frozen features, {rows} labels" in outcome.scores
    assert [path.name for path in outcome.figures] == ["figure-1.png", "figure-2.png"]
    assert all(path.stat().st_size > 10_000 for path in outcome.figures)


def test_fine_tuning_starts_from_the_weights_of_the_pre_training(run):
    dataset, outcome = run
    path = outcome.results["MoCo v2, no labels"].with_name("model.pt")
    settings = SupervisedSettings(targets=("redshift",), start={"image": str(path)}, hidden=())
    made = SupervisedStage(settings, dataset.splits["train"])
    given = read_model(path).state_dict
    found = {f"encoder.{name}": value for name, value in made.model.encoder.state_dict().items()}
    assert found.keys() == given.keys()
    for name, value in given.items():
        torch.testing.assert_close(found[name], value)
    named = SupervisedStage(
        SupervisedSettings(targets=("redshift",), start={"image": "contrast"}),
        dataset.splits["train"],
        {"contrast": path},
    )
    assert named.model.encoder.config == made.model.encoder.config


def test_the_most_alike_are_those_of_greatest_cosine():
    angles = np.radians([0.0, 10.0, 25.0, 180.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[1.0], [5.0], [0.1], [1.0]]
    nearest, cosines = figures.most_alike(vectors, 2)
    assert nearest.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert cosines[0] == pytest.approx(np.cos(np.radians([10, 25])))
