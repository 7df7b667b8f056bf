"""The training of the bundled reference model, on a handful of made-up galaxies."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from astroclip_bench.embedders.weights import read_model
from astroclip_bench.errors import DataError
from baselines.contrastive_mini import MODEL_FILE, augment, train
from baselines.contrastive_mini import preprocess as pre
from baselines.contrastive_mini.data import SHAPES, Reduced, combine, reduce_batch
from baselines.contrastive_mini.model import ModelConfig, build
from baselines.contrastive_mini.objective import info_nce

SMALL = ModelConfig(
    dimension=8,
    image_channels=(4, 4, 8, 8),
    spectrum_channels=(4, 8, 8, 8),
    position_channels=2,
    hidden=16,
)
CONFIG = train.TrainConfig(epochs=4, batch_size=8, patience=4)


def made_up(n: int, seed: int) -> Reduced:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(0.1, 0.05, (n, *shape)).astype(np.float32) for name, shape in SHAPES.items()}
    arrays["halves"] = np.abs(arrays["halves"])
    return Reduced(arrays)


@pytest.fixture(scope="module")
def splits() -> tuple[Reduced, Reduced]:
    return made_up(16, 1), made_up(10, 2)


def log(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / train.LOG).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_resumed_run_equals_an_uninterrupted_one(splits, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train.train(*splits, whole, SMALL, CONFIG) == whole / "model.pt"
    assert train.train(*splits, parts, SMALL, CONFIG, stop_after=1) is None
    assert not (parts / "model.pt").exists()
    train.train(*splits, parts, SMALL, CONFIG)
    assert len(log(whole)) == 1 + CONFIG.epochs
    assert log(whole) == log(parts)
    assert read_model(whole / "model.pt").digest == read_model(parts / "model.pt").digest


def test_keeps_the_best_epoch_and_stops_early(splits, tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 2.5, 0.5])
    monkeypatch.setattr(train, "validate", lambda *_: {"loss": next(losses)})
    config = replace(CONFIG, epochs=5, patience=2)
    path = train.train(*splits, tmp_path / "a", SMALL, config)
    assert len(log(tmp_path / "a")) == 1 + 4
    losses = iter([3.0, 1.0])
    train.train(*splits, tmp_path / "b", SMALL, config, stop_after=2)
    best = torch.load(tmp_path / "b" / train.CHECKPOINT, weights_only=True)["best"]
    saved = read_model(path).state_dict
    assert all(torch.equal(saved[name], value) for name, value in best.items())


def test_refuses_a_checkpoint_of_other_settings_and_too_few_galaxies(splits, tmp_path):
    train.train(*splits, tmp_path, SMALL, CONFIG, stop_after=1)
    with pytest.raises(DataError, match="other settings"):
        train.train(*splits, tmp_path, SMALL, replace(CONFIG, learning_rate=1.0))
    with pytest.raises(DataError, match="16 galaxies"):
        train.train(*splits, tmp_path / "new", SMALL, replace(CONFIG, batch_size=32))


def test_learning_rate_warms_up_and_falls_to_zero():
    rates = [train.learning_rate(step, 100, CONFIG) for step in range(101)]
    assert rates[4] == max(rates) == CONFIG.learning_rate
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0.0)


def test_command_reads_train_and_validation_only(tmp_path, monkeypatch, capsys):
    asked = []

    def reduce_split(dataset, split, *_):
        asked.append(split)
        return made_up(16, 3)

    monkeypatch.setattr(train, "reduce_split", reduce_split)
    monkeypatch.setattr(train, "open_dataset", lambda name: name)
    arguments = ["--data", "x", "--out", str(tmp_path), "--epochs", "1", "--batch-size", "8", "--quiet"]
    assert train.main(arguments) == 0
    assert asked == ["train", "validation"]
    assert capsys.readouterr().out.strip() == str(tmp_path / "model.pt")


def test_command_reports_bad_input_in_one_line(tmp_path, capsys):
    assert train.main(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_halves_combine_to_the_whole_spectrum():
    model = build(SMALL.to_mapping())
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.normal(0, 0.01, (2, 3, 152, 152)).astype(np.float32),
        "flux": rng.normal(3, 1, (2, 7781)).astype(np.float32),
        "ivar": rng.uniform(0, 2, (2, 7781)).astype(np.float32),
    }
    reduced = {name: torch.from_numpy(values) for name, values in reduce_batch(_Batch(arrays), model).items()}
    halves = reduced["halves"]
    flux, ivar = combine((halves[:, 0, 0], halves[:, 0, 1]), (halves[:, 1, 0], halves[:, 1, 1]))
    whole = model.spectrum.reduce(torch.from_numpy(arrays["flux"]), torch.from_numpy(arrays["ivar"]))
    torch.testing.assert_close(flux, whole[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ivar, whole[1], rtol=1e-4, atol=1e-4)
    assert (halves[:, 0, 0] - halves[:, 1, 0]).std() > 0.3  # the noise of the halves is their own


class _Batch:
    object_ids = ("a", "b")

    def __init__(self, arrays):
        self.arrays = arrays


def test_info_nce_of_equal_vectors_is_that_of_guessing_and_of_matched_ones_is_small():
    same = torch.nn.functional.normalize(torch.ones(8, 4), dim=1)
    assert float(info_nce(same, same, 10.0)) == pytest.approx(np.log(8), abs=1e-5)
    assert float(info_nce(torch.eye(8), torch.eye(8), 20.0)) < 1e-6
    assert float(info_nce(torch.eye(8), torch.eye(8).roll(1, 0), 20.0)) > 19


def test_augmentation_repeats_with_its_generator_and_leaves_masks_masked():
    flux, ivar = torch.ones(4, pre.N_BINS), torch.ones(4, pre.N_BINS)
    ivar[:, 500:600] = 0
    first = augment.augment_spectrum(flux, ivar, torch.Generator().manual_seed(3))
    second = augment.augment_spectrum(flux, ivar, torch.Generator().manual_seed(3))
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[0], augment.augment_spectrum(flux, ivar, torch.Generator().manual_seed(4))[0])
    assert (first[1][:, 510:590] == 0).all()
    assert (first[0][first[1] == 0] == 0).all()
    pixels, apertures = torch.rand(4, 3, 48, 48), torch.rand(4, 3, 6)
    turned, _ = augment.augment_image(pixels, apertures, torch.Generator().manual_seed(3))
    torch.testing.assert_close(turned.mean((-1, -2)), pixels.mean((-1, -2)), rtol=0, atol=1e-3)


def test_bundled_weights_fit_the_architecture_and_are_small():
    model = read_model(MODEL_FILE)
    build(model.config).load_state_dict(model.state_dict)
    assert MODEL_FILE.stat().st_size < 8e6
