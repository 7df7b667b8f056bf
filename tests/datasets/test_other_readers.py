"""The same values whoever reads the folder: Hugging Face `datasets`, Polars, DuckDB, pandas."""

from __future__ import annotations

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from rich_source import RichSource

from astroclip_bench.datasets import open_dataset
from astroclip_bench.records import SPLITS
from dataset_builders.parquet import build_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_dataset(RichSource(), tmp_path_factory.mktemp("readers") / "out")


@pytest.fixture(scope="module")
def expected(folder):
    """Return, by split, what this project reads: identifiers, images, redshifts (NaN where missing)."""
    values = {
        name: {"object_id": view.object_ids, "image": view.column("image"), "redshift": view.column("redshift")}
        for name, view in open_dataset(folder).splits.items()
    }
    assert np.isnan(values["train"]["redshift"]).any()
    return values


def assert_same(found, expected) -> None:
    """Compare columns given as lists, in which a missing value is None."""
    assert list(found["object_id"]) == expected["object_id"]
    np.testing.assert_array_equal(np.array(list(found["image"]), np.float32), expected["image"])
    redshift = np.array([np.nan if value is None else value for value in found["redshift"]])
    np.testing.assert_array_equal(redshift, expected["redshift"])


def test_load_dataset(folder, expected, tmp_path):
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))
    assert list(loaded) == list(SPLITS)
    for split in SPLITS:
        assert_same(loaded[split][:], expected[split])
    assert isinstance(loaded["train"].features["preview"], datasets.Image)
    assert loaded["train"][0]["preview"].size == (8, 8)


def test_load_dataset_streaming(folder, expected, tmp_path):
    loaded = datasets.load_dataset(str(folder), streaming=True, cache_dir=str(tmp_path))
    for split in SPLITS:
        rows = list(loaded[split])
        assert_same({name: [row[name] for row in rows] for name in expected[split]}, expected[split])


def test_load_dataset_of_a_configuration(folder, tmp_path):
    assert datasets.get_dataset_config_names(str(folder)) == ["pairs", "masses"]
    loaded = datasets.load_dataset(str(folder), "masses", cache_dir=str(tmp_path))
    view = open_dataset(folder).splits["train"]
    masses = dict(zip(view.object_ids, view.column("log_stellar_mass"), strict=True))
    found = dict(zip(loaded["train"]["object_id"], loaded["train"]["log_stellar_mass"], strict=True))
    assert found == pytest.approx({name: mass for name, mass in masses.items() if not np.isnan(mass)})


def test_polars(folder, expected):
    for split in SPLITS:
        frame = pl.scan_parquet(folder / "data" / f"{split}-*.parquet").select(list(expected[split])).collect()
        assert frame["image"].dtype == pl.Array(pl.Float32, (3, 8, 8))
        assert_same({name: frame[name].to_list() for name in expected[split]}, expected[split])
    bright = pl.scan_parquet(folder / "data" / "*.parquet").filter(pl.col("mag_r") < 17).select(pl.len()).collect()
    total = sum(int((view.column("mag_r") < 17).sum()) for view in open_dataset(folder).splits.values())
    assert bright.item() == total > 0


def test_duckdb(folder, expected):
    for split in SPLITS:
        pattern = f"{folder}/data/{split}-*.parquet"
        rows = duckdb.execute(
            "SELECT object_id, image, redshift FROM read_parquet(?, file_row_number = true) "
            "ORDER BY filename, file_row_number",
            [pattern],
        )
        columns = dict(zip(("object_id", "image", "redshift"), zip(*rows.fetchall(), strict=True), strict=True))
        assert_same(columns, expected[split])
    counts = duckdb.execute(f"SELECT split, count(*) FROM '{folder}/data/*.parquet' GROUP BY split").fetchall()
    assert dict(counts) == dict(open_dataset(folder).manifest.counts)


def test_pandas(folder, expected):
    files = sorted((folder / "data").glob("test-*.parquet"))
    frame = pd.concat([pd.read_parquet(path, columns=["object_id", "redshift"]) for path in files])
    assert frame["object_id"].tolist() == expected["test"]["object_id"]
    np.testing.assert_array_equal(frame["redshift"].to_numpy(float), expected["test"]["redshift"])
