"""Spender from data to scores, small; its stage; and what reconstructions are measured by."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from pair_data import open_pairs

from astroclip_bench.errors import EmbedderError
from astroclip_bench.results.record import read_result
from baselines.astroclip.config import settings_from
from baselines.spender import figures, reconstruction, reproduce
from baselines.spender.stage import AutoencoderSettings, AutoencoderStage

ENCODER = """{ name = "spender-autoencoder", latents = 3, channels = [4, 8], kernels = [5, 5], pools = [5], hidden = [8],
 bin_pixels = 8, mask_ivar = true, z_max = 1.0, bins = 400, decoder_hidden = [8, 16] }"""
RECIPE = f"""
[data]
cache = "memory"
[stages.spectrum]
kind = "autoencoder"
cycles = 1
encoder = {ENCODER.replace(chr(10), "")}
[stages.spectrum.train]
steps = 40
batch_size = 16
learning_rate = 1e-2
precision = "float32"
validate_every = 20
best = "loss"
"""
SMALL = {
    "name": "spender-autoencoder",
    "latents": 2,
    "channels": [4],
    "kernels": [5],
    "pools": [],
    "hidden": [4],
    "bins": 200,
    "decoder_hidden": [8],
}


def stage(**changes) -> AutoencoderStage:
    torch.manual_seed(0)
    table = {"encoder": SMALL, "augment": {"masked_chunks": 1, "chunk_pixels": 10}, **changes}
    return AutoencoderStage(settings_from(AutoencoderSettings, table, "stages.spectrum"), 100)


def spectra(n=6, pixels=300):
    generator = torch.Generator().manual_seed(1)
    flux = 2 + torch.randn(n, pixels, generator=generator)
    ivar = torch.ones(n, pixels)
    ivar[:, 100:120] = 0
    return {"flux": flux, "ivar": ivar, "redshift": torch.full((n,), 0.3)}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spender")
    (folder / "spender-test.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce, "RECIPES", {"mini": folder / "spender-test.toml"})
        return reproduce.reproduce(open_pairs(folder), folder / "run", scale="mini", quiet=True)


def test_the_run_leaves_scores_figures_and_the_ranking(outcome):
    [(name, path)] = outcome.results.items()
    assert name == "3 latents"
    assert read_result(path).find(task="redshift", metric="r2", group="all")
    assert [path.name for path in outcome.figures] == ["figure-1.png", "figure-2.png", "figure-3.png"]
    assert all(path.stat().st_size > 10_000 for path in outcome.figures)
    run = path.parent
    assert json.loads((run / "scores.json").read_text()) == pytest.approx(dict(outcome.scores))
    with (run / "outliers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == list(range(1, len(rows) + 1))
    distances = [float(row["distance"]) for row in rows]
    assert distances == sorted(distances, reverse=True)


def test_training_makes_it_better_than_a_constant(outcome):
    fits = {
        name.rpartition(", ")[2]: value for name, value in outcome.scores.items() if name.startswith("median reduced")
    }
    assert fits["Spender"] < fits["constant"]


def test_the_slope_rises_in_cycles_and_rests_at_the_end():
    made = stage(slope=4.0, cycles=2, calm=0.1)
    assert [made.slope(step) for step in (0, 25, 49, 50, 75)] == pytest.approx([0, 2, 3.92, 0, 2])
    assert {made.slope(step) for step in range(90, 100)} == {0.0}


def test_pixels_without_data_teach_nothing():
    batch = spectra()
    spoilt = {**batch, "flux": torch.where(batch["ivar"] > 0, batch["flux"], torch.nan)}
    losses = []
    for data in (batch, spoilt):
        made = stage(encoder={**SMALL, "mask_ivar": True})
        made.step(data, lambda loss: loss.backward(), 30, torch.Generator().manual_seed(2))
        losses.append([value.grad.clone() for value in made.model.parameters()])
    for one, other in zip(*losses, strict=True):
        torch.testing.assert_close(one, other)


def test_a_stage_of_another_encoder_is_refused():
    with pytest.raises(EmbedderError, match="'convnet'"):
        stage(encoder={"name": "convnet"})


def test_reduced_chi2_is_one_of_noise_alone_and_knows_no_amplitude():
    generator = torch.Generator().manual_seed(3)
    shape = 1 + torch.rand(2, 4000, generator=generator)
    weight = torch.full_like(shape, 4.0)
    weight[:, :50] = 0
    flux = 7 * shape + torch.randn(shape.shape, generator=generator) / 2
    flux[:, :50] = torch.nan
    found = reconstruction.reduced_chi2(flux, weight, -3 * shape, 1)
    np.testing.assert_allclose(found, 1, atol=0.08)
    assert reconstruction.reduced_chi2(flux, 0 * weight, shape, 1).isnan().all()


def test_examples_lie_at_even_steps():
    assert figures.chosen_by({10: 5.0, 11: 1.0, 12: 4.0, 13: 3.0}, 2) == [12, 11]
