"""The same rows through Hugging Face `datasets`: from the folder, and from the builder."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from tiny_source import TinySource, tiny_info

from astroclip_bench.datasets import open_dataset
from dataset_builders.hf import builder_class
from dataset_builders.parquet import build_dataset

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def features():
    return datasets.Features.from_arrow_schema(TinySource().schema)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_dataset(TinySource(), tmp_path_factory.mktemp("hf") / "out")


def test_load_dataset_of_the_folder(folder, features, tmp_path):
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))
    assert set(loaded) == set(SPLITS)
    assert loaded["train"].features == features
    assert features["image"].length == 3
    split = open_dataset(folder).splits["validation"]
    assert loaded["validation"]["object_id"][:] == split.object_ids
    rows = loaded["validation"].with_format("numpy")[:]
    np.testing.assert_array_equal(rows["image"], split.column("image"))


def test_streaming_the_folder(folder, features, tmp_path):
    streamed = datasets.load_dataset(str(folder), split="test", streaming=True, cache_dir=str(tmp_path))
    assert streamed.features == features
    rows = list(streamed)
    assert [row["object_id"] for row in rows] == open_dataset(folder).splits["test"].object_ids
    assert np.shape(rows[0]["image"]) == (3, 8, 8)
    assert any(row["redshift"] is None for row in rows)


def test_builder_prepares_in_parallel(folder, features, tmp_path):
    builder = builder_class(TinySource())(cache_dir=str(tmp_path))
    assert builder.info.features == features
    builder.download_and_prepare(num_proc=2)
    prepared = builder.as_dataset()
    dataset = open_dataset(folder)
    for split in SPLITS:
        assert prepared[split].features == features
        assert prepared[split]["object_id"][:] == dataset.splits[split].object_ids
    np.testing.assert_array_equal(
        prepared["test"].with_format("numpy")["image"][:], dataset.splits["test"].column("image")
    )


def test_builder_streams(folder, features, tmp_path):
    builder = builder_class(TinySource())(cache_dir=str(tmp_path))
    streamed = builder.as_streaming_dataset()
    assert streamed["train"].features == features
    assert streamed["train"].num_shards == 3
    assert [row["object_id"] for row in streamed["test"]] == open_dataset(folder).splits["test"].object_ids


def test_sources_of_one_name_do_not_share_a_cache(tmp_path):
    small, large = (
        builder_class(TinySource(n_shards=1, shard_rows=rows))(cache_dir=str(tmp_path)) for rows in (20, 30)
    )
    small.download_and_prepare()
    large.download_and_prepare()
    assert sum(small.as_dataset()[split].num_rows for split in SPLITS) == 20
    assert sum(large.as_dataset()[split].num_rows for split in SPLITS) == 30
    other = builder_class(TinySource(info=tiny_info(name="deep-field", version="3.1.4")))
    assert other.__name__ == "DeepField"
    assert str(other.VERSION) == "3.1.4"
