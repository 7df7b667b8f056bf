"""Recipes of alignments that start from encoders trained elsewhere: fitted to a data set, and to the encoders given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from baselines.astroclip.config import Recipe

ENCODERS = "encoders"


def fitted_recipe(name: str, dataset: BenchDataset, out: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a recipe whose last stage is logged and validated once an epoch, no batch larger than the train split.

    Model files in the folder `ENCODERS` of `out`, such as ``image.pt``, are started from in place of the stages that
    would train encoders of these modalities; those stages are left out. `astroclip-bench convert` makes such files of
    published weights.
    """
    from baselines.astroclip.config import read_recipe

    rows = dataset.splits["train"].rows
    recipe = read_recipe(name, overrides)
    sizes = {stage.name: min(stage.train.batch_size, rows) for stage in recipe.stages}
    last = recipe.stages[-1].name
    fit = [f"stages.{stage}.train.batch_size={size}" for stage, size in sizes.items()]
    fit += [f"stages.{last}.train.{every}={rows // sizes[last]}" for every in ("log_every", "validate_every")]
    return with_encoders(read_recipe(name, [*overrides, *fit]), out / ENCODERS)


def with_encoders(recipe: Recipe, folder: Path) -> Recipe:
    """Return a recipe whose last stage starts from the model files of a folder, without the stages that they replace."""
    *before, last = recipe.stages
    start = dict(last.own["start"])
    given = {modality: path for modality in start if (path := folder / f"{modality}.pt").exists()}
    replaced = {start[modality] for modality in given}
    own = {**last.own, "start": {**start, **{modality: str(path) for modality, path in given.items()}}}
    kept = [stage for stage in before if stage.name not in replaced]
    return replace(recipe, stages=(*kept, replace(last, own=own)))
