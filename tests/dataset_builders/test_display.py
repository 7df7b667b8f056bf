"""The viewer's colours, and the way back to fluxes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dataset_builders.display import dr2_rgb, inverse_dr2_rgb


def viewer_colours(image):
    """Return the viewer's formula written out pixel by pixel: red, green and blue of an image (3, H, W)."""
    colours = np.zeros((*image.shape[1:], 3))
    for y, x in np.ndindex(*image.shape[1:]):
        g, r, z = (
            scale * flux + 0.03 for scale, flux in zip((6.0, 3.4, 2.2), image[:, y, x].astype(float), strict=True)
        )
        mean = (max(0, g) + max(0, r) + max(0, z)) / 3
        if mean > 0:
            colours[y, x] = np.array([z, r, g]) * np.arcsinh(20 * mean) / np.sqrt(20) / mean
    return np.clip(colours, 0, 1)


def test_colours_are_those_of_the_viewer():
    random = np.random.default_rng(3)
    image = np.concatenate([random.normal(0, 0.03, (3, 6, 9)), random.uniform(-1, 20, (3, 6, 9))], axis=1)
    np.testing.assert_allclose(dr2_rgb(image), viewer_colours(image), atol=2e-6)
    many = np.stack([image, 2 * image, -image - 1])
    colours = dr2_rgb(many)
    assert colours.shape == (3, 12, 9, 3)
    assert colours.dtype == np.float32
    np.testing.assert_array_equal(colours[1], dr2_rgb(2 * image))
    assert not colours[2].any()


def test_dark_sky_and_the_order_of_colours():
    np.testing.assert_allclose(dr2_rgb(np.zeros((3, 1, 1))), np.full((1, 1, 3), np.arcsinh(0.6) / np.sqrt(20)))
    only_z = np.zeros((3, 1, 1), np.float32)
    only_z[2] = 0.5
    red, green, blue = dr2_rgb(only_z)[0, 0]
    assert red > 5 * green
    assert green == blue


def test_fluxes_come_back_where_nothing_is_clipped():
    random = np.random.default_rng(5)
    image = np.abs(random.normal(0, 0.1, (4, 3, 5, 7))).astype(np.float32)
    colours = dr2_rgb(image)
    inside = (colours < 1).all(axis=-1)[:, None] & np.ones((1, 3, 1, 1), bool)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(inverse_dr2_rgb(colours)[inside], image[inside], rtol=2e-4, atol=2e-6)


def test_what_clipping_leaves():
    image = np.array([0.05, -1.0, 0.1], np.float32)[:, None, None]
    np.testing.assert_allclose(
        inverse_dr2_rgb(dr2_rgb(image)).ravel(), [0.05, -0.03 / 3.4, 0.1], rtol=1e-4
    )  # the negative band is at its bound, the others are whole
    np.testing.assert_allclose(
        inverse_dr2_rgb(np.zeros((1, 1, 3))).ravel(), [-0.03 / 6.0, -0.03 / 3.4, -0.03 / 2.2], rtol=1e-5
    )
    bright = np.full((3, 1, 1), 50, np.float32)
    assert (inverse_dr2_rgb(dr2_rgb(bright)) < bright).all()


def test_fluxes_of_an_8_bit_picture_and_of_a_jpeg():
    y, x = np.mgrid[:64, :64] - 31.5
    profile = np.exp(-np.hypot(y, x) / 6)
    image = (np.array([0.05, 0.1, 0.15])[:, None, None] * profile).astype(np.float32)
    picture = np.rint(dr2_rgb(image) * 255).astype(np.uint8)
    total = image.sum(axis=(1, 2))
    np.testing.assert_allclose(inverse_dr2_rgb(picture / 255).sum(axis=(1, 2)), total, rtol=0.01)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    again = np.asarray(Image.open(buffer))
    assert inverse_dr2_rgb(again / 255).sum(axis=(1, 2)) == pytest.approx(total, rel=0.05)
