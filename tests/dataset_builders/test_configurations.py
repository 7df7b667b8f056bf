"""Configurations, previews, posterior samples and rows left out, from the writer to every reader."""

from __future__ import annotations

import json
import shutil

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from rich_source import LEFT_OUT, N_SAMPLES, SIZE, RichSource

from astroclip_bench.datasets import check_dataset, index_folder, open_dataset
from astroclip_bench.errors import DataError
from dataset_builders.hf import builder_class
from dataset_builders.parquet import build_dataset
from dataset_builders.source import Configuration

ROWS = [i for i in range(1000, 1120) if i % 5]
WITH_MASS = [i for i in ROWS if i % 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_dataset(RichSource(), tmp_path_factory.mktemp("rich") / "out")


def column(folder, split, name):
    return open_dataset(folder).splits[split].column(name)


def test_rows_left_out_while_loading_are_counted(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sum(manifest["counts"].values()) == len(ROWS)
    assert manifest["build"]["dropped_while_loading"] == {LEFT_OUT: 24}
    card = (folder / "README.md").read_text()
    assert "| match | 123 | 120 | 3 no counterpart |" in card
    assert f"| loaded | 120 | {len(ROWS)} | 24 {LEFT_OUT} |" in card
    assert "1 file of 2.0 GB" in card
    assert 'masses = load_dataset("FOLDER_OR_HUB_ID", "masses")' in card


def test_a_configuration_holds_its_columns_of_the_rows_that_have_them(folder):
    loaded = datasets.load_dataset(str(folder), "masses")
    rows = [row for split in loaded.values() for row in split]
    assert sorted(int(row["object_id"]) for row in rows) == WITH_MASS
    assert set(rows[0]) == {
        "object_id",
        "ra",
        "dec",
        "healpix",
        "split",
        *("log_stellar_mass", "log_stellar_mass_samples"),
    }
    assert all(row["log_stellar_mass_samples"] == [float(row["object_id"])] * N_SAMPLES for row in rows)
    assert "`masses`" in (folder / "README.md").read_text()


def test_the_default_configuration_is_the_rows_with_a_picture(folder):
    loaded = datasets.load_dataset(str(folder))
    assert sorted(int(name) for split in loaded.values() for name in split["object_id"]) == ROWS
    row = loaded["train"][0]
    assert isinstance(loaded["train"].features["preview"], datasets.Image)
    assert row["preview"].size == (SIZE, SIZE)
    [streamed] = list(datasets.load_dataset(str(folder), split="train", streaming=True).take(1))
    assert streamed["object_id"] == row["object_id"]


def test_the_harness_reads_rows_and_not_configurations(folder):
    dataset = open_dataset(folder)
    assert sum(view.rows for view in dataset.splits.values()) == len(ROWS)
    assert check_dataset(folder).rows == len(ROWS)
    samples = column(folder, "train", "log_stellar_mass_samples")
    masses = column(folder, "train", "log_stellar_mass")
    np.testing.assert_array_equal(np.isnan(samples).all(axis=1), np.isnan(masses))


def test_the_digest_is_that_of_the_rows_without_pictures(folder, tmp_path):
    class Plain(RichSource):
        configurations = {}  # noqa: RUF012 - none for this one

    plain = build_dataset(Plain(), tmp_path / "plain")
    assert open_dataset(plain).digest == open_dataset(folder).digest
    assert not (plain / "masses").exists()


def test_another_build_in_a_folder_of_the_same_name_is_not_taken_for_the_first(tmp_path):
    counts = []
    for place, shards in (("first", 1), ("second", 2)):
        folder = build_dataset(RichSource(n_shards=shards), tmp_path / place / "same-name")
        counts.append(sum(len(split) for split in datasets.load_dataset(str(folder)).values()))
    assert counts == [32, 64]


def test_workers_make_the_same_files(folder, tmp_path):
    again = build_dataset(RichSource(), tmp_path / "again", workers=2)
    for path in folder.rglob("*.parquet"):
        assert (again / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_a_damaged_configuration_is_noticed(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = next(copy.glob("masses/*.parquet"))
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(DataError, match=r"masses/.*bytes"):
        open_dataset(copy)


def test_a_manifest_can_be_made_anew(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "manifest.json").unlink()
    assert index_folder(copy).digest == open_dataset(folder).digest
    assert open_dataset(copy).manifest.configs == ["pairs", "masses"]


def test_a_configuration_of_unknown_columns_is_refused(tmp_path):
    class Wrong(RichSource):
        configurations = {"wrong": Configuration(("nothing",), "redshift", "")}  # noqa: RUF012 - of this one alone

    with pytest.raises(DataError, match="'nothing'"):
        build_dataset(Wrong(), tmp_path / "out")


def test_the_builder_of_datasets_has_the_picture_too(tmp_path):
    builder = builder_class(RichSource())(cache_dir=str(tmp_path))
    builder.download_and_prepare()
    assert builder.as_dataset(split="test")[0]["preview"].size == (SIZE, SIZE)
