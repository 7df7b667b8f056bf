"""The data set of `PairSource`, opened."""

from __future__ import annotations

from pathlib import Path

from pair_source import PairSource

from astroclip_bench.datasets import BenchDataset, open_dataset
from dataset_builders.parquet import build_dataset


def open_pairs(folder: Path, size: int = 24) -> BenchDataset:
    """Return 120 galaxies with image (of `size` pixels), spectrum and redshift, written below `folder`."""
    return open_dataset(build_dataset(PairSource(size=size), folder / "data-set"))
