"""Tasks beyond the core in the whole evaluation: questions, neighbours, look-alikes, ceilings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from question_source import QuestionSource
from sklearn.metrics import balanced_accuracy_score

from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import load_embedder
from astroclip_bench.errors import TaskError
from astroclip_bench.evaluation import evaluate
from astroclip_bench.results.outcomes import read_outcomes
from astroclip_bench.results.record import read_result, write_result
from astroclip_bench.results.table import render

QUESTION, NEIGHBOURS, LOOKALIKES = "morphology-bar", "neighbours-mass", "retrieval-lookalikes"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    from dataset_builders.parquet import build_dataset

    folder = build_dataset(QuestionSource(n_shards=2, shard_rows=600), tmp_path_factory.mktemp("further") / "tiny")
    return open_dataset(folder)


@pytest.fixture(scope="module")
def further(dataset, tmp_path_factory):
    """Return the result of what needs nothing but the photometry, and the file of its outcomes."""
    path = tmp_path_factory.mktemp("outcomes") / "r.parquet"
    asked = [QUESTION, NEIGHBOURS]
    return evaluate(load_embedder("photometry"), dataset, tasks=asked, suite="full", floors=(), outcomes=path), path


def primary(result, task, **equal):
    (first, *_) = result.find(task=task, group="all", **equal)
    return first


def test_the_default_suite_leaves_them_out_and_is_complete(dataset):
    result = evaluate(load_embedder("photometry"), dataset, floors=())
    assert result.complete
    assert {score.task for score in result.scores} == {"redshift", "stellar-mass"}
    assert QUESTION not in result.not_applicable
    (ceiling,) = [row for row in result.ceilings if row.metric == "r2"]
    label = dataset.splits["test"].column("log_stellar_mass")
    assert ceiling.value == pytest.approx(1 - 0.1**2 / label.var(), abs=0.005)
    assert f"{ceiling.value:.3f}" in render(result)


def test_every_score_of_a_question_can_be_made_again_from_its_outcomes(further):
    result, path = further
    outcomes = read_outcomes(path, task=QUESTION)
    for protocol in ("knn16", "linear"):
        score = primary(result, QUESTION, protocol=protocol)
        rows = outcomes[outcomes["protocol"] == protocol].dropna(subset=["label_class"])
        assert score.value == pytest.approx(balanced_accuracy_score(rows["label_class"], rows["predicted_class"]))
        assert score.value > score.chance + 0.2
        assert score.n == len(rows)
    assert {score.group.partition(":")[0] for score in result.find(task=QUESTION)} == {
        "all",
        "redshift",
        "mag_r",
        "hemisphere",
    }


def test_they_are_kept_or_scored_again_when_a_run_goes_on(further, dataset, tmp_path):
    result, path = further
    write_result(result, tmp_path / "r.json")
    (tmp_path / "r.parquet").write_bytes(path.read_bytes())
    again = evaluate(
        load_embedder("photometry"),
        dataset,
        tasks=[QUESTION, NEIGHBOURS],
        suite="full",
        floors=(),
        outcomes=tmp_path / "r.parquet",
        previous=read_result(tmp_path / "r.json"),
    )

    def by_row(one):
        return {(score.cell, score.metric, score.group): score for score in one.scores}

    assert by_row(again) == by_row(result)
    assert len(again.scores) == len(result.scores)


def test_the_table_gives_a_line_to_each_and_says_which_way_is_better(further):
    lines = render(further[0]).splitlines()
    assert len([line for line in lines if line.startswith(QUESTION)]) == 1
    assert any("Lower is better for difference@10." in line for line in lines)


def test_a_collapsed_embedder_finds_no_lookalike_but_by_chance(dataset):
    result = evaluate(load_embedder("mean"), dataset, tasks=[LOOKALIKES, QUESTION], floors=())
    for score in result.find(task=LOOKALIKES):
        assert score.value == pytest.approx(score.chance, rel=1e-9)
    assert primary(result, QUESTION, reference="image", query="photometry").value == pytest.approx(1 / 3)


def test_what_is_missing_is_the_reason(dataset):
    with pytest.raises(TaskError, match="the data set has no label morphology_merging"):
        evaluate(load_embedder("photometry"), dataset, tasks=["morphology-merging"], floors=())
    with pytest.raises(TaskError, match="ssfr-astroclip-v1: the data set has no label log_ssfr"):
        evaluate(load_embedder("photometry"), dataset, tasks=["ssfr-astroclip-v1"], floors=())
    test = dataset.splits["test"]
    few = dataclasses.replace(test, selected=np.arange(test.rows) < 12)
    small = dataclasses.replace(dataset, splits={**dataset.splits, "test": few})
    with pytest.raises(TaskError, match="12 test objects have redshift and mag_r, and it takes 50"):
        evaluate(load_embedder("mean"), small, tasks=[LOOKALIKES], floors=())
    fewer = dataclasses.replace(test, selected=np.arange(test.rows) < 9)
    small = dataclasses.replace(dataset, splits={**dataset.splits, "test": fewer})
    with pytest.raises(TaskError, match="objects have the label morphology_bar, and it takes 10"):
        evaluate(load_embedder("mean"), small, tasks=[QUESTION], floors=())
