"""A result with all that belongs to it, made by the harness from a few galaxies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """Return a folder of r.json with its companions, and a sweep; not to be changed."""
    from pair_source import LineAndBrightness, PairSource

    from astroclip_bench.analysis import analyse as module
    from astroclip_bench.analysis import structure
    from astroclip_bench.analysis.analyse import analyse
    from astroclip_bench.datasets import open_dataset
    from astroclip_bench.evaluation import evaluate
    from astroclip_bench.files import write_json
    from astroclip_bench.results.record import write_result
    from astroclip_bench.robustness import measure_robustness
    from dataset_builders.parquet import build_dataset

    folder = tmp_path_factory.mktemp("report")
    pairs = open_dataset(build_dataset(PairSource(n_shards=1, shard_rows=400), folder / "pairs"))
    model = LineAndBrightness()
    result = evaluate(
        model, pairs, tasks=["redshift", "retrieval"], suite="full", floors=(), outcomes=folder / "r.parquet"
    )
    write_result(result, folder / "r.json")
    robustness = measure_robustness(model, pairs, names=["psf"])
    write_json(folder / "r-robustness.json", robustness)
    patch = pytest.MonkeyPatch()
    for name, few in (("SHOWN_PARTS", 2), ("SHOWN_MEMBERS", 3), ("SHOWN_OUTLIERS", 4)):
        patch.setattr(module, name, few)
    patch.setattr(structure, "project", lambda vectors, seed=0: np.asarray(vectors[:, :2], np.float64))
    analyse(model, pairs, folder / "r-analysis", eps=0.05)
    patch.undo()
    for dimension in (4, 2):
        content = json.loads((folder / "r.json").read_text())
        content["embedder"]["dimension"] = dimension
        write_json(folder / "sweep" / str(dimension) / "result.json", content)
    return folder


@pytest.fixture
def work(made, tmp_path) -> Path:
    """Return a copy of the folder, to be changed."""
    ignore = shutil.ignore_patterns("pairs")
    return shutil.copytree(made, tmp_path / "work", ignore=ignore)
