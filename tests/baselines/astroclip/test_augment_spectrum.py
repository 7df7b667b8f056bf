"""Changes to spectra: the flux, and an inverse variance that keeps telling the truth."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.errors import UserError
from baselines.astroclip import augment_spectrum as augment
from baselines.astroclip.augment_spectrum import SpectrumAugmentation

PIXELS = 7781
N = 4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def spectra():
    flux = 3 + torch.randn(N, PIXELS, generator=seeded()).cumsum(1) / 50
    ivar = 0.5 + torch.rand(N, PIXELS, generator=seeded(1))
    ivar[:, 1000:1100] = 0
    return flux, ivar


def test_nothing_is_the_default(spectra):
    flux, ivar = augment.augment_spectrum(*spectra, seeded(), SpectrumAugmentation())
    assert torch.equal(flux, spectra[0])
    assert torch.equal(ivar, spectra[1])


def test_shift_moves_lines_and_leaves_nothing_behind(spectra):
    flux, ivar = spectra
    flux[:, 3000] = 100.0
    moved, weight = augment.shift(flux, ivar, torch.tensor([0, 5, -5, 2]))
    assert moved.argmax(1).tolist() == [3000, 3005, 2995, 3002]
    assert torch.equal(moved[1, 5:], flux[1, :-5])
    assert torch.equal(weight[2, :-5], ivar[2, 5:])
    assert weight[1, :5].eq(0).all()
    assert weight[2, -5:].eq(0).all()
    assert weight[0].eq(ivar[0]).all()


def test_shifts_are_drawn_up_to_the_largest():
    flux = torch.zeros(500, 100)
    flux[:, 50] = 1.0
    moved, ivar = augment.augment_spectrum(flux, None, seeded(), SpectrumAugmentation(shift=5))
    assert ivar is None
    assert sorted(set((moved.argmax(1) - 50).tolist())) == list(range(-5, 6))


def test_noise_of_each_pixel_agrees_with_ivar(spectra):
    flux, ivar = spectra
    noisy, weight = augment.augment_spectrum(flux, ivar, seeded(), SpectrumAugmentation(noise=0.3))
    added = (noisy - flux) * ivar.sqrt()
    valid = ivar > 0
    assert float(added[valid].std()) == pytest.approx(0.3, rel=0.02)
    assert float(added[valid].mean()) == pytest.approx(0, abs=0.01)
    assert torch.equal(noisy[~valid], flux[~valid])
    torch.testing.assert_close(weight, ivar / (1 + 0.3**2))


def test_noise_of_the_spectrum_is_the_same_for_all_pixels(spectra):
    flux, ivar = spectra
    settings = SpectrumAugmentation(noise=0.03, noise_of="spectrum")
    noisy, weight = augment.augment_spectrum(flux, ivar, seeded(), settings)
    valid = ivar[0] > 0
    spread = flux[:, valid].std(1, correction=0)
    torch.testing.assert_close((noisy - flux)[:, valid].std(1), 0.03 * spread, rtol=0.04, atol=0)
    added = 1 / weight[:, valid] - 1 / ivar[:, valid]
    torch.testing.assert_close(added, (0.03 * spread[:, None]).square().expand_as(added), rtol=1e-2, atol=1e-5)
    assert weight[:, ~valid].eq(0).all()


def test_share_of_noise_is_drawn_for_each_spectrum():
    settings = SpectrumAugmentation(noise=2.0, noise_range=True)
    _, weight = augment.augment_spectrum(torch.zeros(2000, 3), torch.ones(2000, 3), seeded(), settings)
    share = (1 / weight[:, 0] - 1).sqrt()
    assert float(share.mean()) == pytest.approx(1.0, abs=0.05)
    assert share.max() <= 2
    torch.testing.assert_close(weight[:, 0], weight[:, 2])


def test_noise_without_ivar(spectra):
    flux, _ = spectra
    settings = SpectrumAugmentation(noise=0.03, noise_of="spectrum")
    noisy, ivar = augment.augment_spectrum(flux, None, seeded(), settings)
    assert ivar is None
    torch.testing.assert_close((noisy - flux).std(1), 0.03 * flux.std(1), rtol=0.04, atol=0)
    with pytest.raises(UserError, match="noise_of = 'spectrum'"):
        augment.augment_spectrum(flux, None, seeded(), SpectrumAugmentation(noise=0.3))


def test_tilt_keeps_signal_to_noise_and_the_place_of_lines(spectra):
    flux, ivar = spectra
    tilted, weight = augment.augment_spectrum(flux, ivar, seeded(), SpectrumAugmentation(tilt=0.2))
    torch.testing.assert_close(tilted * weight.sqrt(), flux * ivar.sqrt(), rtol=1e-4, atol=1e-5)
    factor = tilted / flux
    assert (factor.max() / factor.min()) > 1.05
    assert (factor.diff(dim=1).abs() < 1e-3).all()
    line, _ = augment.tilt(torch.ones(1, 5), torch.ones(1, 5), torch.tensor([[0.1, 0.0]]))
    torch.testing.assert_close(line.log(), 0.1 * torch.linspace(-1, 1, 5)[None])


def test_masked_chunks_lose_their_data(spectra):
    flux, ivar = spectra
    settings = SpectrumAugmentation(masked_chunks=3, chunk_pixels=200)
    masked, weight = augment.augment_spectrum(flux, ivar.clamp(min=0.1), seeded(), settings)
    lost = weight == 0
    assert lost.sum(1).tolist() == [600] * N
    assert masked[lost].eq(0).all()
    assert torch.equal(masked[~lost], flux[~lost])


def test_chunk_mask_is_one_run_in_each_part():
    mask = augment.chunk_mask(500, 778, seeded())
    assert mask.shape == (500, 778)
    assert mask.sum(1).eq(300).all()
    starts = (mask & ~torch.nn.functional.pad(mask, (1, 0))[:, :-1]).sum(1)
    assert starts.min() >= 5  # runs of neighbouring parts may touch, never overlap
    parts = torch.tensor([part * 778 // 6 for part in range(7)])
    for begin, end in zip(parts[:-1].tolist(), parts[1:].tolist(), strict=True):
        assert mask[:, begin:end].sum(1).eq(50).all()
    often = mask.float().mean(0)
    assert often.argmax() > 0
    assert often[30:100].min() > 0.3


def test_chunk_mask_refuses_runs_longer_than_a_part():
    with pytest.raises(UserError, match="at most 10"):
        augment.chunk_mask(2, 60, seeded(), 6, 11)
    assert augment.chunk_mask(2, 60, seeded(), 6, 10).all()


def test_repeats_for_a_seed_and_for_no_other(spectra):
    settings = SpectrumAugmentation(shift=5, noise=0.3, masked_chunks=2, tilt=0.1, noise_range=True)
    first = augment.augment_spectrum(*spectra, seeded(3), settings)
    again = augment.augment_spectrum(*spectra, seeded(3), settings)
    other = augment.augment_spectrum(*spectra, seeded(4), settings)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert all(part.isfinite().all() for part in first)
