"""Spectra on the logarithmic grid."""

from __future__ import annotations

import math

import pytest
import torch

from astroclip_bench.records import N_WAVELENGTH, WAVELENGTH_START_ANGSTROM, WAVELENGTH_STEP_ANGSTROM
from baselines.astroclip.log_bins import BAND_BINS, LOG_STEP, LogBins

ANGSTROM = WAVELENGTH_START_ANGSTROM + WAVELENGTH_STEP_ANGSTROM * torch.arange(N_WAVELENGTH, dtype=torch.float64)
EQUAL = torch.ones(1, N_WAVELENGTH)


@pytest.fixture(scope="module")
def bins() -> LogBins:
    return LogBins()


def line(angstrom: float, height: float = 5.0) -> torch.Tensor:
    return (1 + height * torch.exp(-0.5 * ((ANGSTROM - angstrom) / 3) ** 2)).float()[None]


def test_the_grid_covers_the_spectrum_in_whole_bands(bins):
    assert (bins.bins, bins.features) == (2000, 2000 // BAND_BINS + 1)
    assert bins.weight.sum() == pytest.approx(N_WAVELENGTH, rel=2e-2)
    width_angstrom = bins.weight.sum(1) * WAVELENGTH_STEP_ANGSTROM
    wavelength = WAVELENGTH_START_ANGSTROM * torch.exp(LOG_STEP * (torch.arange(bins.bins) + 0.5))
    torch.testing.assert_close(width_angstrom / wavelength, torch.full((bins.bins,), LOG_STEP), rtol=1e-3, atol=0)


def test_a_bin_is_the_weighted_mean_of_its_pixels(bins):
    generator = torch.Generator().manual_seed(0)
    flux, ivar = torch.randn(2, N_WAVELENGTH, generator=generator), torch.rand(2, N_WAVELENGTH, generator=generator)
    ivar[0, 1000:1100] = 0
    flux[0, 1050] = torch.nan
    mean, total = bins.rebin(flux, ivar)
    weights = torch.zeros(bins.bins, N_WAVELENGTH, dtype=torch.float64)
    weights.scatter_add_(1, bins.index, bins.weight.double())
    expected = ivar.double() @ weights.T
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-6)
    wanted = (flux.nan_to_num() * ivar).double() @ weights.T / expected.clamp_min(1e-12)
    torch.testing.assert_close(mean.double(), wanted, rtol=1e-4, atol=1e-5)
    assert (total[0] == 0).any()
    assert (mean[total == 0] == 0).all()


def test_a_redshift_is_a_shift_of_every_line(bins):
    by = 40
    factor = math.exp(by * LOG_STEP)
    one, other = (bins.rebin(line(wavelength), EQUAL)[0][0].argmax() for wavelength in (5000.0, 5000.0 * factor))
    blue, red = (bins.rebin(line(wavelength), EQUAL)[0][0].argmax() for wavelength in (7000.0, 7000.0 * factor))
    assert other - one == by == red - blue


def test_channels_say_what_they_should(bins):
    ivar = torch.full((1, N_WAVELENGTH), 4.0)
    ivar[:, 2000:2200] = 0
    (channels,), (features,) = bins(line(6000.0), ivar)
    assert channels.shape == (4, bins.bins)
    assert set(channels[3].unique().tolist()) == {0.0, 1.0}
    peak = bins.rebin(line(6000.0), EQUAL)[0][0].argmax()
    assert channels[0].argmax() == channels[1].argmax() == peak
    away = (torch.arange(bins.bins) - peak).abs() > 200
    assert channels[:2, away].abs().max() < 0.05
    brighter = bins(3 * line(6000.0), ivar / 9)
    torch.testing.assert_close(brighter[0][0], channels, atol=1e-4, rtol=1e-4)
    assert brighter[1][0, -1] - features[-1] == pytest.approx(math.log(3), abs=1e-4)


def test_empty_spectra_stay_finite(bins):
    nothing = torch.zeros(1, N_WAVELENGTH)
    for ivar in (nothing, nothing + 1):
        assert all(torch.isfinite(values).all() for values in bins(nothing, ivar))
