"""The models that the paper compares, as changes to one recipe of the stages ``base`` and ``finetune``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from baselines.astroclip.config import Recipe, StageSettings

BASE, FINETUNE = "base", "finetune"
FINE_TUNED, HEADS_ONLY, SCRATCH, SHUFFLED, SIGMOID = (
    "fine-tuned",
    "heads only",
    "from scratch",
    "shuffled pairs",
    "sigmoid loss",
)
HEAD = {"name": "mlp", "hidden": [1024]}
CHANGES: Mapping[str, Mapping[str, Any]] = {
    FINE_TUNED: {},
    HEADS_ONLY: {"frozen": ["image", "text"], "heads": {"image": HEAD, "text": HEAD}},
    SCRATCH: {"start": {}, "scale": 14.3},
    SHUFFLED: {"shuffled": ["text"]},
    SIGMOID: {"bias": -10.0, "scale": 10.0},
}
"""Variant -> keys of the fine-tuning that it replaces."""

SURVEY: Mapping[str, Any] = {"transform": "dr2_rgb", "crop": 144, "resize": 224}
"""The published image tower on survey images of 152 px in nanomaggies instead of pictures."""
SURVEY_AUGMENT: Mapping[str, Any] = {"size": 144, "jitter": 4}


def variant(recipe: Recipe, name: str) -> Recipe:
    """Return the recipe of a model that is compared, a key of `CHANGES`."""
    base, finetune = recipe.stages
    own = {**finetune.own, **CHANGES[name]}
    if own["start"]:
        return replace(recipe, stages=(base, replace(finetune, own=own)))
    encoders = {key: {**value, "pretrained": False} for key, value in base.own["encoders"].items()}
    return replace(recipe, stages=(replace(finetune, own={**own, "encoders": encoders}),))


def on_survey_images(recipe: Recipe) -> Recipe:
    """Return a recipe that was written for pictures as one for images in nanomaggies; others as they are."""
    base, finetune = recipe.stages
    image = base.own["encoders"]["image"]
    if image["transform"] != "unit":
        return recipe
    encoders = {**base.own["encoders"], "image": {**image, **SURVEY}}
    augment = {"image": {**finetune.own["augment"]["image"], **SURVEY_AUGMENT}}
    return replace(recipe, stages=(_with(base, encoders=encoders), _with(finetune, augment=augment)))


def _with(stage: StageSettings, **changes: Any) -> StageSettings:
    return replace(stage, own={**stage.own, **changes})
