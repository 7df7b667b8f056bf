"""The whole evaluation, on random numbers in the shape of galaxies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import load_embedder
from astroclip_bench.errors import DataError, ResultError, TaskError
from astroclip_bench.evaluation import FLOORS, evaluate
from astroclip_bench.results.record import read_result, write_result
from astroclip_bench.results.table import render


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    from tiny_source import TinySource

    from dataset_builders.parquet import build_dataset

    folder = build_dataset(TinySource(n_shards=2, shard_rows=600), tmp_path_factory.mktemp("evaluate") / "tiny")
    return open_dataset(folder)


@pytest.fixture(scope="module")
def result(dataset):
    return evaluate(load_embedder("random-projection"), dataset)


def comparable(result):
    return dataclasses.replace(result, created="", timings_seconds={}, environment={})


def test_a_result_holds_every_cell_once(result, dataset):
    assert result.complete
    assert result.dataset["digest"] == dataset.digest
    assert set(result.floors) == set(FLOORS) - {"random-projection"}
    cells = [(score.cell, score.metric, score.group) for score in result.scores]
    assert len(cells) == len(set(cells))
    pairs = {(score.reference, score.query) for score in result.scores}
    assert pairs == {("image", "image"), ("photometry", "photometry")}
    assert "one space" in result.not_applicable["retrieval"]
    groups = {score.group.partition(":")[0] for score in result.scores}
    assert groups == {"all", "redshift", "mag_r", "hemisphere"}


def test_labels_that_have_nothing_to_do_with_the_images_score_nothing(result):
    for score in result.find(task="redshift", metric="r2", group="all"):
        assert score.value <= 0.02
        assert -0.2 < score.chance <= 0


def test_two_evaluations_agree_to_the_last_digit(result, dataset):
    again = evaluate(load_embedder("random-projection"), dataset)
    assert comparable(again) == comparable(result)


def test_the_query_is_never_in_its_own_reference_set(dataset):
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert not set(train.object_ids) & set(test.object_ids)
    assert not set(train.column("healpix")) & set(test.column("healpix"))


def test_only_missing_scores_are_computed(result, dataset, tmp_path, monkeypatch):
    from astroclip_bench.tasks import scoring

    write_result(result, tmp_path / "r.json")
    previous = read_result(tmp_path / "r.json")
    previous.scores = [score for score in previous.scores if score.protocol != "knn64-std"]
    asked = []
    original = scoring.score_pair
    monkeypatch.setattr(scoring, "score_pair", lambda todo, *rest: asked.extend(todo) or original(todo, *rest))
    again = evaluate(load_embedder("random-projection"), dataset, previous=previous, floors=())
    assert {protocol for _, protocol in asked} == {"knn64-std"}
    assert again.complete
    by_cell = {(score.cell, score.metric, score.group): score for score in again.scores}
    assert by_cell == {(score.cell, score.metric, score.group): score for score in result.scores}


def test_a_result_of_other_data_is_not_gone_on_from(result, dataset):
    other = dataclasses.replace(result, dataset={**result.dataset, "digest": "0" * 32})
    with pytest.raises(ResultError, match="data digest"):
        evaluate(load_embedder("random-projection"), dataset, previous=other, must_match=True)
    fresh = evaluate(load_embedder("random-projection"), dataset, previous=other, floors=())
    assert fresh.scores == result.scores


def test_scores_of_other_code_or_preprocessing_are_not_kept(result, dataset):
    stale = [dataclasses.replace(score, value=9.0) for score in result.scores]
    for change in (
        {"options": {**result.options, "embedder_code": "0" * 32}},
        {"embedder": {**result.embedder, "preprocessing": "another"}},
    ):
        other = dataclasses.replace(result, scores=stale, **change)
        fresh = evaluate(load_embedder("random-projection"), dataset, previous=other, floors=())
        assert fresh.scores == result.scores


def test_a_subsample_or_a_choice_of_tasks_is_incomplete(dataset):
    limited = evaluate(load_embedder("photometry"), dataset, limit=150, floors=())
    assert not limited.complete
    assert "--limit 150" in limited.incomplete_because[0]
    assert limited.dataset["splits"]["test"]["rows"] == 150
    chosen = evaluate(load_embedder("photometry"), dataset, tasks=["redshift"], floors=())
    assert "stellar-mass" in chosen.incomplete_because[0]
    assert "INCOMPLETE" in render(limited)


def test_too_few_labels_are_a_reason_and_not_a_failure(dataset):
    with pytest.raises(TaskError, match="redshift: 11 train objects have the label redshift, and it takes 64"):
        evaluate(load_embedder("photometry"), dataset, limit=20, floors=())


def test_a_collapsed_embedder_scores_at_chance(dataset):
    result = evaluate(load_embedder("mean"), dataset, floors=())
    retrieval = result.find(task="retrieval", group="all")
    assert {(score.reference, score.query) for score in retrieval} == {("image", "photometry"), ("photometry", "image")}
    for score in retrieval:
        assert score.value == pytest.approx(score.chance, rel=1e-9), score.metric
    for score in result.find(metric="r2", group="all"):
        assert score.value <= 0


def test_a_data_set_without_test_rows_is_refused(dataset):
    lacking = dataclasses.replace(dataset, splits={"train": dataset.splits["train"]})
    with pytest.raises(DataError, match="no test split"):
        evaluate(load_embedder("photometry"), lacking)


def rows_of(view, count):
    return dataclasses.replace(view, selected=np.arange(view.rows) < count)


def with_rows(dataset, train, test):
    splits = dataset.splits
    return dataclasses.replace(
        dataset,
        splits={**splits, "train": rows_of(splits["train"], train), "test": rows_of(splits["test"], test)},
    )


@pytest.mark.parametrize(("train", "test"), [(0, 11), (9, 11), (0, 2)])
def test_a_handful_of_pairs_is_scored_on_retrieval_alone(dataset, train, test):
    result = evaluate(load_embedder("mean"), with_rows(dataset, train, test))
    assert {score.task for score in result.scores} == {"retrieval"}
    assert {score.n for score in result.scores} == {test}
    assert [result.dataset["splits"][name]["rows"] for name in ("train", "test")] == [train, test]
    assert "train objects have the label redshift, and it takes 64" in result.not_applicable["redshift"]
    (recall,) = result.find(metric="recall@1", reference="image")
    assert recall.value == recall.chance == pytest.approx(1 / test)
    assert f"{train} train / {test} test" in render(result)


@pytest.mark.parametrize("train", [0, 9])
def test_one_test_object_is_no_pool_to_search(dataset, train):
    with pytest.raises(TaskError, match=r"retrieval: a search among 1 test object tells nothing") as caught:
        evaluate(load_embedder("mean"), with_rows(dataset, train, 1))
    assert "\n" not in str(caught.value)


def test_the_table_names_the_data_and_says_that_it_is_simulated(result):
    text = render(result)
    assert "tiny 1.0 (SIMULATED data" in text
    assert "95 % interval" in text
    assert "photometry" in text.splitlines()[2]


def test_labels_and_identities_never_reach_the_embedder(dataset):
    seen = []

    class Spy:
        info = load_embedder("photometry").info

        def embed(self, batch, modality):
            seen.append(set(batch))
            return load_embedder("photometry").embed(batch, modality)

    evaluate(Spy(), dataset, tasks=["redshift"], floors=(), use_cache=False)
    assert seen
    assert all(columns == {"flux_g", "flux_r"} for columns in seen)


def test_scores_equal_scikit_learn(dataset, result):
    from sklearn.metrics import r2_score
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.preprocessing import normalize

    embedder = load_embedder("random-projection")

    def vectors(split):
        batches = list(dataset.splits[split].batches(["image"], 10_000))
        return normalize(np.concatenate([embedder.embed(batch.arrays, "image") for batch in batches]).astype(float))

    train, test = (dataset.splits[name].column("redshift") for name in ("train", "test"))
    model = KNeighborsRegressor(16, weights="distance").fit(vectors("train")[~np.isnan(train)], train[~np.isnan(train)])
    known = ~np.isnan(test)
    expected = r2_score(test[known], model.predict(vectors("test")[known]))
    (score,) = result.find(
        metric="r2", protocol="knn16", reference="image", query="image", group="all", task="redshift"
    )
    assert score.value == pytest.approx(expected, abs=1e-5)
    assert score.n == known.sum()


def direct(result, **equal):
    return {score.metric: score for score in result.find(protocol="direct", group="all", **equal)}


class _Guesses:
    """Predicts redshift from the photometry, and embeds what `load_embedder("photometry")` does."""

    def __init__(self):
        self.inner = load_embedder("photometry")
        self.info = dataclasses.replace(
            self.inner.info, name="guesses", digest="ab" * 16, targets={"photometry": ("redshift",)}
        )

    def embed(self, batch, modality):
        return self.inner.embed(batch, modality)

    def predict(self, batch, modality):
        return {"redshift": 0.4 + 0.1 * batch["flux_r"]}


def test_the_models_own_predictions_are_scored_like_any_other(dataset, tmp_path):
    from sklearn.metrics import mean_absolute_error, r2_score

    result = evaluate(_Guesses(), dataset, floors=())
    test = dataset.splits["test"]
    label = test.column("redshift")
    known = ~np.isnan(label)
    prediction = (0.4 + 0.1 * test.column("flux_r"))[known]
    scores = direct(result)
    assert {(row.task, row.reference, row.query) for row in scores.values()} == {("redshift", *["photometry"] * 2)}
    assert scores["r2"].value == pytest.approx(r2_score(label[known], prediction), abs=1e-6)
    assert scores["mae"].value == pytest.approx(mean_absolute_error(label[known], prediction), abs=1e-6)
    neighbours = {score.metric: score for score in result.find(task="redshift", protocol="knn16", group="all")}
    assert neighbours.keys() - scores.keys() == {"pit_uniformity", "crps"}
    for metric, score in scores.items():
        assert (score.n, score.chance) == (known.sum(), neighbours[metric].chance)
    assert len(result.find(protocol="direct", metric="r2")) == len(result.find(protocol="knn16", metric="r2"))
    assert result.complete
    assert "photometry, direct" in render(result)
    write_result(result, tmp_path / "r.json")
    assert read_result(tmp_path / "r.json").embedder["targets"] == {"photometry": ["redshift"]}


def test_a_model_that_predicts_nothing_lacks_nothing(result):
    assert result.complete
    assert not direct(result)
    assert "direct" not in render(result)


def test_only_missing_predictions_are_made(dataset, monkeypatch):
    whole = evaluate(_Guesses(), dataset, tasks=["redshift"], floors=(), use_cache=False)
    monkeypatch.setattr(_Guesses, "predict", lambda *_: pytest.fail("predicted again"))
    again = evaluate(_Guesses(), dataset, tasks=["redshift"], floors=(), use_cache=False, previous=whole)
    assert again.scores == whole.scores


def test_predictions_made_elsewhere_are_scored_alone(dataset, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from sklearn.metrics import r2_score

    test = dataset.splits["test"]
    label = test.column("redshift")
    guess = (np.nan_to_num(label, nan=0.5) + 0.1).astype(np.float32)
    path = tmp_path / "predictions.parquet"
    pq.write_table(pa.table({"object_id": test.object_ids, "predicted_redshift_from_image": guess}), path)
    result = evaluate(load_embedder(str(path)), dataset, floors=("photometry",))
    scores = direct(result)
    known = ~np.isnan(label)
    assert scores["r2"].value == pytest.approx(r2_score(label[known], guess[known]), abs=1e-6)
    assert scores["bias"].value == pytest.approx(0.1, abs=1e-6)
    assert {score.protocol for score in result.scores} == {"direct"}
    assert {score.query for score in result.scores} == {"image"}
    assert result.complete
    assert result.not_applicable["retrieval"] == "predictions has no embeddings"
    assert result.not_applicable["age"] == "predictions has no embeddings and predicts no age"
    assert result.floors["photometry"]
    write_result(result, tmp_path / "r.json")

    # The labels of the train split give what chance scores, and nothing else.
    alone = evaluate(load_embedder(str(path)), with_rows(dataset, 0, test.rows), floors=())
    assert direct(alone)["r2"].value == scores["r2"].value
    assert direct(alone)["r2"].chance is None


def test_predictions_of_a_label_that_the_data_lack_are_a_reason(dataset, tmp_path):
    ids = np.array(dataset.splits["test"].object_ids)
    np.savez(tmp_path / "ages.npz", object_id=ids, predicted_age_from_image=np.ones(len(ids)))
    with pytest.raises(TaskError, match="age: the data set has no label age"):
        evaluate(load_embedder(str(tmp_path / "ages.npz")), dataset)
