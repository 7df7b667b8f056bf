"""The robustness suite: clean scores at level 0, falling ones beyond, resuming, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pair_source import LineAndBrightness

from astroclip_bench import robustness
from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import load_embedder
from astroclip_bench.errors import DataError, ResultError, TaskError
from astroclip_bench.evaluation import evaluate
from astroclip_bench.perturbed import PerturbedSplit
from astroclip_bench.robustness import measure_robustness


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    from pair_source import PairSource

    from dataset_builders.parquet import build_dataset

    folder = build_dataset(PairSource(n_shards=2, shard_rows=240), tmp_path_factory.mktemp("robust") / "pairs")
    return open_dataset(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from tiny_source import TinySource

    from dataset_builders.parquet import build_dataset

    folder = build_dataset(TinySource(n_shards=2, shard_rows=400), tmp_path_factory.mktemp("robust") / "tiny")
    return open_dataset(folder)


@pytest.fixture(scope="module")
def record(pairs):
    return measure_robustness(LineAndBrightness(), pairs, names=["noise", "missing-pixels", "missing-g"])


def points(record, **wanted):
    return [row for row in record["curves"] if all(row[key] == value for key, value in wanted.items())]


def test_level_zero_is_the_clean_score_to_the_last_digit(record, pairs):
    result = evaluate(LineAndBrightness(), pairs, floors=())
    compared = 0
    for row in points(record, level=0.0):
        keys = ("task", "protocol", "metric", "reference", "query")
        [clean] = result.find(group="all", **{key: row[key] for key in keys})
        assert [row[key] for key in ("value", "standard_error", "low", "high", "n")] == [
            getattr(clean, key) for key in ("value", "standard_error", "low", "high", "n")
        ]
        compared += 1
    # noise and missing pixels touch both modalities, a missing band one: 2 pairs of redshift, one search each
    assert compared == 5 * 3


def test_the_perturbed_side_is_the_query_and_scores_fall(record):
    assert {row["query"] for row in points(record, perturbation="missing-g")} == {"image"}
    for query in ("image", "spectrum"):
        lost = points(record, perturbation="missing-pixels", task="redshift", reference="spectrum", query=query)
        values = [row["value"] for row in lost]
        assert [row["level"] for row in lost] == [0.0, 0.1, 0.3, 0.6]
        assert values[0] > 0.9
        assert values[0] > values[2] > values[3]
    search = points(record, perturbation="missing-pixels", task="retrieval", query="image", reference="spectrum")
    assert search[0]["value"] > search[-1]["value"]


def test_a_perturbed_score_is_that_of_perturbed_arrays(record, pairs):
    """Perturb a test split by hand, let scikit-learn vote, and meet the record."""
    from sklearn.metrics import r2_score
    from sklearn.neighbors import KNeighborsRegressor

    from astroclip_bench.perturbations import perturbations

    modality, embedder = pairs.modalities["image"], LineAndBrightness()
    sides = {}
    for split in ("train", "test"):
        view = pairs.splits[split]
        images = view.column("image")
        if split == "test":
            item = perturbations([modality])["missing-g"]
            images = item.apply({"image": images}, modality, view.object_ids, 1.0)["image"]
        sides[split] = embedder.embed({"image": images}, "image"), view.column("redshift")
    model = KNeighborsRegressor(16, weights="distance").fit(*sides["train"])
    [row] = points(record, perturbation="missing-g", level=1.0, reference="image", query="image", task="redshift")
    assert row["value"] == pytest.approx(r2_score(sides["test"][1], model.predict(sides["test"][0])), abs=1e-5)


def test_a_record_is_plain_json(record):
    assert json.loads(json.dumps(record, allow_nan=False))["curves"] == record["curves"]
    assert record["perturbations"]["noise"]["unit"] == "sigma"


def test_an_interrupted_run_goes_on_to_the_same_record(record, pairs, monkeypatch):
    kept: list[str] = []

    class Stopped(Exception):  # noqa: N818 - not a failure
        pass

    def save(found):
        kept.append(json.dumps(found))
        if len(kept) == 6:
            raise Stopped

    names = ["noise", "missing-pixels", "missing-g"]
    with pytest.raises(Stopped):
        measure_robustness(LineAndBrightness(), pairs, names=names, save=save)
    perturbed: list[tuple[str, float]] = []
    original = PerturbedSplit.batches

    def batches(self, columns, size):
        perturbed.append((self.perturbation.name, self.level))
        return original(self, columns, size)

    monkeypatch.setattr(PerturbedSplit, "batches", batches)
    again = measure_robustness(LineAndBrightness(), pairs, names=names, previous=json.loads(kept[-1]))
    assert again["curves"] == record["curves"]
    assert set(perturbed) == {("missing-pixels", 0.3), ("missing-pixels", 0.6), ("missing-g", 1.0)}


def test_a_record_of_other_data_or_options_is_not_gone_on_with(record, pairs, tiny):
    for changed in (
        {**record, "options": {**record["options"], "limit": 50}},
        {**record, "embedder": {**record["embedder"], "digest": "f" * 32}},
        {**record, "dataset": {**record["dataset"], "digest": "f" * 64}},
    ):
        with pytest.raises(ResultError, match="another"):
            measure_robustness(LineAndBrightness(), pairs, previous=changed)


def test_faint_queries_are_asked_of_more_and_more_bright_references_of_one_number(tiny, monkeypatch):
    asked = []
    original = robustness.knn_regress

    def spy(reference, targets, query, protocol):
        asked.append((reference, query))
        return original(reference, targets, query, protocol)

    monkeypatch.setattr(robustness, "knn_regress", spy)
    record = measure_robustness(load_embedder("photometry"), tiny, names=["population-shift"])
    train, test = tiny.splits["train"], tiny.splits["test"]
    magnitude = train.column("mag_r")
    vectors = load_embedder("photometry").embed(
        {name: train.column(name).astype(np.float32) for name in ("flux_g", "flux_r")}, "photometry"
    )
    faint = {tuple(row) for row in vectors[magnitude > np.median(magnitude)]}
    shares = [np.mean([tuple(row) not in faint for row in reference]) for reference, _ in asked]
    assert shares == pytest.approx([0, 0.5, 0.9, 1.0], abs=0.01)
    assert {len(reference) for reference, _ in asked} == {train.rows // 2}
    assert {len(query) for _, query in asked} == {(test.column("mag_r") > np.median(test.column("mag_r"))).sum()}
    assert {row["task"] for row in record["curves"]} == {"redshift"}
    assert [row["level"] for row in record["curves"]] == [0.0, 0.5, 0.9, 1.0]


def test_fewer_objects_are_stated(tiny):
    record = measure_robustness(load_embedder("photometry"), tiny, names=["missing-g"], limit=100)
    assert record["options"]["limit"] == 100
    assert record["dataset"]["splits"]["test"]["rows"] == 100


def test_what_cannot_be_perturbed_is_named_with_the_reason(pairs, tiny, tmp_path):
    import pandas

    record = measure_robustness(LineAndBrightness(), pairs, names=["missing-g", "population-shift"], limit=60)
    assert record["not_applicable"] == {"population-shift": "the data set has no column mag_r"}
    view = tiny.splits
    ids = [name for split in view.values() for name in split.object_ids]
    vectors = np.random.default_rng(0).normal(size=(len(ids), 4)).astype(np.float32)
    pandas.DataFrame({"object_id": ids, "image": list(vectors)}).to_parquet(tmp_path / "stored.parquet")
    stored = load_embedder(str(tmp_path / "stored.parquet"))
    record = measure_robustness(stored, tiny)
    assert {row["perturbation"] for row in record["curves"]} == {"population-shift"}
    assert "stored" in record["not_applicable"]["noise"]
    with pytest.raises(TaskError, match="stored"):
        measure_robustness(stored, tiny, names=["noise"])


def test_unknown_names_and_foreign_models_are_refused(pairs):
    with pytest.raises(TaskError, match="missing-q"):
        measure_robustness(LineAndBrightness(), pairs, names=["missing-q"])
    with pytest.raises(DataError, match="in common"):
        measure_robustness(load_embedder("photometry"), pairs)
