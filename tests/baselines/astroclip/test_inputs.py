"""From raw columns to network inputs, against slow loops and the display transform of the data-set builders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import N_WAVELENGTH
from baselines.astroclip import inputs
from dataset_builders.display import dr2_rgb as viewer_rgb

N = 4


@pytest.fixture(scope="module")
def flux() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    level = torch.tensor([0.0, 1.0, 5.0, 40.0])[:, None]
    return level + (0.01 + 0.2 * level) * torch.randn(N, N_WAVELENGTH, generator=generator)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    image = 0.02 * torch.randn(N, 3, 20, 24, generator=generator)
    image[1] *= 100
    image[2] -= 0.1  # colours of negative flux
    image[3] = 0
    return image


def slow_slices(spectrum: np.ndarray) -> np.ndarray:
    """Return the published preprocessing of one spectrum, written as a loop."""
    mean, std = spectrum.mean(), max(spectrum.std(ddof=1), 0.2)
    rows = [[(mean - 2) / 2, (std - 2) / 8, *[0.0] * 20]]
    start = 0
    while start + 20 <= len(spectrum):
        rows.append([0.0, 0.0, *((spectrum[start : start + 20] - mean) / std)])
        start += 10
    return np.array(rows)


def test_slices_are_those_of_a_slow_loop(flux):
    slices = inputs.slice_spectrum(*inputs.standardise_spectrum(flux))
    assert slices.shape == (N, 778, 22)
    for row in range(N):
        np.testing.assert_allclose(slices[row].numpy(), slow_slices(flux[row].double().numpy()), atol=2e-5)


@pytest.mark.parametrize(("pixels", "length", "overlap", "tokens"), [(95, 20, 10, 9), (100, 25, 0, 5), (99, 25, 0, 4)])
def test_a_short_last_slice_is_left_out(flux, pixels, length, overlap, tokens):
    slices = inputs.slice_spectrum(*inputs.standardise_spectrum(flux[:, :pixels]), length, overlap)
    assert slices.shape == (N, tokens, 2 + length)


def test_masked_pixels_count_in_no_statistic_and_become_zero(flux):
    ivar = torch.ones_like(flux)
    ivar[:, ::3] = 0
    spoilt = torch.where(ivar > 0, flux, 1e6)
    spoilt[0, 3], spoilt[1, 6] = torch.nan, torch.inf
    standardised, mean, std = inputs.standardise_spectrum(spoilt, ivar)
    good = flux[2][ivar[2] > 0]
    torch.testing.assert_close(mean[2, 0], good.mean())
    torch.testing.assert_close(std[2, 0], good.std())
    assert standardised.isfinite().all()
    assert standardised[:, ::3].eq(0).all()
    torch.testing.assert_close(standardised[2][ivar[2] > 0], (good - good.mean()) / good.std(), atol=1e-5, rtol=1e-5)


def test_without_good_pixels_a_spectrum_is_flat(flux):
    standardised, mean, std = inputs.standardise_spectrum(flux, torch.zeros_like(flux))
    assert standardised.eq(0).all()
    assert mean.eq(0).all()
    torch.testing.assert_close(std, torch.full((N, 1), 0.2))
    assert inputs.fill_spectrum(flux, torch.zeros_like(flux)).eq(0).all()


def test_filling_leaves_good_pixels_and_puts_their_mean_elsewhere(flux):
    ivar = torch.ones_like(flux)
    ivar[:, :100] = 0
    filled = inputs.fill_spectrum(flux, ivar)
    assert torch.equal(filled[:, 100:], flux[:, 100:])
    torch.testing.assert_close(filled[:, :100], flux[:, 100:].mean(1, keepdim=True).expand(-1, 100))
    assert torch.equal(inputs.fill_spectrum(flux), flux)


def test_dr2_rgb_is_that_of_the_viewer(image):
    expected = np.moveaxis(viewer_rgb(image.numpy()), -1, 1)
    np.testing.assert_allclose(inputs.dr2_rgb(image).numpy(), expected, atol=1e-6)


def test_stein_rgb_is_that_of_a_slow_loop(image):
    found = inputs.stein_rgb(image)
    for n, row, column in [(0, 0, 0), (0, 7, 3), (1, 4, 20), (1, 19, 23), (2, 5, 5)]:
        g, r, z = image[n, :, row, column].double().tolist()
        intensity = sum(max(0.0, scale * flux + 0.03) for scale, flux in ((2.2, z), (3.4, r), (6.0, g))) / 3
        factor = np.arcsinh(20 * intensity) / np.sqrt(20) / (intensity or 1.0)
        expected = [np.clip(flux * (scale + 0.03 * factor), 0, 1) for scale, flux in ((2.2, z), (3.4, r), (6.0, g))]
        np.testing.assert_allclose(found[n, :, row, column].numpy(), expected, atol=1e-6)
    assert found[3].eq(0).all()  # empty sky is black, unlike in the viewer
    torch.testing.assert_close(inputs.dr2_rgb(image)[3].mean(), torch.tensor(0.1275), atol=1e-3, rtol=0)


def test_asinh_uses_the_softening_of_each_band(image):
    planes = inputs.ImageInput("asinh", 12, softening=(0.1, 0.2, 0.4))(image)
    expected = torch.asinh(image[:, 2, 4:16, 6:18] / 0.4)
    torch.testing.assert_close(planes[:, 2], expected)


def test_image_input_crops_swaps_resizes_and_standardises(image):
    plain = inputs.ImageInput("dr2_rgb", 12)
    torch.testing.assert_close(plain(image), inputs.dr2_rgb(image)[:, :, 4:16, 6:18])
    swapped = inputs.ImageInput("dr2_rgb", 12, swap_axes=True)
    assert torch.equal(swapped(image), plain(image).transpose(2, 3))
    resized = inputs.ImageInput("dr2_rgb", 12, resize=6)
    assert (resized.size, plain.size) == (6, 12)
    torch.testing.assert_close(resized(image).mean(), plain(image).mean(), atol=5e-3, rtol=0)
    scaled = inputs.ImageInput("dr2_rgb", 12, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    torch.testing.assert_close(scaled(image)[:, 2], (plain(image)[:, 2] - 0.3) / 0.1)
    descriptions = {part.description for part in (plain, swapped, resized, scaled)}
    assert len(descriptions) == 4  # what changes the input changes the words


def test_planes_of_any_size_are_those_of_the_whole_image(image):
    module = inputs.ImageInput("stein_rgb", 12)
    torch.testing.assert_close(module.planes(image)[:, :, 4:16, 6:18], module(image))


def test_pixels_that_are_not_finite_count_as_zero(image):
    spoilt = image.clone()
    spoilt[0, 1, 10, 10], spoilt[1, 0, 10, 10] = torch.nan, torch.inf
    cleaned = image.clone()
    cleaned[0, 1, 10, 10], cleaned[1, 0, 10, 10] = 0, 0
    module = inputs.ImageInput("dr2_rgb", 12)
    assert torch.equal(module(spoilt), module(cleaned))


def test_refuses_small_images_and_unknown_transforms(image):
    with pytest.raises(EmbedderError, match=r"20 x 24 pixels.*at least 22 x 22"):
        inputs.ImageInput("dr2_rgb", 22)(image)
    with pytest.raises(EmbedderError, match="did you mean dr2_rgb"):
        inputs.ImageInput("dr2rgb", 12)
