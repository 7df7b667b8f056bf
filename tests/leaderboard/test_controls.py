"""Each control on embeddings that hide something, and on honest ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from leaderboard import controls
from leaderboard.controls import CONTROLS, Evidence, Part, held_out_pixels, own_predictions, run_controls

TRAIN, TEST, DIMENSION = 1500, 400, 16


def make(rows, seed, offset):
    """Return galaxies whose vectors in two modalities hold a label with an error, and share some of their noise."""
    random = np.random.default_rng(seed)
    latent = random.normal(size=(rows, 6))
    mixing = np.random.default_rng(99).normal(size=(2, 6, DIMENSION))
    vectors = {
        name: (latent @ mixing[place] + 0.5 * random.normal(size=(rows, DIMENSION))).astype(np.float32)
        for place, name in enumerate(("image", "spectrum"))
    }
    mass = latent[:, 0] + 0.4 * random.normal(size=rows)
    age = latent[:, 1] + 1.0 * random.normal(size=rows)
    age[::7] = np.nan
    return Part(vectors, {"mass": mass, "age": age}, offset + random.integers(0, 40, rows))


@pytest.fixture
def evidence():
    return Evidence(make(TRAIN, 1, 0), make(TEST, 2, 100), declared=False)


def failed(evidence):
    return {check.name for check in run_controls(evidence) if check.outcome == "failed"}


def changed(evidence, **vectors):
    """Return the evidence with vectors of the test split replaced."""
    test = dataclasses.replace(evidence.test, vectors={**evidence.test.vectors, **vectors})
    return dataclasses.replace(evidence, test=test)


def with_both(evidence, function):
    """Return the evidence with images alone, of which both splits' vectors are made from (vectors, labels)."""
    parts = {
        name: dataclasses.replace(part, vectors={"image": function(part).astype(np.float32)})
        for name, part in (("train", evidence.train), ("test", evidence.test))
    }
    return dataclasses.replace(evidence, **parts)


def test_honest_embeddings_pass_every_control(evidence):
    checks = list(run_controls(evidence))
    assert [check.name for check in checks] == list(CONTROLS)
    assert {check.outcome for check in checks} == {"passed"}


@pytest.mark.parametrize("seed", range(5))
def test_random_and_constant_embeddings_pass_too(evidence, seed):
    random = np.random.default_rng(seed)
    assert not failed(with_both(evidence, lambda part: random.normal(size=(len(part.pixels), 64))))
    assert not failed(with_both(evidence, lambda part: np.ones((len(part.pixels), 4))))


def test_a_label_as_a_dimension(evidence):
    cheat = with_both(evidence, lambda part: np.c_[part.vectors["image"], part.labels["mass"] * 1e-3])
    assert failed(cheat) == {"single dimensions", "linear read-out"}
    declared = {check.outcome for check in run_controls(dataclasses.replace(cheat, declared=True))}
    assert declared == {"passed", "flagged"}


def test_a_label_bent_into_a_dimension(evidence):
    cheat = with_both(evidence, lambda part: np.c_[part.vectors["image"], np.exp(3 * part.labels["mass"])])
    assert "single dimensions" in failed(cheat)


def test_a_label_turned_into_all_dimensions(evidence):
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(DIMENSION + 1, DIMENSION + 1)))[0]
    cheat = with_both(evidence, lambda part: np.c_[part.vectors["image"], part.labels["mass"]] @ turn)
    assert failed(cheat) == {"linear read-out"}


def test_a_label_that_outweighs_all_else(evidence):
    angle = lambda part: np.pi / 8 * part.labels["mass"]  # noqa: E731 - a formula
    cheat = with_both(evidence, lambda part: np.c_[np.cos(angle(part)), np.sin(angle(part))])
    assert "nearest labels" in failed(cheat)


def test_a_label_on_the_test_split_alone(evidence):
    random = np.random.default_rng(4)
    columns = {
        "train": random.normal(size=TRAIN),
        "test": evidence.test.labels["mass"] + 0.5 * random.normal(size=TEST),
    }
    cheat = with_both(
        evidence,
        lambda part: np.c_[part.vectors["image"], columns["train" if len(part.pixels) == TRAIN else "test"]],
    )
    assert failed(cheat) == {"single dimensions"}


