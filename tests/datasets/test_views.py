"""Splits give columns, batches and subsamples."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pytest
from tiny_source import TinySource

from astroclip_bench.datasets import batches_from_hf, open_dataset
from astroclip_bench.errors import DataError
from dataset_builders.parquet import build_dataset


@pytest.fixture(scope="module")
def dataset(tiny):
    return open_dataset(tiny)


@pytest.fixture(scope="module")
def truth():
    """Return the rows of the training split as the source makes them."""
    source = TinySource()
    return pa.Table.from_batches([batch for shard in source.shards for batch in source.rows(shard, {"train"})])


def test_what_the_data_set_says(dataset):
    assert dataset.info.name == "tiny"
    assert set(dataset.modalities) == {"image", "photometry"}
    assert dataset.labels == ["redshift"]
    assert {name: split.rows for name, split in dataset.splits.items()} == {"train": 80, "validation": 20, "test": 20}


def test_columns(dataset, truth):
    train = dataset.splits["train"]
    assert train.object_ids == truth["object_id"].to_pylist()
    redshift = train.column("redshift")
    assert redshift.dtype == np.float64
    expected = np.array([np.nan if value is None else value for value in truth["redshift"].to_pylist()])
    np.testing.assert_array_equal(redshift, expected)
    assert np.isnan(redshift).sum() == 30
    assert train.column("healpix").dtype == np.int64
    assert train.column("hemisphere").tolist() == truth["hemisphere"].to_pylist()
    assert train.column("image").shape == (80, 3, 8, 8)


def test_table_keeps_order_and_schema(dataset):
    table = dataset.splits["train"].table(["redshift", "object_id"])
    assert table.schema.names == ["redshift", "object_id"]
    assert table.schema.field("redshift").metadata == dataset.schema.field("redshift").metadata


@pytest.mark.parametrize("batch_size", [1, 16, 27, 80, 1000])
def test_batches_have_constant_size(dataset, truth, batch_size):
    batches = list(dataset.splits["train"].batches(["image", "flux_g"], batch_size))
    sizes = [len(batch.object_ids) for batch in batches]
    assert sizes == [*[batch_size] * (80 // batch_size), *([80 % batch_size] if 80 % batch_size else [])]
    assert [name for batch in batches for name in batch.object_ids] == truth["object_id"].to_pylist()
    images = np.concatenate([batch.arrays["image"] for batch in batches])
    np.testing.assert_array_equal(images.reshape(80, -1), np.array(truth["image"].to_pylist(), "f4").reshape(80, -1))
    np.testing.assert_array_equal(
        np.concatenate([batch.arrays["flux_g"] for batch in batches]), truth["flux_g"].to_numpy()
    )
    for batch in batches:
        assert set(batch.arrays) == {"image", "flux_g"}
        assert batch.arrays["image"].dtype == np.float32
        assert not any(array.flags.writeable for array in batch.arrays.values())


def test_batches_over_several_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("dataset_builders.shards.ROW_GROUP_MAX_ROWS", 6)
    dataset = open_dataset(build_dataset(TinySource(), tmp_path / "groups"))
    train = dataset.splits["train"]
    batches = list(train.batches(["flux_r"], 7))
    assert [len(batch.object_ids) for batch in batches] == [7] * 11 + [3]
    np.testing.assert_array_equal(
        np.concatenate([batch.arrays["flux_r"] for batch in batches]).astype(float), train.column("flux_r")
    )
    picked = train.subsample(9)
    assert [name for batch in picked.batches([], 4) for name in batch.object_ids] == picked.object_ids


def test_row_groups_without_wanted_rows_are_not_read(dataset, monkeypatch):
    read = []
    original = pa.parquet.ParquetFile.read_row_group
    monkeypatch.setattr(
        pa.parquet.ParquetFile,
        "read_row_group",
        lambda self, index, **options: read.append(index) or original(self, index, **options),
    )
    assert [len(batch.object_ids) for batch in dataset.splits["train"].subsample(1).batches(["image"], 4)] == [1]
    assert len(read) == 1


def test_leaving_a_loop_early_leaves_no_thread(dataset):
    before = threading.active_count()
    for _ in dataset.splits["train"].batches(["image"], 8):
        break
    assert threading.active_count() == before


def test_subsamples_follow_the_identifiers(dataset):
    train = dataset.splits["train"]
    small, large = train.subsample(10), train.subsample(30)
    assert small.rows == len(small.object_ids) == len(small.column("redshift")) == 10
    assert set(small.object_ids) < set(large.object_ids)
    assert large.subsample(10).object_ids == small.object_ids
    positions = [train.object_ids.index(name) for name in small.object_ids]
    assert positions == sorted(positions) != list(range(10))
    assert train.subsample(80) is train
    np.testing.assert_array_equal(small.column("flux_g"), train.column("flux_g")[positions])


def test_bad_requests(dataset):
    train = dataset.splits["train"]
    with pytest.raises(DataError, match=r"no column 'colour'.*expected one of object_id"):
        train.column("colour")
    with pytest.raises(DataError, match="no column 'colour'"):
        next(train.batches(["colour"], 8))
    with pytest.raises(DataError, match="batch size 0"):
        next(train.batches(["image"], 0))
    with pytest.raises(DataError, match="subsample of 0 rows"):
        train.subsample(0)


def test_through_hugging_face(dataset, truth):
    train = dataset.splits["train"]
    rows = train.to_hf()
    assert rows["object_id"][:3] == truth["object_id"].to_pylist()[:3]
    batches = list(batches_from_hf(rows, ["image"], 32))
    assert [len(batch.object_ids) for batch in batches] == [32, 32, 16]
    images = train.column("image")
    np.testing.assert_array_equal(np.concatenate([batch.arrays["image"] for batch in batches]), images)
    order = np.random.default_rng(0).permutation(80)
    shuffled = list(batches_from_hf(rows, ["image"], 32, indices=order))
    np.testing.assert_array_equal(np.concatenate([batch.arrays["image"] for batch in shuffled]), images[order])
    assert train.subsample(5).to_hf()["object_id"][:] == train.subsample(5).object_ids


def test_rows_in_order_are_views_of_the_mapped_file(dataset):
    rows = dataset.splits["train"].to_hf()
    mapped = rows.data.column("image").chunk(0)
    start = np.asarray(mapped.flatten().flatten().flatten())
    batch = next(batches_from_hf(rows, ["image"], 16))
    assert np.shares_memory(batch.arrays["image"], start)
