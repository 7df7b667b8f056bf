"""A small data set of pairs, built once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of 120 galaxies with image, spectrum and redshift; not to be changed."""
    from pair_source import PairSource

    from dataset_builders.parquet import build_dataset

    return build_dataset(PairSource(), tmp_path_factory.mktemp("pairs") / "data-set")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Hold torch to one thread: networks this small only wait for each other's threads, and sums keep their order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
