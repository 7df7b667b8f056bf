"""Images read from HDF5, and previews made, against the library that does the bulk of the work alone."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dataset_builders.display import dr2_rgb
from dataset_builders.preview import JPEG_QUALITY, preview_array
from dataset_builders.upstream.legacy_image import image_faults
from dataset_builders.upstream.legacy_stein import SteinImages

IMAGES = 256
REPEATS = 5
READING_AT_MOST = 4.0
PREVIEW_AT_MOST = 8.0
"""CPU time as a multiple of the bare library's; 2 and 4 on a quiet machine."""


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the least CPU time of a few runs; wall time says little on a shared machine."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


@pytest.fixture(scope="module")
def images():
    y, x = np.mgrid[:152, :152] - 75.5
    galaxy = 0.3 * np.exp(-np.hypot(y, x) / 8)
    noise = np.random.default_rng(0).normal(0, np.array([0.004, 0.007, 0.015])[:, None, None], (IMAGES, 3, 152, 152))
    return (galaxy + noise).astype(np.float32)


def test_reading_scattered_rows(images, tmp_path, benchmark):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "images_npix152_000000000_000000256.h5"
    with h5py.File(path, "w") as file:
        file["images"] = images
    rows = np.arange(0, IMAGES, 2)

    def bare():
        with h5py.File(path) as file:
            return file["images"][rows]

    reader = SteinImages(tmp_path)
    payload = benchmark(reader.load, path, rows)
    np.testing.assert_array_equal(payload.columns["image"], bare())
    ratio = cpu_seconds(lambda: reader.load(path, rows)) / cpu_seconds(bare)
    benchmark.extra_info.update(
        ratio_to_bare_h5py=round(ratio, 2),
        milliseconds_of_checks_an_image=round(1e3 * cpu_seconds(lambda: image_faults(images)) / IMAGES, 3),
    )
    assert ratio < READING_AT_MOST


def test_previews(images, benchmark):
    image_module = pytest.importorskip("PIL.Image")
    pictures = [image_module.fromarray((dr2_rgb(image) * 255).astype(np.uint8)) for image in images]

    def bare():
        for picture in pictures:
            picture.save(io.BytesIO(), "JPEG", quality=JPEG_QUALITY)

    assert len(benchmark(preview_array, images)) == IMAGES
    ours = cpu_seconds(lambda: preview_array(images))
    ratio = ours / cpu_seconds(bare)
    benchmark.extra_info.update(previews_a_second=round(IMAGES / ours), ratio_to_bare_jpeg=round(ratio, 2))
    assert ratio < PREVIEW_AT_MOST
