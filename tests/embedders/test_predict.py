"""A model's own predictions: what it declares, how they are made, kept, checked and looked up."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch

from astroclip_bench.embedders import (
    EmbedderInfo,
    check_embedder,
    embed_split,
    load_embedder,
    predict_arrays,
    predict_split,
    save_model,
)
from astroclip_bench.embedders.protocol import require_embedder
from astroclip_bench.errors import EmbedderError

TARGETS = {"image": ("redshift", "log_stellar_mass")}
IDS = [str(1000 + row) for row in range(20)]
REDSHIFT = np.linspace(0.01, 0.5, 20, dtype=np.float32)


class _Predictor:
    """Predicts the image's mean and its largest pixel, until a subclass spoils it; embeds them too."""

    def __init__(self, largest=None, **info):
        values = {
            "name": "predictor",
            "digest": "0" * 32,
            "dimension": 2,
            "modalities": ("image",),
            "preprocessing": "none",
            "targets": TARGETS,
        }
        self.info = EmbedderInfo(**(values | info))
        self.largest, self.sizes = largest, []

    def values(self, batch):
        flat = batch["image"].reshape(len(batch["image"]), -1)
        return {"log_stellar_mass": flat.max(axis=1), "redshift": flat.mean(axis=1).astype(np.float64)}

    def embed(self, batch, modality):
        return np.stack([*_Predictor.values(self, batch).values()], axis=1).astype(np.float32)

    def predict(self, batch, modality):
        if self.largest is not None and len(batch["image"]) > self.largest:
            raise MemoryError
        self.sizes.append(len(batch["image"]))
        return self.values(batch)


class _Random(_Predictor):
    def values(self, batch):
        found = super().values(batch)
        return {**found, "redshift": found["redshift"] + np.random.default_rng().normal()}


class _BatchStatistics(_Predictor):
    def values(self, batch):
        found = super().values(batch)
        return {**found, "redshift": found["redshift"] - found["redshift"].mean()}


class _PlaceInBatch(_Predictor):
    def values(self, batch):
        found = super().values(batch)
        return {**found, "redshift": found["redshift"] + np.arange(len(batch["image"]))}


class _NotFinite(_Predictor):
    def values(self, batch):
        found = super().values(batch)
        found["log_stellar_mass"] = np.where(np.arange(len(batch["image"])) == 3, np.nan, 10.0)
        return found


class _Forgets(_Predictor):
    def values(self, batch):
        return {"redshift": super().values(batch)["redshift"]}


class _Narrow(_Predictor):
    def values(self, batch):
        return {name: values[:, None] for name, values in super().values(batch).items()}


class _Constant(_Predictor):
    def values(self, batch):
        return {name: np.ones(len(batch["image"])) for name in super().values(batch)}


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        (_Random, "determinism", "a second pass changes predictions of redshift by"),
        (_BatchStatistics, "batch size", "batches of 1 changes predictions of redshift by"),
        (_PlaceInBatch, "order", "another order changes predictions of redshift by"),
        (_NotFinite, "output", "predicting from modality 'image' gave NaN or infinity for 1 of 8 objects, first row 3"),
        (_Forgets, "output", "gave redshift; expected an array for each of redshift, log_stellar_mass"),
        (_Narrow, "output", r"gave 'redshift' as a float64 array of shape \(8, 1\); expected floats of shape \(8,\)"),
    ],
)
def test_each_defect_of_a_prediction_is_caught_by_its_check(dataset, kind, name, reason):
    with pytest.raises(EmbedderError, match=f"{name}: .*{reason}"):
        check_embedder(kind(), dataset)


def test_an_honest_predictor_passes_and_a_constant_one_is_noted(dataset):
    assert "warn" not in str(check_embedder(_Predictor(), dataset))
    assert "image: all predictions of redshift are equal" in str(check_embedder(_Constant(), dataset))
    alone = _Predictor(dimension=0, modalities=())
    assert check_embedder(alone, dataset).passed


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"targets": {"image": "redshift"}}, "info.targets is"),
        ({"targets": {"image": ()}}, "info.targets is"),
        ({"modalities": (), "targets": {}}, "info.modalities is"),
        ({"dimension": 0}, "info.dimension is 0"),
    ],
)
def test_a_wrong_declaration_is_named(info, said):
    with pytest.raises(EmbedderError, match=said):
        require_embedder(_Predictor(**info), "here")


def test_targets_need_a_way_to_them():
    class Silent:
        info = _Predictor().info
        embed = _Predictor.embed

    with pytest.raises(EmbedderError, match=r"expected a method predict\(batch, modality\)"):
        require_embedder(Silent(), "here")


def predict(embedder, split, dataset, **options):
    options = {"data_digest": "d" * 32, "batch_size": 3, **options}
    return predict_split(embedder, split, dataset.modalities["image"], **options)


