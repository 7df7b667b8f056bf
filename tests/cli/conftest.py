"""The command run in this process, and a small data set to run it on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Outcome:
    """What a command ended with."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys, monkeypatch) -> Run:
    """Return a function that runs `astroclip-bench ARGUMENTS...`."""
    from astroclip_bench.cli.main import main

    def run_command(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["astroclip-bench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run_command


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """Return the folder of a data set of 600 rows: image and photometry, redshift; not to be changed."""
    from tiny_source import TinySource

    from dataset_builders.parquet import build_dataset

    return build_dataset(TinySource(n_shards=3, shard_rows=200), tmp_path_factory.mktemp("cli") / "tiny")
