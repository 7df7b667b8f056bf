"""Vrakkis's reproduction: its recipes, what replaces their encoders, its table, and the whole chain."""

from __future__ import annotations

import csv
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders.weights import read_model
from astroclip_bench.results.record import ALL, read_result
from baselines.astroclip import architecture
from baselines.astroclip.align import AlignStage
from baselines.astroclip.config import read_recipe
from baselines.astroclip.train import kind_settings, run_recipe
from baselines.frozen_heads import reproduce as module
from baselines.frozen_heads.recipe import ENCODERS, fitted_recipe, with_encoders
from dataset_builders.mock_survey.source import MockSurvey
from dataset_builders.parquet import build_dataset

STEIN, SPENDER, HEADS = 23_508_032, 3_159_046, {"image": 4_458_624, "spectrum": 131_712}


def alignment(recipe) -> AlignStage:
    """Return the last stage with fresh encoders of the sizes that it starts from."""
    own = {stage.name: kind_settings(stage) for stage in recipe.stages}
    settings = own["align"]
    encoders = {modality: own[stage].encoder for modality, stage in settings.start.items()}
    return AlignStage(replace(settings, start={}, encoders={**encoders, **settings.encoders}), {})


def count(part: torch.nn.Module, trained: bool = False) -> int:
    return sum(one.numel() for one in part.parameters() if one.requires_grad or not trained)


def test_the_published_sizes():
    model = alignment(read_recipe("frozen-heads")).model
    assert {name: count(head) for name, head in model.heads.items()} == HEADS
    assert {name: count(encoder) for name, encoder in model.encoders.items()} == {"image": STEIN, "spectrum": SPENDER}
    assert count(model, trained=True) == sum(HEADS.values())
    assert model.encoders["spectrum"].dimension == 256  # what is attended to, not the latents
    assert float(model.scale) == pytest.approx(15.5)


def test_the_published_schedule_and_the_small_one_are_those_of_the_report():
    for name in module.RECIPES.values():
        train = read_recipe(name).stages[-1].train
        assert (train.optimiser, train.learning_rate, train.batch_size, train.epochs) == ("adam", 5e-4, 512, 80)
        assert (train.schedule, train.plateau_factor, train.plateau_patience) == ("plateau", 0.5, 5)
        assert train.weight_decay == 0


def test_the_small_recipe_is_small_and_its_parts_fit():
    recipe = read_recipe("frozen-heads-mini")
    model = alignment(recipe).model
    assert count(model) < 1_500_000
    assert set(model.frozen) == {"image", "spectrum"}
    alone = architecture.build({"encoder": kind_settings(recipe.stages[1]).encoder})
    wanted = {name: value.shape for name, value in model.encoders["spectrum"].state_dict().items()}
    given = {name: value.shape for name, value in alone.encoder.state_dict().items()}
    assert wanted.items() <= given.items()


def test_given_encoders_replace_the_stages_that_would_train_them(tmp_path):
    recipe = read_recipe("frozen-heads-mini")
    assert with_encoders(recipe, tmp_path) == recipe
    (tmp_path / "image.pt").touch()
    changed = with_encoders(recipe, tmp_path)
    assert [stage.name for stage in changed.stages] == ["spectrum", "align"]
    assert changed.stages[-1].own["start"] == {"image": str(tmp_path / "image.pt"), "spectrum": "spectrum"}
    assert changed.stages[-1].train == recipe.stages[-1].train


def test_a_recipe_is_fitted_to_its_data(tmp_path):
    small, large = (SimpleNamespace(splits={"train": SimpleNamespace(rows=rows)}) for rows in (300, 5_300))
    for dataset, size, every in ((small, 300, 1), (large, 512, 10)):
        recipe = fitted_recipe("frozen-heads-mini", dataset, tmp_path, ["stages.align.dimension=8"])
        train = recipe.stages[-1].train
        assert (train.batch_size, train.log_every, train.validate_every) == (size, every, every)
        assert [stage.train.batch_size for stage in recipe.stages[:2]] == [128, 64]
        assert recipe.stages[-1].own["dimension"] == 8


def test_attended_values_are_what_the_latents_are_made_of():
    config = {"name": "spender", "channels": [8, 16], "kernels": [5, 5], "pools": [5], "hidden": [8], "latents": 3}
    torch.manual_seed(0)
    latents = architecture.build({"encoder": config}).encoder.eval()
    attended = architecture.build({"encoder": {**config, "read_out": "attended"}}).encoder.eval()
    attended.load_state_dict(latents.state_dict())
    batch = {"flux": torch.randn(2, 400)}
    assert attended.dimension == 8
    torch.testing.assert_close(latents.mlp(attended(batch)), latents(batch))


def test_the_table_stands_beside_the_published_ones(tmp_path):
    def score(task, reference, query, value):
        cell = {"task": task, "reference": reference, "query": query, "protocol": "knn16", "metric": "r2"}
        return SimpleNamespace(**cell, group=ALL, value=value, low=value - 0.1, high=value + 0.1)

    rows = [
        score(task, *pair, place / 10)
        for task in module.TABLE_TASKS
        for place, pair in enumerate([("image", "spectrum"), *module.TABLE_PAIRS])
    ]
    module.write_table(SimpleNamespace(scores=rows, dataset={"name": "some-data"}), tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        header, *lines = csv.reader(file)
    assert header[3] == "R2 on some-data"
    assert all("other data" in name for name in header[6:])
    assert [line[3] for line in lines] == ["0.1", "0.2", "0.3"] * 2
    assert [float(line[6]) for line in lines] == [0.65, 0.87, 0.59, 0.57, 0.74, 0.5]
    assert [float(line[7]) for line in lines] == [0.71, 0.97, 0.64, 0.66, 0.86, 0.58]


@pytest.mark.slow
def test_from_data_to_figures_and_again(tmp_path):
    dataset = open_dataset(build_dataset(MockSurvey(240, seed=3), tmp_path / "data"))
    out = tmp_path / "run"
    outcome = module.reproduce(dataset, out, quiet=True)
    assert [path.name for path in outcome.figures] == [f"figure-{number}.png" for number in range(5, 15)]
    assert all(path.stat().st_size > 10_000 for path in outcome.figures)
    [path] = outcome.results.values()
    result = read_result(path)
    assert result.embedder["dimension"] == 128
    made = {path: path.stat().st_mtime_ns for path in out.glob("*/model.pt")}
    assert len(made) == 3
    assert module.reproduce(dataset, out, quiet=True).results == outcome.results
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/model.pt")} == made

    given = tmp_path / "given"
    (given / ENCODERS).mkdir(parents=True)
    for modality in ("image", "spectrum"):
        (given / ENCODERS / f"{modality}.pt").write_bytes((out / modality / "model.pt").read_bytes())
    run_recipe(fitted_recipe("frozen-heads-mini", dataset, given), dataset, given, quiet=True)
    assert [path.parent.name for path in given.glob("*/model.pt")] == ["align"]
    before, after = (read_model(folder / "model.pt").state_dict for folder in (out, given))
    frozen = [name for name in before if name.startswith("encoders.")]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
