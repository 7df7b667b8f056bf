"""A small data set of images and captions, and the small towers that the tests train on it."""

from __future__ import annotations

from typing import Any

import pytest

from astroclip_bench.datasets import BenchDataset

TEXT = {"embed_dim": 8, "text_cfg": {"context_length": 24, "width": 16, "heads": 2, "layers": 1}}
IMAGE = {"embed_dim": 8, "vision_cfg": {"image_size": 8, "patch_size": 4, "width": 16, "head_width": 8, "layers": 1}}


@pytest.fixture(scope="session")
def small_towers() -> dict[str, dict[str, Any]]:
    """Return encoders of a few thousand weights, the words aside."""
    image = {"name": "clip-image", "sizes": IMAGE, "crop": 8, "transform": "asinh"}
    return {"image": image, "text": {"name": "clip-text", "sizes": TEXT}}


@pytest.fixture(scope="session")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> BenchDataset:
    """Return galaxies of which several share a caption; not to be changed."""
    from captioned_source import CaptionedSource

    from astroclip_bench.datasets import open_dataset
    from dataset_builders.parquet import build_dataset

    return open_dataset(build_dataset(CaptionedSource(n_shards=4), tmp_path_factory.mktemp("captioned") / "data"))
