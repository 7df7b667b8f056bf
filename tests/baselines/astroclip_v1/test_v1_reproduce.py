"""The first AstroCLIP from data to scores, small."""

from __future__ import annotations

import pytest
from pair_data import open_pairs

from astroclip_bench.results.record import read_result
from baselines.astroclip.config import read_recipe
from baselines.astroclip.train import kind_settings
from baselines.astroclip_v1 import reproduce

RECIPE = """
[data]
cache = "memory"
[stages.image]
kind = "moco"
hidden = 16
dimension = 8
queue = 32
encoder = { name = "timm", backbone = "resnet10t", crop = 24, options = { channels = [8, 8, 16, 16], stem_width = 8 } }
augmentation = { size = 24, jitter = 0 }
[stages.image.train]
steps = 2
batch_size = 16
precision = "float32"
[stages.spectrum]
kind = "next-slice"
encoder = { name = "spectrum-gpt", width = 16, depth = 1, heads = 2, length = 200, overlap = 100 }
[stages.spectrum.train]
steps = 10
batch_size = 16
precision = "float32"
validate_every = 5
[stages.align]
kind = "align"
dimension = 8
start = { image = "image", spectrum = "spectrum" }
heads.image = { name = "mlp" }
heads.spectrum = { name = "cross-attention", heads = 2 }
[stages.align.train]
steps = 10
batch_size = 16
precision = "float32"
"""


def test_stages_are_scored_and_drawn(tmp_path, monkeypatch):
    (tmp_path / "v1-test.toml").write_text(RECIPE)
    monkeypatch.setattr(reproduce, "RECIPES", {"mini": tmp_path / "v1-test.toml"})
    outcome = reproduce.reproduce(open_pairs(tmp_path), tmp_path / "run", scale="mini", quiet=True)
    aligned, spectra, images = outcome.results
    pairs = {(row.reference, row.query) for row in read_result(outcome.results[aligned]).find(task="redshift")}
    assert len(pairs) == 4
    assert (spectra, images) == ("spectra alone: next slice", "images alone: MoCo v2")
    assert [path.name for path in outcome.figures] == ["figure-1.png", "figure-2.png", "figure-3.png"]
    assert all(path.stat().st_size > 10_000 for path in outcome.figures)
    assert list(outcome.scores) == [f"validation loss, {title}" for title in (images, spectra, aligned)]


@pytest.mark.parametrize("name", ["astroclip-v1", "astroclip-v1-mini"])
def test_recipes_align_momentum_contrast_with_the_causal_transformer(name):
    image, spectrum, align = read_recipe(name).stages
    assert (image.kind, spectrum.kind, align.kind) == ("moco", "next-slice", "align")
    assert kind_settings(spectrum).encoder["name"] == "spectrum-gpt"
    settings = kind_settings(align)
    assert settings.dimension == 128
    assert (settings.augment.spectrum.shift, settings.augment.spectrum.noise) == (5, 0.03)
    assert (name, align.train.batch_size) in {("astroclip-v1", 1024), ("astroclip-v1-mini", 128)}