def nearest_by_label(evidence):
    label, wanted = evidence.train.labels["mass"], evidence.test.labels["mass"]
    return np.abs(label - wanted[:, None]).argmin(axis=1)


def test_test_vectors_copied_from_train_objects_of_that_label(evidence):
    cheat = changed(evidence, image=evidence.train.vectors["image"][nearest_by_label(evidence)])
    assert {"copied vectors", "nearest labels", "test over train"} <= failed(cheat)


def test_test_vectors_drawn_to_where_their_label_lies(evidence):
    random = np.random.default_rng(5)
    near = evidence.train.vectors["image"][nearest_by_label(evidence)]
    noise = 0.1 * random.normal(size=near.shape).astype(np.float32)
    assert "test over train" in failed(changed(evidence, image=near + noise))


def test_one_vector_for_both_modalities(evidence):
    assert "copied vectors" in failed(changed(evidence, spectrum=evidence.test.vectors["image"]))


def test_test_pairs_that_were_memorised(evidence):
    noise = 0.01 * np.random.default_rng(6).normal(size=(TEST, DIMENSION)).astype(np.float32)
    assert "pairs over train" in failed(changed(evidence, spectrum=evidence.test.vectors["image"] + noise))


def test_identities_in_both_modalities(evidence):
    def add_identity(part, seed):
        random = np.random.default_rng(seed)
        own = random.normal(size=(len(part.pixels), 64)).astype(np.float32) * 5
        vectors = {name: np.concatenate([found, own], axis=1) for name, found in part.vectors.items()}
        return dataclasses.replace(part, vectors=vectors)

    cheat = Evidence(add_identity(evidence.train, 7), add_identity(evidence.test, 8), declared=False)
    assert [check.name for check in run_controls(cheat) if check.outcome == "flagged"] == ["pairs over train"]


def test_a_probe_that_predicts_permuted_labels_is_noticed(evidence, monkeypatch):
    """A harness that peeks at the test labels scores well whatever labels the neighbours are given."""
    monkeypatch.setattr(controls, "_vote", lambda labels, indices, weights: evidence.test.labels["mass"])
    assert [outcome for outcome, _ in controls.permuted_labels(evidence)] == ["failed"] * 2


def test_too_few_labels_say_nothing(evidence):
    few = np.full(TEST, np.nan)
    few[:50] = evidence.test.labels["mass"][:50]
    test = dataclasses.replace(evidence.test, labels={"mass": few, "age": few})
    cheat = dataclasses.replace(evidence, test=test)
    cheat = with_both(cheat, lambda part: np.nan_to_num(part.labels["mass"])[:, None])
    assert "single dimensions" not in failed(cheat)


def test_held_out_pixels_are_whole_and_not_all():
    pixels = np.repeat(np.arange(10), 30)
    for count in (1, 50, 10_000):
        held_out = held_out_pixels(pixels, count)
        assert min(count, 270) <= held_out.sum() < 300
        assert not set(pixels[held_out]) & set(pixels[~held_out])


@pytest.mark.parametrize(
    ("share", "error", "outcome"), [(1, 0, "failed"), (0.1, 1e-7, "failed"), (1, 1e-3, "passed"), (0, 0, "passed")]
)
def test_predictions_that_are_the_labels(evidence, share, error, outcome):
    random = np.random.default_rng(5)
    label = evidence.test.labels["age"]
    rows = np.arange(len(label))
    guess = random.normal(size=len(label))
    known = np.where(rows < share * len(label), label + error * random.normal(size=len(label)), guess)
    found = own_predictions({"age from image": np.nan_to_num(known), "colour from image": guess}, evidence.test.labels)
    assert [check.outcome for check in found] == [outcome]
    few = {"age": np.where(rows < 90, label, np.nan)}
    assert [check.outcome for check in own_predictions({"age from image": known}, few)] == ["passed"]
