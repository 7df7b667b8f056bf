"""Resampling conserves flux exactly, and puts it where it was."""

from __future__ import annotations

import numpy as np
import pytest

from dataset_builders.resample_image import mean_over_pixels, overlap_matrix


@pytest.mark.parametrize(("n_in", "scale_in", "n_out", "scale_out"), [(5, 2.0, 10, 1.0), (41, 0.1, 12, 0.262)])
def test_each_output_pixel_is_covered_once(n_in, scale_in, n_out, scale_out):
    matrix = overlap_matrix(n_in, scale_in, n_out, scale_out)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)
    # Seen from the input: of each pixel, as much is used as lies inside the output grid.
    edges = (np.arange(n_in + 1) - n_in / 2) * scale_in
    inside = np.clip(edges, -n_out * scale_out / 2, n_out * scale_out / 2)
    np.testing.assert_allclose(matrix.sum(axis=0) * scale_out, np.diff(inside), atol=1e-12)


def test_whole_multiples_are_block_means():
    random = np.random.default_rng(2)
    image = random.normal(size=(3, 12, 12))
    blocks = image.reshape(3, 4, 3, 4, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(mean_over_pixels(image, 1.0, 4, 3.0), blocks, rtol=1e-12)
    np.testing.assert_allclose(mean_over_pixels(image, 1.0, 12, 1.0), image, rtol=1e-12)
    np.testing.assert_allclose(mean_over_pixels(image, 3.0, 36, 1.0), image.repeat(3, 1).repeat(3, 2), rtol=1e-12)


@pytest.mark.parametrize("scale", [0.1, 0.2, 0.4, 0.524])
def test_a_gaussian_keeps_flux_and_place(scale):
    """The surface brightness of a Gaussian in known units: flux, centroid and width after resampling are known."""
    native, sigma, x0, y0, flux = 0.262, 2.0, 1.3, -0.7, 42.0
    size = round(60 / scale) // 2 * 2 + 1
    y, x = ((np.mgrid[:size, :size] - (size - 1) / 2) * scale)[:, None]
    brightness = np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2)) * flux / (2 * np.pi * sigma**2)
    image = mean_over_pixels(brightness * native**2, scale, 152, native)
    assert image.sum() == pytest.approx(flux, rel=1e-6)
    out = (np.mgrid[:152, :152] - 75.5) * native
    centre = (image * out).sum(axis=(-2, -1)) / image.sum()
    np.testing.assert_allclose(centre, [y0, x0], atol=1e-3)
    width = (image * (out[1] - x0) ** 2).sum() / image.sum()
    # A pixel of the input adds a twelfth of its side squared; one of the output at most as much again of its own.
    assert width == pytest.approx(sigma**2 + scale**2 / 12, abs=native**2 / 11)


def test_what_lies_outside_is_not_read():
    image = np.ones((21, 21))
    image[0] = image[:, -1] = np.nan
    np.testing.assert_allclose(mean_over_pixels(image, 1.0, 9, 2.0), 1.0)
    image[10, 10] = np.inf
    assert not np.isfinite(mean_over_pixels(image, 1.0, 9, 2.0)).any()
