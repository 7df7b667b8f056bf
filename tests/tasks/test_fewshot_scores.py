"""Few-shot scores put together: seeds, draws of labels, what chooses a strength, and the suite that asks for them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import r2_score

from astroclip_bench.cells import Cell
from astroclip_bench.datasets import open_dataset
from astroclip_bench.datasets.views import lowest_hashes
from astroclip_bench.embedders import load_embedder
from astroclip_bench.errors import TaskError
from astroclip_bench.evaluation import evaluate
from astroclip_bench.results.record import read_result, write_result
from astroclip_bench.results.table import render
from astroclip_bench.tasks import fewshot
from astroclip_bench.tasks.bootstrap import cluster_counts
from astroclip_bench.tasks.catalogue import BUILTIN_TASKS, REDSHIFT
from astroclip_bench.tasks.fewshot import SEEDS, score_reference
from astroclip_bench.tasks.mlp import fit_mlp
from astroclip_bench.tasks.probes import knn_regress
from astroclip_bench.tasks.protocols import get_protocol
from astroclip_bench.tasks.ridge import fit_ridge
from astroclip_bench.tasks.rows import Side
from astroclip_bench.tasks.suites import SUITES, get_suite

MASS = next(task for task in BUILTIN_TASKS if task.name == "stellar-mass")


def side(modality: str, n: int, seed: int) -> Side:
    random = np.random.default_rng(seed)
    latent = random.standard_normal((n, 4))
    tilt = np.eye(4, 6) if modality == "image" else np.eye(4, 6) + 0.3
    vectors = latent @ tilt + 0.3 * random.standard_normal((n, 6))
    columns = {
        "healpix": np.arange(n) % 40,
        "redshift": 0.3 + 0.05 * latent[:, 0] + 0.05 * np.abs(latent[:, 1]),
        "log_stellar_mass": 10 + latent[:, 2],
        "mag_r": np.full(n, 17.5),
    }
    return Side(modality, vectors.astype(np.float32), [f"{seed}-{i}" for i in range(n)], columns)


@pytest.fixture(scope="module")
def train():
    return side("image", 300, 0)


@pytest.fixture(scope="module")
def queries():
    return {name: side(name, 200, 2) for name in ("image", "spectrum")}


@pytest.fixture(scope="module")
def selection():
    return {name: side(name, 150, 1) for name in ("image", "spectrum")}


def found(rows, **equal):
    (row,) = [row for row in rows if all(getattr(row, key) == value for key, value in equal.items())]
    return row


def test_the_score_of_a_network_is_the_mean_over_its_seeds(train, queries):
    rows = score_reference([Cell(REDSHIFT, "mlp", "image", "spectrum")], train, queries, {})
    test = queries["spectrum"]
    label, pixels = test.columns["redshift"], test.columns["healpix"]
    predictions = fit_mlp(train.vectors, train.columns["redshift"][:, None], SEEDS)(test.vectors)[:, :, 0]
    values = [r2_score(label, one) for one in predictions]
    row = found(rows, metric="r2", group="all")
    assert row.value == pytest.approx(np.mean(values), abs=1e-9)
    assert (row.protocol, row.reference, row.query, row.n) == ("mlp", "image", "spectrum", 200)
    drawn = [np.mean([r2_score(label, p, sample_weight=counts[pixels]) for p in predictions]) for counts in draws()]
    assert row.standard_error == pytest.approx(np.std(drawn, ddof=1), rel=1e-6)
    assert (row.low, row.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), rel=1e-6)
    spread = found(rows, metric="r2_seed_sd", group="all")
    assert spread.value == pytest.approx(np.std(values, ddof=1), rel=1e-6)
    assert (spread.standard_error, spread.low, spread.high, spread.chance) == (None,) * 4
    assert found(rows, metric="r2", group="mag_r:17<=mag_r<18").value == pytest.approx(row.value)
    assert not any(row.metric.startswith(("crps", "pit")) for row in rows)


def draws():
    return cluster_counts(40)


def test_a_linear_probe_has_one_seed_and_each_pair_its_own_strength(train, queries, selection):
    cells = [Cell(task, "linear", "image", query) for task in (REDSHIFT, MASS) for query in queries]
    rows = score_reference(cells, train, queries, selection)
    targets = np.stack([train.columns["redshift"], train.columns["log_stellar_mass"]], axis=1)
    path = fit_ridge(train.vectors, targets)
    chosen = []
    for query, test in queries.items():
        other = selection[query]
        labels = np.stack([other.columns["redshift"], other.columns["log_stellar_mass"]], axis=1)
        best = path.best_elsewhere(other.vectors, labels)
        chosen.append(tuple(best))
        for place, name in enumerate(("redshift", "log_stellar_mass")):
            expected = r2_score(test.columns[name], path.predict(test.vectors, best)[:, place])
            row = found(rows, target=name, metric="r2", group="all", query=query)
            assert row.value == pytest.approx(expected, abs=1e-9)
    assert len(set(chosen)) == 2
    assert not any("seed" in row.metric for row in rows)


def test_without_validation_labels_the_train_labels_choose(train, queries, selection):
    cells = [Cell(REDSHIFT, "linear", "image", "spectrum")]
    path = fit_ridge(train.vectors, train.columns["redshift"][:, None])
    best = path.best_left_out(train.vectors, train.columns["redshift"][:, None])
    test = queries["spectrum"]
    expected = r2_score(test.columns["redshift"], path.predict(test.vectors, best)[:, 0])
    few = selection["spectrum"].columns["redshift"].copy()
    few[9:] = np.nan
    other = dataclasses.replace(selection["spectrum"], columns={**selection["spectrum"].columns, "redshift": few})
    for sides in ({}, {"spectrum": other}):
        row = found(score_reference(cells, train, queries, sides), metric="r2", group="all")
        assert row.value == pytest.approx(expected, abs=1e-9)
    assert found(score_reference(cells, train, queries, selection), metric="r2", group="all").value != row.value


def test_draws_of_labels_are_nested_and_begin_with_the_rule_of_subsamples():
    ids = [str(i) for i in range(500)]
    for draw in SEEDS:
        small, large = (set(lowest_hashes(ids, n, draw)) for n in (50, 100))
        assert len(small) == 50
        assert small < large
    first, second = (set(lowest_hashes(ids, 100, draw)) for draw in (0, 1))
    assert 5 < len(first & second) < 40
    assert [ids[row] for row in lowest_hashes(ids[::-1], 500)] == ids


@pytest.mark.parametrize("protocol", ["knn16", "linear", "mlp"])
def test_a_score_at_few_labels_is_the_mean_over_three_draws(train, queries, selection, protocol):
    holes = train.columns["redshift"].copy()
    holes[::4] = np.nan
    train = dataclasses.replace(train, columns={**train.columns, "redshift": holes})
    rows = score_reference([Cell(REDSHIFT, protocol, "image", "image", 100)], train, queries, selection)
    assert {row.group for row in rows} == {"labels:100"}
    test, known = queries["image"], np.flatnonzero(np.isfinite(holes))
    values = []
    for seed in SEEDS:
        drawn = known[lowest_hashes([train.object_ids[row] for row in known], 100, seed)]
        vectors, labels = train.vectors[drawn], holes[drawn][:, None]
        if protocol == "knn16":
            prediction = knn_regress(vectors, labels, test.vectors, get_protocol("knn16")).values
        elif protocol == "mlp":
            prediction = fit_mlp(vectors, labels, (seed,))(test.vectors)[0]
        else:
            path, other = fit_ridge(vectors, labels), selection["image"]
            best = path.best_elsewhere(other.vectors, other.columns["redshift"][:, None])
            prediction = path.predict(test.vectors, best)
        values.append(r2_score(test.columns["redshift"], prediction[:, 0]))
    assert found(rows, metric="r2").value == pytest.approx(np.mean(values), abs=1e-9)
    assert found(rows, metric="r2_seed_sd").value == pytest.approx(np.std(values, ddof=1), rel=1e-6)


def test_targets_known_for_other_objects_are_trained_apart(train, queries, selection):
    holes = train.columns["redshift"].copy()
    holes[:100] = np.nan
    holed = dataclasses.replace(train, columns={**train.columns, "redshift": holes})
    both = [Cell(task, "linear", "image", "image") for task in (REDSHIFT, MASS)]
    rows = score_reference(both, holed, queries, selection)
    whole = found(score_reference(both, train, queries, selection), task="stellar-mass", metric="r2", group="all")
    assert found(rows, task="stellar-mass", metric="r2", group="all").value == pytest.approx(whole.value, abs=1e-9)
    path = fit_ridge(train.vectors[100:], train.columns["redshift"][100:, None])
    best = path.best_elsewhere(selection["image"].vectors, selection["image"].columns["redshift"][:, None])
    expected = path.predict(queries["image"].vectors, best)[:, 0]
    row = found(rows, task="redshift", metric="r2", group="all")
    assert row.value == pytest.approx(r2_score(queries["image"].columns["redshift"], expected), abs=1e-9)


def test_progress_ends_at_the_total(train, queries, selection):
    seen = []
    cells = [Cell(REDSHIFT, name, "image", "image", count) for name in ("linear", "mlp") for count in (None, 100)]
    score_reference(
        [*cells, Cell(REDSHIFT, "knn16", "image", "image", 100)], train, queries, selection, lambda *at: seen.append(at)
    )
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from tiny_source import TinySource

    from dataset_builders.parquet import build_dataset

    return open_dataset(
        build_dataset(TinySource(n_shards=2, shard_rows=600), tmp_path_factory.mktemp("fewshot") / "tiny")
    )


def run(dataset, suite="full", **more):
    return evaluate(load_embedder("photometry"), dataset, tasks=["redshift"], suite=suite, **{"floors": (), **more})


@pytest.fixture(scope="module")
def full(tiny):
    return run(tiny)


def test_the_full_suite_goes_on_from_the_zero_shot_one(tiny, full, tmp_path, monkeypatch):
    first = run(tiny, "zero-shot")
    assert {score.protocol for score in first.scores} == {"knn16", "knn64-std"}
    assert {score.part for score in first.scores} == {"all"}
    write_result(first, tmp_path / "r.json")
    from astroclip_bench.tasks import scoring

    monkeypatch.setattr(scoring, "score_pair", lambda *_: pytest.fail("neighbours were searched again"))
    both = run(tiny, previous=read_result(tmp_path / "r.json"), must_match=True)
    key = {(score.cell, score.metric, score.group): score for score in full.scores}
    assert len(key) == len(full.scores)
    assert {(score.cell, score.metric, score.group): score for score in both.scores} == key
    monkeypatch.setattr(fewshot, "score_reference", lambda *_: pytest.fail("trained again"))
    assert run(tiny, "zero-shot", previous=both, must_match=True).scores == both.scores
    assert run(tiny, previous=both, must_match=True).scores == both.scores


def test_floors_of_few_shot_scores_stay_with_them(tiny):
    first = run(tiny, floors=("random-projection",))
    assert {row.protocol for row in first.floors["random-projection"]} >= {"linear", "mlp", "knn16"}
    again = run(tiny, "zero-shot", floors=("random-projection",), previous=first)

    def by_row(result):
        return {(row.cell, row.metric, row.group): row for row in result.floors["random-projection"]}

    assert by_row(again) == by_row(first)
    other = run(tiny, "zero-shot", floors=("random-projection",), previous=dataclasses.replace(first, options={}))
    assert {row.protocol for row in other.floors["random-projection"]} == {"knn16", "knn64-std"}


def test_a_full_result_holds_curves_up_to_the_labels_there_are(full, tiny):
    assert 100 < np.isfinite(tiny.splits["train"].column("redshift")).sum() < 1_000
    for name in ("knn16", "linear", "mlp"):
        groups = {score.group for score in full.find(protocol=name, metric="r2") if score.group.startswith("labels")}
        assert groups == {"labels:100"}
    assert not [score for score in full.find(protocol="knn64-std") if score.part != "all"]
    assert full.options["ridge_alpha"] == {"redshift": "validation split"}
    text = render(full)
    assert "photometry -> photometry, linear" in text
    assert "100 labels" in text


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_matter(tiny, full, threads):
    import threadpoolctl
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpoolctl.threadpool_limits(threads):
            again = run(tiny)
    finally:
        torch.set_num_threads(before)
    values, expected = ([score.value for score in result.scores if score.value is not None] for result in (again, full))
    assert values == pytest.approx(expected, rel=1e-6)


def test_labels_without_meaning_score_nothing(full):
    for score in full.find(metric="r2", protocol="linear"):
        if score.part == score.group:
            assert score.value < 0.03


def test_a_data_set_without_validation_split_says_what_chose(tiny, full):
    splits = {name: view for name, view in tiny.splits.items() if name != "validation"}
    result = run(dataclasses.replace(tiny, splits=splits))
    assert result.options["ridge_alpha"] == {"redshift": "leave-one-out"}
    assert "validation" not in result.dataset["splits"]
    (network,) = result.find(task="redshift", protocol="mlp", metric="r2", group="all")
    assert [network] == full.find(task="redshift", protocol="mlp", metric="r2", group="all")


def test_the_validation_split_is_embedded_for_what_it_chooses_alone(tiny, full):
    def embedded(result):
        return [what for what in result.timings_seconds if "validation" in what]

    assert embedded(full)
    assert not embedded(run(tiny, "zero-shot"))
    previous = dataclasses.replace(full, scores=[score for score in full.scores if score.protocol != "mlp"])
    again = run(tiny, previous=previous)
    assert len(again.scores) == len(full.scores)
    assert not embedded(again)


def test_suites_name_protocols_that_exist():
    assert set(SUITES["zero-shot"].protocols) < set(SUITES["full"].protocols)
    assert get_suite("full").curves == ["knn16", "linear", "mlp"]
    with pytest.raises(TaskError, match="there is no suite 'ful'; did you mean full"):
        get_suite("ful")
