"""Embeddings in bfloat16 agree with those in float32, for the networks of every recipe and after some training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from astroclip_bench.datasets.arrays import arrow_to_numpy
from astroclip_bench.embedders import load_embedder, save_model
from baselines.astroclip.config import read_recipe
from baselines.astroclip.train import make_stage
from dataset_builders.mock_survey.source import MockSurvey

GALAXIES, STEPS = 12, 5
SMALL_VIT = "width=48", "depth=2", "heads=3", "layer_scale=0.1"
SMALL_SPECFORMER = "width=48", "depth=2", "heads=3"


def under(section: str, values: tuple[str, ...]) -> list[str]:
    """Return the overrides of a section."""
    return [f"{section}.{value}" for value in values]


SHRUNK = {
    "mini": ["stages.image.queue=48"],
    "astroclip-h200": [
        *under("stages.spectrum.encoder", SMALL_SPECFORMER),
        *under("stages.align.encoders.image", SMALL_VIT),
        "stages.align.dimension=64",
    ],
    "astroclip-v1": [
        "stages.image.encoder.backbone=resnet10t",
        "stages.image.queue=48",
        *under("stages.spectrum.encoder", SMALL_SPECFORMER),
        "stages.align.chunk=0",
    ],
    "astroclip": [
        *under("stages.spectrum.encoder", SMALL_SPECFORMER),
        *under("stages.image.encoder", SMALL_VIT),
        *under("stages.align.encoders.image", SMALL_VIT),
        *under("stages.image", ("prototypes=64", "hidden=64", "views.local_views=2")),
        "stages.align.dimension=64",
    ],
}
"""Recipe -> what makes its networks small."""


@pytest.fixture(scope="module")
def galaxies() -> dict[str, np.ndarray]:
    rows = pa.Table.from_batches(MockSurvey(GALAXIES, seed=3).rows(0))
    return {name: arrow_to_numpy(rows[name]).copy() for name in ("image", "flux", "ivar")}


def trained(recipe: str, galaxies: dict[str, np.ndarray], folder: Path) -> dict[str, Path]:
    """Return the model file of each stage after some steps on the same galaxies."""
    models: dict[str, Path] = {}
    for settings in read_recipe(recipe, SHRUNK[recipe]).stages:
        stage = make_stage(settings, models, 0, SimpleNamespace(rows=10**6))
        optimiser = torch.optim.AdamW((value for value in stage.model.parameters() if value.requires_grad), lr=1e-3)
        batch = {name: torch.from_numpy(galaxies[name]) for name in stage.columns}
        for module in stage.model.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = 0.5  # the running statistics are then those of these galaxies after a few steps
        stage.model.train()
        for step in range(STEPS):
            optimiser.zero_grad()
            stage.step(batch, torch.Tensor.backward, step, torch.Generator().manual_seed(step))
            optimiser.step()
            stage.after_step(step)
        models[settings.name] = save_model(folder / f"{settings.name}.pt", *stage.export())
    return models


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of one array with that of the other."""
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


@pytest.mark.parametrize("recipe", SHRUNK)
def test_bfloat16_agrees_with_float32_after_training(recipe, galaxies, tmp_path):
    seen = set()
    for path in trained(recipe, galaxies, tmp_path).values():
        full, half = (load_embedder(str(path), dtype=dtype) for dtype in ("float32", "bf16"))
        for modality in full.info.modalities:
            one, other = (embedder.embed(galaxies, modality).astype(np.float64) for embedder in (full, half))
            assert not np.array_equal(one, other)
            assert cosines(one, other).min() > 0.999, (path.stem, modality)
            # Embeddings near each other all have a cosine near 1; what tells galaxies apart must agree too.
            assert cosines(one - one.mean(0), other - other.mean(0)).min() > 0.98, (path.stem, modality)
            seen.add(modality)
    assert seen == {"image", "spectrum"}
