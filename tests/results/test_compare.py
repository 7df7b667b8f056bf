"""Paired differences against a loop that resamples rows, who is better, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from astroclip_bench.errors import ResultError, TaskError
from astroclip_bench.results.compare import PRIMARY, Comparison, compare
from astroclip_bench.results.compare_table import render
from astroclip_bench.results.outcomes import outcomes_path, read_outcomes
from astroclip_bench.results.record import read_result
from astroclip_bench.tasks.bootstrap import cluster_counts

KNN = {"task": "redshift", "protocol": "knn16", "reference": "image", "query": "photometry"}


@pytest.fixture(scope="module")
def comparison(good, poor) -> Comparison:
    return compare(good, poor)


def resampled(frame: pd.DataFrame) -> list[np.ndarray]:
    """Return the rows of every common resample of pixels."""
    pixels = frame["healpix"].to_numpy()
    rows = [np.flatnonzero(pixels == pixel) for pixel in np.unique(pixels)]
    counts = cluster_counts(len(rows)).astype(int)
    return [
        np.concatenate([np.tile(one, times) for one, times in zip(rows, draw, strict=True) if times]) for draw in counts
    ]


def percentiles(values: list[float]) -> tuple[float, float]:
    return tuple(np.percentile(values, [2.5, 97.5]))


def both(good: Path, poor: Path, **cell: str) -> list[pd.DataFrame]:
    return [read_outcomes(outcomes_path(path), **cell) for path in (good, poor)]


def test_interval_of_an_error_is_that_of_resampled_rows(comparison, good, poor):
    frames = [frame[frame["label"].notna()].reset_index() for frame in both(good, poor, **KNN)]
    error = [np.abs(frame["prediction"] - frame["label"]).to_numpy() for frame in frames]
    (row,) = comparison.find(**KNN, metric="mae", group="all")
    assert (row.value_a, row.value_b) == pytest.approx([error[0].mean(), error[1].mean()])
    assert row.difference == pytest.approx(error[1].mean() - error[0].mean())
    drawn = [error[1][rows].mean() - error[0][rows].mean() for rows in resampled(frames[0])]
    assert (row.low, row.high) == pytest.approx(percentiles(drawn))
    assert row.n == len(frames[0])
    assert row.better == "a"


def test_biases_are_compared_by_their_distance_from_zero(comparison, good, poor):
    frames = [frame[frame["label"].notna()].reset_index() for frame in both(good, poor, **KNN)]
    error = [(frame["prediction"] - frame["label"]).to_numpy() for frame in frames]
    (row,) = comparison.find(**KNN, metric="bias", group="all")
    drawn = [abs(error[1][rows].mean()) - abs(error[0][rows].mean()) for rows in resampled(frames[0])]
    assert row.difference == pytest.approx(abs(row.value_b) - abs(row.value_a))
    assert (row.low, row.high) == pytest.approx(percentiles(drawn))


def test_ranks_and_groups_and_seeds_are_compared(comparison, good, poor):
    a, b = both(good, poor, task="retrieval", query="image")
    (row,) = comparison.find(task="retrieval", query="image", metric="accuracy@10%", group="all")
    within = -(-len(a) // 10)
    found = [np.clip((within - frame["greater"]) / (frame["ties"] + 1), 0, 1).to_numpy() for frame in (a, b)]
    drawn = [found[1][rows].mean() - found[0][rows].mean() for rows in resampled(a)]
    assert (row.low, row.high) == pytest.approx(percentiles(drawn))
    (grouped,) = comparison.find(**KNN, metric="mae", group="hemisphere:north")
    assert 10 <= grouped.n < comparison.find(**KNN, metric="mae", group="all")[0].n
    (mlp,) = comparison.find(**{**KNN, "protocol": "mlp"}, metric="rmse", group="all")
    seeds = read_outcomes(outcomes_path(poor), **{**KNN, "protocol": "mlp"}).groupby("seed")
    assert len(seeds) == 3
    assert mlp.value_b == pytest.approx(
        np.mean([np.sqrt(((part["prediction"] - part["label"]) ** 2).mean()) for _, part in seeds])
    )


def test_every_score_that_both_have_is_compared(comparison, good, poor):
    asked = [
        {(*score.cell[::2][:2], score.reference, score.query, score.metric, score.group) for score in read_result(path).scores
         if score.value is not None and not score.metric.endswith("_seed_sd")
         and not score.group.startswith(("labels:", "pool:"))}
        for path in (good, poor)
    ]  # fmt: skip
    rows = {(row.task, row.protocol, row.reference, row.query, row.metric, row.group) for row in comparison.rows}
    assert rows == asked[0] & asked[1]
    assert {"r2", "crps", "balanced_accuracy", "recall@10", "difference@10"} <= {row.metric for row in comparison.rows}
    assert not comparison.not_compared
    for row in comparison.find(group="all", metric="recall@10"):
        assert row.better == "a"


def test_the_other_way_round_everything_changes_sign(comparison, good, poor):
    other = compare(poor, good, tasks=["redshift"], metrics=["r2", "rmse"], groups=False)
    for row in other.rows:
        (same,) = [
            one
            for one in comparison.find(task="redshift", protocol=row.protocol, metric=row.metric, group="all")
            if (one.reference, one.query) == (row.reference, row.query)
        ]
        assert (row.low, row.high) == pytest.approx((-same.high, -same.low))
        assert row.better == {"a": "b", "b": "a", "tie": "tie"}[same.better]


def test_a_model_ties_with_itself(good):
    found = compare(good, good, metrics=PRIMARY)
    assert {row.better for row in found.rows} == {"tie"}
    assert {row.metric for row in found.find(task="redshift")} == {"r2"}
    assert {(row.difference, row.low, row.high) for row in found.rows} == {(0.0, 0.0, 0.0)}


def test_what_one_result_lacks_is_listed(good, scored):
    other = scored("redshift-alone", 0.3, tasks=("redshift",))
    found = compare(good, other, metrics=PRIMARY, groups=False)
    assert {row.task for row in found.rows} == {"redshift"}
    left = {(cell.task, cell.reason) for cell in found.not_compared}
    assert ("retrieval", f"not scored in {other}") in left
    text = render(found)
    assert "SIMULATED data" in text
    assert f"Not compared (not scored in {other})" in text


def test_the_table_names_models_data_and_groups(comparison):
    text = render(comparison)
    assert text.startswith("B - A on answers 1.0 (SIMULATED data)\nA: good")
    assert "B - A in groups: r2 of redshift by knn16" in text
    assert json.loads(json.dumps(comparison.to_dict()))["rows"][0]["task"] == "redshift"


def changed(path: Path, folder: Path, **change: object) -> Path:
    """Return a copy of a result and its outcomes, with other values in the JSON file."""
    copy = folder / path.name
    content = {**json.loads(path.read_text()), **change}
    copy.write_text(json.dumps(content))
    shutil.copy(outcomes_path(path), outcomes_path(copy))
    return copy


def test_results_that_do_not_belong_together_are_refused(good, poor, tmp_path, scored):
    content = json.loads(poor.read_text())
    cases = {
        "digest ffffffffffff": {"dataset": {**content["dataset"], "digest": "f" * 32}},
        "--limit 100": {"options": {**content["options"], "limit": 100}},
        "task redshift has version 1 in .*, 2 in": {
            "scores": [{**row, "task_version": 2} if row["task"] == "redshift" else row for row in content["scores"]]
        },
        "protocol knn16 has version": {
            "scores": [
                {**row, "protocol_version": 7} if row["protocol"] == "knn16" else row for row in content["scores"]
            ]
        },
        "names no outcomes": {"outcomes": None},
        "by their sha256": {"outcomes": {**content["outcomes"], "sha256": "0" * 64}},
    }
    for reason, change in cases.items():
        with pytest.raises(ResultError, match=reason):
            compare(good, changed(poor, tmp_path, **change))
    outcomes_path(tmp_path / poor.name).unlink()
    with pytest.raises(ResultError, match="there is no"):
        compare(good, tmp_path / poor.name)


def test_nothing_in_common_and_unknown_names(good, poor):
    with pytest.raises(ResultError, match="no such score in common"):
        compare(good, poor, metrics=["r3"])
    with pytest.raises(TaskError, match="did you mean redshift"):
        compare(good, poor, tasks=["redshfit"])
