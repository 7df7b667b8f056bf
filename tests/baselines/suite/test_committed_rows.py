"""The committed rows of the mock survey: scored again from their predictions, and made again."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import r2_score

import baselines.suite
from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import load_embedder
from astroclip_bench.environment import usable_cores
from astroclip_bench.tasks.registry import all_tasks
from baselines.suite.run import choose, run_baselines
from baselines.suite.summary import figures
from baselines.suite.table import BASELINES

ROWS = Path(baselines.suite.__file__).parent / "rows" / "mock-mini"
COMMITTED = json.loads((ROWS / "baselines.json").read_text())
NAMES = sorted(path.name for path in ROWS.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def mock():
    dataset = open_dataset("mock-mini", workers=usable_cores())
    assert dataset.digest == COMMITTED["dataset"]["digest"]
    return dataset


def nmad(label, prediction) -> float:
    error = (prediction - label) / (1 + label)
    return float(1.4826 * np.median(np.abs(error - np.median(error))))


SCORES = {"r2": r2_score, "sigma_nmad": nmad}


def committed(name: str) -> list[dict]:
    return [figure for figure in COMMITTED["figures"] if figure["baseline"] == name]


def test_every_baseline_is_committed_or_left_out_for_a_reason():
    assert set(NAMES) | set(COMMITTED["left_out"]) == {row.name for row in BASELINES}
    assert {figure["baseline"] for figure in COMMITTED["figures"]} == set(NAMES)
    assert COMMITTED["dataset"]["simulated"]
    for path in ROWS.rglob("*.parquet"):
        assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_those_of_the_committed_predictions(mock, name):
    test, tasks = mock.splits["test"], all_tasks()
    stored = [load_embedder(str(path)) for path in sorted((ROWS / name).glob("seed-*/predictions.parquet"))]
    found = 0
    for (modality, task), group in groupby(committed(name), key=lambda one: (one["query"], one["task"])):
        target = tasks[task].target
        label = test.column(target)
        known = np.isfinite(label)
        predictions = [one.lookup_prediction(test.object_ids, modality, target)[known] for one in stored]
        for figure in group:
            values = [SCORES[figure["metric"]](label[known], prediction) for prediction in predictions]
            assert figure["seeds"] == len(values)
            assert figure["value"] == pytest.approx(np.mean(values), abs=1e-4)
            if len(values) > 1:
                assert figure["spread"] == pytest.approx(np.std(values, ddof=1), abs=1e-4)
            assert figure["n"] == known.sum()
            found += 1
    assert found >= 2


QUICK = ("mean", "magnitudes")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_made_again_it_scores_within_the_committed_interval(mock, tmp_path, name):
    (outcome,) = run_baselines(mock, tmp_path, choose([name]), seeds=1, quiet=True)
    again = {
        (one.protocol, one.query, one.task, one.metric): one for one in figures(outcome) if one.reference == one.query
    }
    for figure in committed(name):
        one = again[figure["protocol"], figure["query"], figure["task"], figure["metric"]]
        margin = 1e-4 + 2 * (figure["spread"] or 0)  # the interval is that of the galaxies, not of the seeds
        assert figure["low"] - margin <= one.value <= figure["high"] + margin
