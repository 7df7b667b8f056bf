"""Siddiquei's reproduction: its recipes, its seven dimensions, and the whole chain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from astroclip_bench.datasets import open_dataset
from astroclip_bench.results.record import read_result
from baselines.astroclip.align import AlignStage
from baselines.astroclip.config import read_recipe
from baselines.astroclip.train import kind_settings
from baselines.unfrozen_convnets import reproduce as module
from dataset_builders.mock_survey.source import MockSurvey
from dataset_builders.parquet import build_dataset

STEIN, SPENDER = 23_508_032, 3_159_046


def alignment(recipe) -> AlignStage:
    """Return the last stage with fresh encoders of the sizes that it starts from."""
    own = {stage.name: kind_settings(stage) for stage in recipe.stages}
    settings = own["align"]
    encoders = {modality: own[stage].encoder for modality, stage in settings.start.items()}
    return AlignStage(replace(settings, start={}, encoders={**encoders, **settings.encoders}), {})


def test_the_published_sizes():
    dimension = module.DIMENSIONS[0]
    model = alignment(read_recipe("unfrozen-convnets", [f"{module.SETTING}={dimension}"])).model
    heads = (2048 + 1 + 256 + 1) * dimension
    sizes = [parameter.numel() for parameter in model.parameters() if parameter.requires_grad]
    assert sum(sizes) == STEIN + SPENDER + heads
    assert float(model.scale) == pytest.approx(1 / 0.07, rel=1e-6)
    assert not model.frozen


def test_the_published_training_is_that_of_the_report():
    stage = read_recipe("unfrozen-convnets").stages[-1]
    train, augment = stage.train, kind_settings(stage).augment
    assert (train.optimiser, train.learning_rate, train.weight_decay) == ("adam", 5e-4, 1e-4)
    assert (train.batch_size, train.epochs, train.best) == (512, 75, "loss")
    assert (augment.image.jitter, augment.image.size, augment.image.rotation, augment.image.flip) == (
        5,
        96,
        "any",
        True,
    )
    assert (augment.image.white, augment.image.blur, augment.image.noise, augment.image.reddening) == (0.03, 0, 0, 0)
    assert (augment.spectrum.noise, augment.spectrum.noise_of) == (0.3, "pixel")


def test_the_small_recipe_is_small_and_differs_in_sizes_and_lengths_alone():
    small, large = (read_recipe(name).stages[-1] for name in ("unfrozen-convnets-mini", "unfrozen-convnets"))
    assert sum(one.numel() for one in alignment(read_recipe("unfrozen-convnets-mini")).model.parameters()) < 1_000_000
    assert small.own["scale"] == large.own["scale"]
    ours, theirs = (kind_settings(stage).augment for stage in (small, large))
    assert replace(ours.image, rotation="any") == theirs.image
    assert ours.spectrum == theirs.spectrum


@pytest.mark.slow
def test_from_data_to_figures_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DIMENSIONS", (8, 128))
    dataset = open_dataset(build_dataset(MockSurvey(240, seed=3), tmp_path / "data"))
    out = tmp_path / "run"
    outcome = module.reproduce(dataset, out, quiet=True)
    assert [path.name for path in outcome.figures] == [f"figure-{number}.png" for number in range(1, 5)]
    assert all(path.stat().st_size > 10_000 for path in outcome.figures)
    assert [read_result(path).embedder["dimension"] for path in outcome.results.values()] == [8, 128]
    stages = sorted(path.name.partition("-")[0] for path in (out / "stages").iterdir())
    assert stages == ["align", "align", "image", "spectrum"]
    made = {path: path.stat().st_mtime_ns for path in out.glob("stages/*/model.pt")}
    assert module.reproduce(dataset, out, quiet=True).results == outcome.results
    assert {path: path.stat().st_mtime_ns for path in out.glob("stages/*/model.pt")} == made
