"""A small data set, built once, and a copy of it to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a data set of 120 rows in three shards; not to be changed."""
    from tiny_source import TinySource

    from dataset_builders.parquet import build_dataset

    return build_dataset(TinySource(), tmp_path_factory.mktemp("tiny") / "data-set")


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """Return a copy of the small data set."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))
