"""Spender's losses against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from astroclip_bench.records import WAVELENGTH_STEP_ANGSTROM
from baselines.spender.decoder import observed_wavelength
from baselines.spender.losses import (
    at_redshift,
    consistency_loss,
    fidelity_loss,
    other_redshift,
    similarity_loss,
    squared_distances,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_fidelity_counts_only_pixels_with_weight():
    flux = torch.tensor([[1.0, 2.0, math.nan, 5.0]])
    weight = torch.tensor([[4.0, 1.0, 0.0, 0.0]])
    model = torch.tensor([[0.5, 4.0, 7.0, -3.0]], requires_grad=True)
    loss = fidelity_loss(flux, model, weight)
    assert float(loss.detach()) == pytest.approx(0.5 * (4 * 0.25 + 4) / 4)
    loss.backward()
    torch.testing.assert_close(model.grad, torch.tensor([[-0.5, 0.5, 0.0, 0.0]]))


def test_consistency_is_zero_for_the_same_latents_and_its_closed_form_otherwise():
    latents = torch.randn(5, 6, generator=seeded())
    assert float(consistency_loss(latents, latents, 0.1)) == 0
    assert float(consistency_loss(latents, latents + 0.2, 0.1)) == pytest.approx(sigmoid(4) - 0.5, abs=1e-6)


def test_similarity_of_two_is_its_closed_form():
    wavelength = torch.linspace(3000, 8000, 101, dtype=torch.float64)
    one, two = torch.ones(101), torch.ones(101)
    two[60] = 3.0
    latents = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    weight = math.exp(-((0.5 * (float(wavelength[60]) - 5000) / 1000) ** 2))
    apart = 4 / 2 - 20 * weight * 4 / 101
    expected = (sigmoid(3 * apart - 2.5) + sigmoid(-3 * apart - 2.5)) / 2  # two pairs, over 2 squared
    rest = torch.stack([5 * one, two])  # the level is divided out
    assert float(similarity_loss(latents, rest, wavelength, 3.0, 20.0)) == pytest.approx(expected, abs=1e-6)


def test_squared_distances_are_those_of_pairs():
    vectors = torch.randn(4, 3, generator=seeded())
    expected = (vectors[:, None] - vectors).square().sum(-1)
    torch.testing.assert_close(squared_distances(vectors), expected, atol=1e-5, rtol=1e-5)


def test_other_redshifts_lie_in_the_published_range():
    redshift = torch.tensor([0.05, 0.2, 0.5, 0.79]).repeat_interleave(500)
    drawn = other_redshift(redshift, seeded(), 0.2, 0.55).reshape(4, 500)
    assert (drawn[:2] >= 0).all()
    assert (drawn[:2] <= 0.2).all()
    assert drawn[0].max() > 0.19
    assert (drawn[2] >= 0.3).all()
    assert (drawn[2] <= 0.5).all()
    assert drawn[3].max() == pytest.approx(0.55)


def test_spectra_are_moved_to_another_redshift_with_what_is_known_of_them():
    wave = observed_wavelength(3000, torch.device("cpu"))
    flux = torch.exp(-0.5 * ((wave - 4800) / 8) ** 2).float().repeat(2, 1)
    ivar = torch.full_like(flux, 2.0)
    ivar[:, 500:510] = 0
    flux[:, 505] = math.nan
    batch = {"flux": flux, "ivar": ivar, "redshift": torch.tensor([0.2, 0.2])}
    moved = at_redshift(batch, torch.tensor([0.2, 0.3]))
    torch.testing.assert_close(moved["flux"][0], torch.nan_to_num(flux[0]), atol=1e-5, rtol=0)
    assert int((moved["ivar"][0] == 0).sum()) == pytest.approx(10, abs=2)
    assert float(wave[moved["flux"][1].argmax()]) == pytest.approx(4800 * 1.3 / 1.2, abs=WAVELENGTH_STEP_ANGSTROM)
    unseen = wave / 1.3 * 1.2 < wave[0] - 1e-6
    assert (moved["ivar"][1][unseen] == 0).all()
    hidden = (wave / 1.3 * 1.2 > wave[501]) & (wave / 1.3 * 1.2 < wave[508])
    assert (moved["ivar"][1][hidden] == 0).all()
    assert torch.isfinite(moved["flux"]).all()
    assert moved["ivar"][1].max() == 2
