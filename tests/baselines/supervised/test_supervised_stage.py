"""The supervised stage: statistics of the labels, the loss, augmentation, and an end that a restart does not change."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from astroclip_bench.errors import DataError
from baselines.astroclip.config import DataSettings, RecipeError, TrainSettings, settings_from
from baselines.astroclip.data import open_split
from baselines.astroclip.engine import Interrupted, StageData, train
from baselines.supervised.stage import SupervisedSettings, SupervisedStage, label_statistics

IMAGE = {"name": "vit", "width": 16, "depth": 1, "heads": 2, "crop": 24}
SPECTRUM = {"name": "specformer", "width": 16, "depth": 1, "heads": 2, "length": 100, "overlap": 0}
AUGMENT = {"image": {"size": 24, "jitter": 2, "rotation": "quarter"}, "spectrum": {"noise": 0.3, "shift": 2}}


def make(pairs, encoder=IMAGE, **changes) -> SupervisedStage:
    torch.manual_seed(0)
    table = {"encoder": encoder, "targets": ["redshift"], "hidden": [8], **changes}
    return SupervisedStage(settings_from(SupervisedSettings, table, "stages.image"), pairs.splits["train"])


def batch(pairs, stage) -> dict[str, torch.Tensor]:
    split = open_split(pairs, "train", stage.columns, DataSettings(), torch.device("cpu"))
    return next(split.batches(np.arange(8), 8))


def test_statistics_are_those_of_the_galaxies_with_all_labels(unlabelled):
    view = unlabelled.splits["train"]
    both = np.stack([view.column("redshift"), view.column("redshift")], axis=1)
    known = both[np.isfinite(both).all(axis=1)]
    assert 0 < len(known) < len(both)
    mean, std = label_statistics(view, ["redshift", "redshift"])
    np.testing.assert_allclose(mean, known.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, known.std(axis=0), rtol=1e-6)


def test_galaxies_without_the_label_are_left_out(unlabelled):
    stage = make(unlabelled, {**IMAGE, "crop": 8, "patch": 4})
    view = unlabelled.splits["train"]
    split = open_split(unlabelled, "train", stage.columns, DataSettings(), torch.device("cpu"))
    np.testing.assert_array_equal(split.rows, np.flatnonzero(np.isfinite(view.column("redshift"))))


def test_labels_that_cannot_be_learnt_are_named(pairs):
    view = pairs.splits["train"]
    with pytest.raises(DataError, match=r"no label 'redshif'.*did you mean redshift"):
        label_statistics(view, ["redshif"])
    with pytest.raises(DataError, match="no label 'ra'"):
        label_statistics(view, ["ra"])
    with pytest.raises(DataError, match="1 galaxies to train on have one value of 'redshift'"):
        label_statistics(view.subsample(1), ["redshift"])
    with pytest.raises(RecipeError, match="huber"):
        make(pairs, loss="l1")


@pytest.mark.parametrize("loss", ["huber", "mse"])
def test_the_loss_is_on_standardised_labels(pairs, loss):
    stage = make(pairs, loss=loss)
    data = batch(pairs, stage)
    data["redshift"][0] = 9.0  # far beyond where Huber's loss turns linear
    mean, std = label_statistics(pairs.splits["train"], ["redshift"])
    with torch.no_grad():
        error = stage.model(data)[:, 0] - (data["redshift"] - mean) / std
        found = stage.validation_loss(data, torch.Generator())
    squared = error.square() / 2
    wanted = torch.where(error.abs() < 1, squared, error.abs() - 0.5) if loss == "huber" else error.square()
    torch.testing.assert_close(found, wanted.mean())


@pytest.mark.parametrize(("encoder", "changed"), [(IMAGE, "image"), (SPECTRUM, "flux")])
def test_only_training_is_augmented(pairs, encoder, changed):
    plain, stage = make(pairs, encoder), make(pairs, encoder, augment=AUGMENT)
    data = batch(pairs, stage)
    assert stage.columns == plain.columns
    assert {changed, "redshift"} <= set(stage.columns)
    losses = [one.validation_loss(data, torch.Generator().manual_seed(3)) for one in (plain, stage)]
    assert torch.equal(*losses)

    def loss(one):
        return one.step(data, torch.Tensor.backward, 0, torch.Generator().manual_seed(3))["loss"]

    assert loss(plain) == losses[0]
    assert loss(stage) != losses[0]


def run(pairs, out, progress=None):
    stage = make(pairs, dropout=0.1, augment=AUGMENT)
    settings = TrainSettings(
        steps=8,
        batch_size=16,
        learning_rate=1e-2,
        precision="float32",
        validate_every=3,
        checkpoint_every=2,
        best="loss",
    )
    splits = [
        open_split(pairs, name, stage.columns, DataSettings(), torch.device("cpu")) for name in ("train", "validation")
    ]
    data = StageData(*splits, None, pairs.digest)
    position = train(stage, data, settings, out, seed=7, recipe_digest="recipe", progress=progress)
    return stage.model.state_dict(), position


def test_a_run_that_was_interrupted_ends_with_the_same_weights(pairs, tmp_path):
    def interrupt(done: int, total: int) -> None:
        if done == 5 * 16:
            os.kill(os.getpid(), signal.SIGINT)

    whole, position = run(pairs, tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(pairs, tmp_path / "parts", interrupt)
    parts, resumed = run(pairs, tmp_path / "parts")
    assert vars(position) == vars(resumed)
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