def test_predictions_of_a_split_come_in_order_and_from_the_cache(split, dataset):
    images = split.arrays["image"].reshape(20, -1)
    embedder = _Predictor()
    found = predict(embedder, split, dataset)
    np.testing.assert_allclose(found["redshift"], images.mean(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(found["log_stellar_mass"], images.max(axis=1))
    assert sum(embedder.sizes) == 20
    again = _Predictor()
    np.testing.assert_array_equal(predict(again, split, dataset)["redshift"], found["redshift"])
    assert not again.sizes
    for other in (_Predictor(digest="1" * 32), _Predictor(targets={"image": ("log_stellar_mass", "redshift")})):
        np.testing.assert_array_equal(predict(other, split, dataset)["redshift"], found["redshift"])
        assert sum(other.sizes) == 20


def test_embeddings_and_predictions_are_kept_apart(split, dataset):
    embedder = _Predictor()
    vectors = embed_split(embedder, split, dataset.modalities["image"], data_digest="d" * 32).vectors
    found = predict(embedder, split, dataset)
    np.testing.assert_array_equal(vectors[:, 0], found["log_stellar_mass"])
    np.testing.assert_array_equal(vectors[:, 1], found["redshift"])


def test_memory_that_runs_out_halves_the_batch(split, dataset):
    embedder = _Predictor(largest=3)
    assert len(predict(embedder, split, dataset, batch_size=16)["redshift"]) == 20
    assert set(embedder.sizes) == {2}


def test_nothing_is_predicted_from_another_modality(split, dataset):
    with pytest.raises(EmbedderError, match="predicts nothing from 'spectrum'"):
        predict_split(_Predictor(), split, dataset.modalities["spectrum"], data_digest="0")


def test_a_registered_architecture_predicts(toy, dataset, split, tmp_path, monkeypatch):
    toy()
    import toy_architecture

    class Supervised(toy_architecture.Toy):
        targets = {"image": ("redshift",)}  # noqa: RUF012 - as somebody may write it

        def predict(self, batch, modality):
            return {"redshift": self.embed(batch, modality).mean(1)}

    monkeypatch.setattr(toy_architecture, "Toy", Supervised)
    path = save_model(tmp_path / "s.pt", "toy", 3, {}, Supervised().state_dict())
    embedder = load_embedder(str(path))
    assert embedder.info.targets == Supervised.targets
    vectors = embedder.embed({"image": split.arrays["image"]}, "image")
    values = predict_arrays(embedder, split.arrays, dataset.modalities["image"])
    np.testing.assert_allclose(values[:, 0], vectors.mean(axis=1), rtol=1e-5, atol=1e-6)
    assert check_embedder(embedder, dataset).passed
    with pytest.raises(EmbedderError, match="predicts nothing from 'spectrum'; expected image"):
        embedder.predict({}, "spectrum")

    monkeypatch.setattr(Supervised, "predict", lambda self, batch, modality: torch.zeros(3))
    with pytest.raises(EmbedderError, match="predict gave a Tensor"):
        embedder.predict({"image": split.arrays["image"]}, "image")
    for name, value, said in (("predict", None, "names targets"), ("targets", ["redshift"], "attribute 'targets'")):
        monkeypatch.setattr(Supervised, name, value)
        with pytest.raises(EmbedderError, match=said):
            load_embedder(str(path))


def write(path, **entries):
    if path.suffix == ".npz":
        np.savez(path, object_id=np.array(IDS), **entries)
    elif path.suffix == ".safetensors":
        safetensors.numpy.save_file({"object_id": np.array(IDS, np.int64), **entries}, path)
    else:
        lists = {name: pa.array(list(v), pa.list_(pa.float32())) if v.ndim == 2 else v for name, v in entries.items()}
        pq.write_table(pa.table({"object_id": IDS, **lists}), path)
    return load_embedder(str(path))


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".safetensors"])
def test_stored_predictions_stand_beside_embeddings_or_alone(tmp_path, split, dataset, suffix):
    entries = {"predicted_redshift_from_image": REDSHIFT, "predicted_log_stellar_mass_from_image": REDSHIFT + 10}
    both = write(tmp_path / f"both{suffix}", image=np.ones((20, 2), np.float32), **entries)
    alone = write(tmp_path / f"alone{suffix}", **entries)
    assert (both.info.dimension, both.info.modalities) == (2, ("image",))
    assert (alone.info.dimension, alone.info.modalities) == (0, ())
    for embedder in (both, alone):
        assert embedder.info.targets == {"image": ("log_stellar_mass", "redshift")}
        split.object_ids.reverse()
        found = predict(embedder, split, dataset)
        wanted = REDSHIFT if split.object_ids == IDS else REDSHIFT[::-1]
        np.testing.assert_array_equal(found["redshift"], wanted)
        np.testing.assert_array_equal(found["log_stellar_mass"], wanted + 10)
        assert check_embedder(embedder, dataset).passed
    with pytest.raises(EmbedderError, match="cannot make new ones"):
        alone.predict({}, "image")
    with pytest.raises(EmbedderError, match="no prediction of 'age' from 'image'"):
        alone.lookup_prediction(IDS, "image", "age")


def test_objects_without_a_stored_prediction_are_counted_and_named(tmp_path, split, dataset):
    holes = pa.array([None, None, *REDSHIFT[2:]], pa.float32())
    pq.write_table(pa.table({"object_id": IDS, "predicted_redshift_from_image": holes}), tmp_path / "p.parquet")
    embedder = load_embedder(str(tmp_path / "p.parquet"))
    rest = dataclasses.replace(split, object_ids=IDS[2:])
    np.testing.assert_array_equal(predict(embedder, rest, dataset)["redshift"], REDSHIFT[2:])
    with pytest.raises(EmbedderError, match="'redshift' from 'image' for 2 of 20 objects: 1000, 1001"):
        predict(embedder, split, dataset)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (REDSHIFT[:9], r"shape \(9,\); expected floats of shape \(20,\)"),
        (np.ones(20, int), "array of int64"),
        (np.full(20, np.inf, np.float32), "is infinite .* for 20 objects: 1000, 1001, 1002, "),
        (np.full(20, np.nan, np.float32), "holds no prediction"),
    ],
)
def test_bad_stored_predictions_are_one_clear_line(tmp_path, values, said):
    with pytest.raises(EmbedderError, match=said) as caught:
        write(tmp_path / "bad.npz", predicted_redshift_from_image=values)
    assert "\n" not in str(caught.value)
