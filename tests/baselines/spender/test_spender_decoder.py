"""Spender's decoder: its size, and where and how strongly what it emits at rest is seen."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.records import N_WAVELENGTH
from baselines.astroclip.encoders import build_encoder
from baselines.spender.autoencoder import best_amplitude
from baselines.spender.decoder import SpectrumDecoder, SpeculatorActivation, interpolate, observed_wavelength

PUBLISHED_ENCODER = 3_159_046
BINS = 9780


def test_published_autoencoder_has_its_size():
    model = build_encoder("spender-autoencoder", {})
    layers = [(6, 64), (64, 256), (256, 1024), (1024, BINS)]
    decoder = sum(one * two + two + 2 * two for one, two in layers)  # weights, biases, two numbers an activation
    assert sum(values.numel() for values in model.decoder.parameters()) == decoder == 10_327_004
    assert sum(values.numel() for values in model.parameters()) == PUBLISHED_ENCODER + decoder
    wave = model.decoder.wavelength
    assert wave[0] == pytest.approx(2000)
    assert wave[-1] == pytest.approx(9824)


def test_speculator_activation_is_its_formula():
    activation = SpeculatorActivation(3, offset=1.0)
    x = torch.tensor([[-2.0, 0.0, 3.0]])
    gate = activation.floor + (1 - activation.floor) / (1 + torch.exp(-activation.slope * x))
    torch.testing.assert_close(activation(x), gate * x + 1)


def test_interpolation_is_exact_on_lines_and_holds_the_ends():
    values = 3.0 + 2.0 * torch.arange(5.0)[None]
    found = interpolate(values, torch.tensor([[-1.0, 0.0, 0.25, 3.5, 4.0, 9.0]]))
    torch.testing.assert_close(found, torch.tensor([[3.0, 3.0, 3.5, 10.0, 11.0, 11.0]]))


@pytest.mark.parametrize("redshift", [0.0, 0.15, 0.43])
def test_a_line_at_rest_is_seen_at_its_place_with_its_flux(redshift):
    decoder = SpectrumDecoder(6, (8,), 0.8, BINS, N_WAVELENGTH)
    rest_wave = decoder.wavelength
    centre, width = 5008.2, 6.0
    rest = torch.exp(-0.5 * ((rest_wave - centre) / width) ** 2).float()[None]
    observed, covered = decoder.observe(rest, torch.tensor([redshift]), N_WAVELENGTH)
    wave = observed_wavelength(N_WAVELENGTH, rest.device).double()
    flux = observed[0].double()
    assert covered.all()
    assert float((wave * flux).sum() / flux.sum()) == pytest.approx(centre * (1 + redshift), abs=0.02)
    at_rest = float(rest.double().sum() * decoder.step)
    assert float(flux.sum() * (wave[1] - wave[0])) == pytest.approx(at_rest * (1 + redshift), rel=1e-4)


def test_pixels_beyond_the_grid_are_not_covered():
    decoder = SpectrumDecoder(6, (8,), 0.2, 500, 1000)
    _, covered = decoder.observe(torch.ones(2, 500), torch.tensor([0.1, 0.3]), 1000)
    assert covered[0].all()
    first = int((~covered[1]).sum())
    wave = observed_wavelength(1000, covered.device)
    assert wave[first - 1] / 1.3 < decoder.start <= wave[first] / 1.3
    assert covered[1, first:].all()


def test_best_amplitude_leaves_no_residual_along_the_model():
    generator = torch.Generator().manual_seed(1)
    model, flux, weight = torch.rand(3, 2, 40, generator=generator).unbind()
    weight[0, :10], flux[0, :10] = 0, torch.nan
    weight[1] = 0
    found = best_amplitude(model, flux, weight)
    residual = torch.nan_to_num(flux) - found[:, None] * model
    torch.testing.assert_close((weight * model * residual).sum(1), torch.zeros(2), atol=1e-5, rtol=0)
    assert found[1] == 0
