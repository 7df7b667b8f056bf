"""A tiny data set in memory, and a toy architecture registered through a real entry point."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from astroclip_bench.embedders import save_model
from astroclip_bench.records import Modality

TOY_SOURCE = """
import torch
from torch import nn


class Toy(nn.Module):
    version = 3
    modalities = ("image", "spectrum")
    preprocessing = "none"
    input_shapes = {"image": (2, 4, 4)}

    def __init__(self, dimension=5, fault=None):
        super().__init__()
        self.dimension = dimension
        self.fault = fault
        self.image = nn.Linear(32, dimension)
        self.spectrum = nn.Linear(12, dimension)
        self.dropout = nn.Dropout(0.5)

    def embed(self, batch, modality):
        x = batch["image"].flatten(1) if modality == "image" else batch["flux"]
        vectors = self.dropout(getattr(self, modality)(x))
        if self.fault == "nan":
            vectors[-1, 0] = float("nan")
        if self.fault == "shape":
            vectors = vectors[:, 1:]
        if self.fault == "raise":
            raise ValueError("no luck")
        if self.fault == "write":
            batch[next(iter(batch))].zero_()
        return vectors


def build(config):
    return Toy(**config)


def junk(config):
    return object()
"""

ENTRY_POINTS = """
[astroclip_bench.architectures]
toy = toy_architecture:build
junk = toy_architecture:junk

[astroclip_bench.models]
bundled-toy = toy_bundle:MODEL_FILE
called-toy = toy_bundle:make
"""

BUNDLE_SOURCE = """
from pathlib import Path
MODEL_FILE = Path(__file__).with_name("bundled.pt")

def make(device):
    from astroclip_bench.embedders.torch_embedder import load_torch_model
    return load_torch_model(MODEL_FILE, "called-toy", device)
"""

MODALITIES = {
    "image": Modality("image", ("image",), (2, 4, 4), "nmgy", "small image", {"bands": ["g", "r"]}),
    "spectrum": Modality("spectrum", ("flux", "ivar"), (12,), "", "short spectrum"),
    "photometry": Modality(
        "photometry", ("flux_g", "flux_r", "flux_z"), (), "nmgy", "fluxes", {"bands": ["g", "r", "z"]}
    ),
}


@dataclass(frozen=True)
class TinyBatch:
    """Ids and arrays of some rows."""

    object_ids: list[str]
    arrays: dict[str, np.ndarray]


@dataclass
class TinySplit:
    """A split view in memory that counts the rows read from it."""

    name: str
    object_ids: list[str]
    arrays: dict[str, np.ndarray]
    read: int = 0

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.object_ids)

    def batches(self, columns, batch_size):
        """Yield batches in order."""
        for start in range(0, self.rows, batch_size):
            rows = slice(start, start + batch_size)
            arrays = {name: self.arrays[name][rows] for name in columns}
            self.read += len(self.object_ids[rows])
            yield TinyBatch(self.object_ids[rows], arrays)


@dataclass
class TinyDataset:
    """What checks need of a data set."""

    modalities: dict[str, Modality]
    splits: dict[str, TinySplit]
    digest: str = "d" * 32


def tiny_split(name: str = "train", rows: int = 20, seed: int = 0) -> TinySplit:
    generator = np.random.default_rng(seed)
    arrays = {}
    for modality in MODALITIES.values():
        for column in modality.columns:
            arrays[column] = generator.lognormal(size=(rows, *modality.shape)).astype(np.float32)
            arrays[column].flags.writeable = False
    return TinySplit(name, [str(1000 + row) for row in range(rows)], arrays)


@pytest.fixture
def split() -> TinySplit:
    return tiny_split()


@pytest.fixture
def dataset(split: TinySplit) -> TinyDataset:
    return TinyDataset(dict(MODALITIES), {"train": split})


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASTROCLIP_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Register the toy package, and return a function that writes a model file of it."""
    site = tmp_path / "site"
    info = site / "toy-1.dist-info"
    info.mkdir(parents=True)
    (site / "toy_architecture.py").write_text(TOY_SOURCE)
    (site / "toy_bundle.py").write_text(BUNDLE_SOURCE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    for name in ("toy_architecture", "toy_bundle"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def write(name: str = "model.pt", *, seed: int = 0, version: int = 3, architecture: str = "toy", **config) -> Path:
        import torch
        from toy_architecture import Toy

        torch.manual_seed(seed)
        state = Toy(**config).state_dict()
        return save_model(tmp_path / name, architecture, version, config, state)

    write("site/bundled.pt")
    return write
