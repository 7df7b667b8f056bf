"""A small data set of pairs, built once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of 120 galaxies with image, spectrum and redshift; not to be changed."""
    from pair_source import PairSource

    from dataset_builders.parquet import build_dataset

    return build_dataset(PairSource(), tmp_path_factory.mktemp("pairs") / "data-set")
