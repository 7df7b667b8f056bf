"""The paper's variants from one recipe, searches among proposals, and a whole run in small."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from astroclip_bench.embedders import EmbedderInfo, load_embedder
from astroclip_bench.results.record import ALL, read_result
from astroclip_bench.timm_compat import import_open_clip
from baselines import hubbleclip
from baselines.astroclip.config import read_recipe
from baselines.astroclip.optimiser import learning_rate
from baselines.astroclip.train import kind_settings, make_stage
from baselines.hubbleclip.reproduce import GALAXY_QUERIES, HUBBLE_QUERIES, RECIPES, reproduce, score
from baselines.hubbleclip.searches import Space, accuracy, mean_cosines
from baselines.hubbleclip.towers import PUBLISHED
from baselines.hubbleclip.variants import (
    CHANGES,
    FINE_TUNED,
    HEADS_ONLY,
    SCRATCH,
    SHUFFLED,
    on_survey_images,
    variant,
)


class Proposals:
    """Embeds a proposal by its number, from the caption and from the image; a control turns the images around."""

    info = EmbedderInfo("proposals", "0" * 32, 2, ("image", "text"), "none")


def space_of(dataset, images):
    view = dataset.splits["test"]
    angle = {name: 0.01 * int(name[1:]) for name in set(view.column("proposal_id"))}
    own = np.array([angle[name] for name in view.column("proposal_id")])
    unit = [np.stack([np.cos(value), np.sin(value)], 1).astype(np.float32) for value in (images(own), own)]
    return Space(Proposals(), dict(zip(("image", "text"), unit, strict=True)))


def test_a_search_is_found_at_once_by_the_right_model_and_by_chance_without_one(captioned):
    perfect = accuracy(space_of(captioned, lambda angle: angle), captioned)
    pool = len(set(captioned.splits["test"].column("proposal_id")))
    assert perfect.percent[1] == pytest.approx(100 / pool)
    constant = accuracy(space_of(captioned, np.zeros_like), captioned)
    for found in perfect.found.values():
        assert found[0] == 0
        assert (found[1:] == 1).all()
    np.testing.assert_allclose(constant.found["image to text"][1:].mean(), 0.5, atol=0.35)
    np.testing.assert_allclose(constant.found["text to image"], constant.percent / 100, atol=1e-6)


def test_cosines_leave_out_the_other_galaxies_of_a_proposal(captioned):
    own, other = mean_cosines(space_of(captioned, lambda angle: angle), captioned)
    assert own == pytest.approx(1)
    assert other < 0.99


@pytest.mark.parametrize("scale", ["mini", "published"])
@pytest.mark.parametrize("name", CHANGES)
def test_every_variant_is_a_valid_recipe(scale, name):
    recipe = variant(on_survey_images(read_recipe(RECIPES[scale])), name)
    assert [stage.name for stage in recipe.stages] == (["finetune"] if name == SCRATCH else ["base", "finetune"])
    for stage in recipe.stages:
        kind_settings(stage)
    assert "openai" not in str(recipe.stages) or name != SCRATCH


@pytest.mark.parametrize("name", ["hubbleclip", "three-modalities-large"])
def test_the_weights_that_recipes_start_from_are_published_for_their_model(name):
    open_clip = import_open_clip()
    stage = read_recipe(name).stages[0]
    tagged = [entry for entry in stage.own["encoders"].values() if "pretrained" in entry]
    assert tagged
    for entry in tagged:
        assert entry["pretrained"] in open_clip.list_pretrained_tags_by_model(PUBLISHED)


def test_the_published_schedule_is_warmed_up_and_constant():
    train = read_recipe("hubbleclip").stages[1].train
    rates = [learning_rate(step, 20_000, train) for step in (0, 999, 1999, 2000, 10_000, 19_999)]
    np.testing.assert_allclose(rates, [5e-9, 5e-6, 1e-5, 1e-5, 1e-5, 1e-5], rtol=1e-9)


def test_heads_alone_are_trained_on_frozen_towers(captioned):
    recipe = read_recipe("hubbleclip-mini")
    own = {**variant(recipe, HEADS_ONLY).stages[1].own, "start": {}, "encoders": recipe.stages[0].own["encoders"]}
    stage = make_stage(replace(recipe.stages[1], own=own), {}, 0, captioned.splits["train"])
    trained = {name.partition(".")[0] for name, value in stage.model.named_parameters() if value.requires_grad}
    assert trained == {"heads", "log_scale"}
    assert stage.model.heads["image"].layers[0].out_features == 1024
    assert isinstance(stage.model.heads["image"].layers[1], torch.nn.GELU)


def test_the_queries_of_the_paper_are_those_beside_the_abstracts(realdata):
    queries = (realdata / "proposals" / "queries.txt").read_text(encoding="utf-8").splitlines()
    assert list(HUBBLE_QUERIES) == queries
    assert len(GALAXY_QUERIES) == len(queries)


def test_a_run_in_small_goes_from_a_base_of_no_steps_to_its_scores(captioned, small_towers, tmp_path, monkeypatch):
    monkeypatch.setattr("baselines.hubbleclip.reproduce.prompt_tasks", lambda dataset: [])  # these are other classes
    from astroclip_bench.progress import progress_bar
    from baselines.astroclip.config import Recipe
    from baselines.astroclip.train import run_recipe

    whole = read_recipe("hubbleclip", ["stages.finetune.train.steps=3", "stages.finetune.train.validate_every=0"])
    stages = []
    for stage in whole.stages:
        changes = {"dimension": 8, "augment": {}} | ({"encoders": small_towers} if stage.name == "base" else {})
        stages.append(replace(stage, own={**stage.own, **changes}, train=replace(stage.train, precision="float32")))
    recipe = Recipe(whole.name, "", 1, replace(whole.data, limit=96), tuple(stages))
    models = run_recipe(variant(recipe, "fine-tuned"), captioned, tmp_path / "run", quiet=True)
    base, tuned = (load_embedder(str(models[name])) for name in ("base", "finetune"))
    captions = {"caption": np.array(["A spiral", "A merger"], object)}
    assert not np.array_equal(base.embed(captions, "text"), tuned.embed(captions, "text"))
    np.testing.assert_allclose(base.embed(captions, "text"), tuned.embed(captions, "text"), atol=0.1)
    path = score(models["finetune"], captioned, tmp_path / "result.json", "cpu", partial(progress_bar, quiet=True))
    assert {(row.reference, row.query) for row in read_result(path).find(task="retrieval")} == {
        ("image", "text"),
        ("text", "image"),
    }


@pytest.mark.slow
def test_the_fine_tuned_model_finds_what_the_shuffled_one_does_not(tmp_path, monkeypatch):
    from astroclip_bench.datasets import open_dataset

    text = (Path(str(hubbleclip.__file__)).parent / "recipes" / "hubbleclip-mini.toml").read_text(encoding="utf-8")
    smaller = tmp_path / "smaller.toml"
    smaller.write_text(text.replace("[data]\n", "[data]\nlimit = 1000\n"), encoding="utf-8")
    monkeypatch.setitem(RECIPES, "mini", str(smaller))
    compared = {name: CHANGES[name] for name in (FINE_TUNED, SHUFFLED)}
    monkeypatch.setattr("baselines.hubbleclip.reproduce.CHANGES", compared)
    outcome = reproduce(open_dataset("mock-proposals"), tmp_path / "out", scale="mini", quiet=True)
    assert [path.name for path in outcome.figures] == [f"figure-{number}.png" for number in range(1, 6)]
    assert list(outcome.results) == ["base", FINE_TUNED, SHUFFLED]
    for query in ("image", "text"):
        found = {}
        for name, path in outcome.results.items():
            rows = read_result(path).find(task="retrieval", metric="accuracy@10%", group=ALL)
            (found[name],) = [row for row in rows if row.query == query]
        tuned, shuffled = found[FINE_TUNED], found[SHUFFLED]
        assert tuned.low > 2 * tuned.chance
        assert tuned.low > max(shuffled.high, found["base"].value)
        assert shuffled.low < shuffled.chance < shuffled.high
    own, other = (outcome.scores[f"mean cosine with {which}, {FINE_TUNED}"] for which in ("the own caption", "others"))
    assert own > other + 0.1
