"""Previews: small JPEG pictures, north up, that the Hub's library shows as images."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from astroclip_bench.records import preview_column
from dataset_builders.display import dr2_rgb
from dataset_builders.preview import preview_array


@pytest.fixture(scope="module")
def images():
    """Return a smooth galaxy with noise and a red star north-west of it, and empty sky."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[:152, :152]
    galaxy = 0.3 * np.exp(-np.hypot(y - 75.5, x - 75.5) / 8)
    star = np.exp(-((y - 120) ** 2 + (x - 130) ** 2) / 8)
    noise = random.normal(0, np.array([0.01, 0.015, 0.04])[:, None, None], (2, 3, 152, 152))
    signal = galaxy * np.array([0.6, 1.0, 1.4])[:, None, None] + star * np.array([0, 0.05, 1])[:, None, None]
    return (np.stack([signal, np.zeros_like(signal)]) + noise).astype(np.float32)


def test_previews_are_small_and_the_same_each_time(images):
    previews = preview_array(images)
    assert previews.type == preview_column().dtype
    assert previews.equals(preview_array(images))
    assert [len(picture["bytes"]) < 15_000 for picture in previews.to_pylist()] == [True, True]
    assert len(preview_array(images[:0])) == 0


def test_pictures_look_like_the_image(images):
    pixels = np.asarray(Image.open(io.BytesIO(preview_array(images[:1])[0]["bytes"].as_py())))
    assert pixels.shape == (152, 152, 3)
    np.testing.assert_allclose(pixels.mean(axis=(0, 1)), 255 * dr2_rgb(images[0]).mean(axis=(0, 1)), atol=3)
    # North is up: the star at row 120 of the image is in the upper part of the picture, and red.
    star = pixels[151 - 121 : 151 - 118, 129:132].astype(float).mean(axis=(0, 1))
    assert star[0] > 200
    assert star[2] < 120


def test_the_hubs_library_shows_them(images, tmp_path):
    datasets = pytest.importorskip("datasets")
    pq.write_table(pa.table({"preview": preview_array(images)}), tmp_path / "one.parquet")
    features = datasets.Features({"preview": datasets.Image()})
    rows = datasets.Dataset.from_parquet(
        str(tmp_path / "one.parquet"), features=features, cache_dir=str(tmp_path / "cache")
    )
    assert rows[0]["preview"].size == (152, 152)


def test_a_real_galaxy(realdata):
    from dataset_builders.upstream.legacy_cutout import read_cutout

    image = read_cutout(realdata / "legacy/zoobot_example_a.fits").image
    (preview,) = preview_array(image[None]).to_pylist()
    assert len(preview["bytes"]) < 15_000
    pixels = np.asarray(Image.open(io.BytesIO(preview["bytes"])))
    red, _, blue = pixels[60:92, 60:92].astype(float).mean(axis=(0, 1))
    assert red > blue  # an elliptical galaxy
