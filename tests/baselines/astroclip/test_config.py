"""Recipes: every committed one reads, overrides, and what a wrong key or value says."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.plugins import plugin_names
from baselines.astroclip import config
from baselines.astroclip.config import RecipeError, TrainSettings, read_recipe
from baselines.astroclip.encoders import build_encoder
from baselines.astroclip.train import kind_settings

TEXT = """
seed = 3
[data]
limit = 10
[stages.one]
kind = "masked"
width = 8
train = { steps = 4, betas = [0.9, 0.99], learning_rate = 1 }
[stages.two]
kind = "align"
[stages.two.train]
epochs = 1.5
batch_size = 10
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(TEXT)
    return path


def test_reads_sections_in_order(recipe):
    found = read_recipe(recipe)
    assert (found.name, found.seed, found.data.limit) == ("small", 3, 10)
    assert [stage.name for stage in found.stages] == ["one", "two"]
    one, two = found.stages
    assert one.own == {"width": 8}
    assert one.train == TrainSettings(steps=4, betas=(0.9, 0.99), learning_rate=1.0)
    assert isinstance(one.train.learning_rate, float)
    assert two.train.length(rows=45) == 6


def test_overrides_replace_values(recipe):
    changes = ["seed=5", "stages.two.train.epochs=2", "stages.one.probe.every=7", "stages.one.train.precision=float32"]
    found = read_recipe(recipe, changes)
    assert found.seed == 5
    assert found.stages[1].train.epochs == 2.0
    assert found.stages[0].probe.every == 7
    assert found.stages[0].train.precision == "float32"


def test_digest_covers_what_came_before_a_stage_and_nothing_after(recipe):
    plain, later = read_recipe(recipe), read_recipe(recipe, ["stages.two.train.epochs=2"])
    assert plain.digest("one") == later.digest("one")
    assert plain.digest("two") != later.digest("two")
    assert plain.digest("two") != read_recipe(recipe, ["stages.one.width=9"]).digest("two")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sead=1", "did you mean seed"),
        ("stages.one.train.step=1", "did you mean steps"),
        ("stages.one.train.steps=many", "a whole number"),
        ("stages.one.train.precision=fp16", "'float32', 'bf16'"),
        ("stages.one.train.epochs=1", "one of steps and epochs"),
        ("stages.one.train.batch_size=0", "above 0"),
        ("stages.one.train.betas=[0.9]", "1 betas with optimiser 'adamw'"),
        ("stages.one.train.optimiser=sgd", "2 betas with optimiser 'sgd'"),
        ("stages.three.train.steps=1", "known: one, two"),
        ("stages.one.train", "section.key=value"),
        ("seed.x=1", "seed is a value"),
        ("stages.one.probe.every=0.5", "a whole number"),
    ],
)
def test_wrong_overrides_say_what_was_expected(recipe, override, said):
    with pytest.raises(RecipeError) as caught:
        read_recipe(recipe, [override])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = ", "not TOML"),
        ("", "stages"),
        ("[stages]", "no stages"),
        ("[stages.a]\nkind='x'", "lacks the key 'train'"),
    ],
)
def test_wrong_files_say_what_was_expected(tmp_path, text, said):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=said):
        read_recipe(path)


def test_unknown_recipe_names_the_known():
    with pytest.raises(RecipeError, match="did you mean mini"):
        read_recipe("minni")


@pytest.mark.parametrize("name", config.recipe_names())
def test_committed_recipes_name_what_there_is(name):
    recipe = read_recipe(name)
    assert recipe.description
    earlier = []
    for stage in recipe.stages:
        own = kind_settings(stage)
        assert set(getattr(own, "start", {}).values()) <= {*earlier, *plugin_names("models")}
        named = own.encoders if hasattr(own, "encoders") else {"": own.encoder}
        for entry in named.values():
            with torch.device("meta"):  # published weights are not fetched
                build_encoder(entry["name"], {key: entry[key] for key in entry if key not in ("name", "pretrained")})
        earlier.append(stage.name)
