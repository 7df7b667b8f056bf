"""A small data set of pairs, built once."""

from __future__ import annotations

import pytest

from astroclip_bench.datasets import BenchDataset, open_dataset


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> BenchDataset:
    """Return 120 galaxies whose image and spectrum show their redshift; not to be changed."""
    from pair_source import PairSource

    from dataset_builders.parquet import build_dataset

    return open_dataset(build_dataset(PairSource(), tmp_path_factory.mktemp("pairs") / "data-set"))


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> BenchDataset:
    """Return 120 galaxies of which a third have no redshift; not to be changed."""
    from tiny_source import TinySource

    from dataset_builders.parquet import build_dataset

    return open_dataset(build_dataset(TinySource(), tmp_path_factory.mktemp("unlabelled") / "data-set"))
