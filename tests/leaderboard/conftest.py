"""A small survey, an honest submission on it, and a copy of that to tamper with."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from submissions import CARD, honest_arrays


@pytest.fixture(scope="session")
def survey(tmp_path_factory):
    """Return an opened data set of 1,200 galaxies: images and photometry; a third of them has no redshift."""
    from tiny_source import TinySource

    from astroclip_bench.datasets import open_dataset
    from dataset_builders.parquet import build_dataset

    source = TinySource(n_shards=2, shard_rows=600)
    return open_dataset(build_dataset(source, tmp_path_factory.mktemp("leaderboard") / "tiny"))


@pytest.fixture(scope="session")
def model(survey, tmp_path_factory) -> Path:
    """Return the file of an honest model's embeddings."""
    ids, arrays = honest_arrays(survey)
    path = tmp_path_factory.mktemp("model") / "toy.parquet"
    pq.write_table(pa.table({"object_id": ids, **{name: list(array) for name, array in arrays.items()}}), path)
    return path


@pytest.fixture(scope="session")
def evaluated(survey, model, tmp_path_factory) -> Path:
    """Return the result file of the honest model."""
    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.evaluation import evaluate
    from astroclip_bench.results.record import write_result

    path = tmp_path_factory.mktemp("result") / "result.json"
    write_result(evaluate(load_embedder(str(model)), survey, floors=()), path)
    return path


@pytest.fixture(scope="session")
def honest(survey, model, evaluated, tmp_path_factory) -> Path:
    """Return the folder of the honest submission; not to be changed."""
    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.results.record import read_result
    from leaderboard.submit import keep, prepare

    out = tmp_path_factory.mktemp("submissions")
    with prepare(read_result(evaluated), CARD, survey, out, name="toy", embedder=load_embedder(str(model))) as made:
        return keep(made, out)


@pytest.fixture
def folder(honest, tmp_path) -> Path:
    """Return a copy of the honest submission."""
    return Path(shutil.copytree(honest, tmp_path / "toy"))


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs `astroclip-bench ARGUMENTS...` and gives its exit code, output and messages."""
    from astroclip_bench.cli.main import main

    def run_command(*arguments):
        monkeypatch.setattr(sys, "argv", ["astroclip-bench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return SimpleNamespace(code=int(stopped.value.code or 0), out=captured.out, err=captured.err)

    return run_command
