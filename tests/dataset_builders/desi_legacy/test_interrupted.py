"""A build that is killed at ten random moments, in one process or two, ends in the same data set."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import mini_request
import pytest
from mini_survey import make_survey

from astroclip_bench.datasets.manifest import BUILD_FOLDER, MANIFEST_NAME, read_manifest
from astroclip_bench.datasets.verify import check_dataset
from dataset_builders.pairs.build import build_pairs

N_SPECTRA = 600
SHARD_ROWS = 50
N_KILLS = 10
SEED = 3
"""Of the moments, and of the number of processes."""


def kill_after(seconds: float, survey: Path, out: Path, workers: int) -> None:
    """Run a build, and kill it and its workers some time after it has begun, if it is still there."""
    script = [sys.executable, mini_request.__file__, str(survey), str(out)]
    command = [*script, "--workers", str(workers), "--shard-rows", str(SHARD_ROWS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == mini_request.READY
        try:
            assert process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def remains(out: Path) -> str:
    """Return how far a killed build has come."""
    work = out / BUILD_FOLDER
    if any(work.glob("shard-*.json")):
        return "writing"
    return "matched" if (work / "plan.json").exists() else "indexing"


def contents(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills a process group")
def test_build_killed_at_ten_random_moments_gives_the_same_data_set(tmp_path: Path) -> None:
    moments = random.Random(SEED)
    truth = make_survey(tmp_path / "survey", N_SPECTRA)
    request = mini_request.mini_request(truth.files, shard_rows=SHARD_ROWS)
    start = time.monotonic()
    reference = read_manifest(build_pairs(request, tmp_path / "whole"))
    seconds = time.monotonic() - start
    out, kills, stages = tmp_path / "out-0", 0, set()
    while kills < N_KILLS:
        kill_after(moments.uniform(0, seconds), truth.files.folder, out, workers=moments.choice((1, 2)))
        if (out / MANIFEST_NAME).exists():
            # The moment was past the end, so the next build begins anew.
            assert read_manifest(out).digest == reference.digest
            out = tmp_path / f"out-{kills}"
        else:
            kills += 1
            stages.add(remains(out))
    assert "writing" in stages
    assert len(stages) > 1
    manifest = read_manifest(build_pairs(request, out))
    assert manifest == reference
    assert check_dataset(out).rows == len(truth.table)
    assert contents(out) == contents(tmp_path / "whole")
