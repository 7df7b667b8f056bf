"""The alignment stage: gradient caching, starting weights, frozen encoders, halves of spectra."""

from __future__ import annotations

import json

import pytest
import torch

from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import save_model
from astroclip_bench.errors import EmbedderError
from baselines.astroclip import architecture
from baselines.astroclip.align import AlignSettings, AlignStage, encoder_of, spectrum_halves
from baselines.astroclip.augment import AugmentSettings, augment
from baselines.astroclip.augment_image import ImageAugmentation
from baselines.astroclip.augment_spectrum import SpectrumAugmentation
from baselines.astroclip.config import DataSettings, RecipeError, TrainSettings, settings_from
from baselines.astroclip.data import open_split
from baselines.astroclip.engine import StageData, train

SPECTRUM = {"name": "specformer", "width": 16, "depth": 1, "heads": 2, "length": 40, "overlap": 20, "mask_ivar": True}
IMAGE = {"name": "vit", "width": 16, "depth": 1, "heads": 2, "crop": 24, "layer_scale": 0.5}
TABLE = {
    "dimension": 8,
    "encoders": {"image": IMAGE, "spectrum": SPECTRUM},
    "heads": {"image": {"name": "mlp"}, "spectrum": {"name": "cross-attention", "heads": 2}},
}


def make(models=None, **changes) -> AlignStage:
    torch.manual_seed(0)
    return AlignStage(settings_from(AlignSettings, {**TABLE, **changes}, "stages.align"), models or {})


def batch(n: int = 6) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"image": torch.rand(n, 3, 24, 24), "flux": torch.randn(n, 200).cumsum(1), "ivar": torch.ones(n, 200)}


def step(stage: AlignStage, seed: int = 0) -> dict[str, float]:
    stage.model.train()
    torch.manual_seed(seed)
    metrics = stage.step(batch(), torch.Tensor.backward, 0, torch.Generator().manual_seed(seed))
    return {name: float(value) for name, value in metrics.items()}


def gradients(stage: AlignStage) -> dict[str, torch.Tensor]:
    return {name: value.grad for name, value in stage.model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("augment", [{}, {"image": {"size": 24, "jitter": 1}, "spectrum": {"noise": 0.3, "shift": 2}}])
def test_gradient_caching_changes_nothing(augment):
    plain, cached = (make(chunk=chunk, learn_scale=True, augment=augment) for chunk in (0, 2))
    for stage in (plain, cached):
        for module in stage.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(module, torch.nn.MultiheadAttention):
                module.dropout = 0.0
    assert step(plain)["loss"] == pytest.approx(step(cached)["loss"], rel=1e-5)
    wanted, found = gradients(plain), gradients(cached)
    assert wanted.keys() == found.keys()
    assert "log_scale" in wanted
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)


def test_augmentations_reach_both_modalities_in_training_alone():
    stage = make()
    changed = make(augment={"image": {"size": 24}, "spectrum": {"noise": 0.5}})
    assert changed.settings.augment == AugmentSettings(ImageAugmentation(size=24), SpectrumAugmentation(noise=0.5))
    after = augment(batch(), torch.Generator().manual_seed(0), changed.settings.augment)
    assert all(not torch.equal(after[name], value) for name, value in batch().items())
    for model in (stage.model, changed.model):
        model.eval()
    assert stage.columns == changed.columns == ("flux", "image", "ivar")
    losses = [float(one.validation_loss(batch(), torch.Generator()).detach()) for one in (stage, changed)]
    assert losses[0] == losses[1]


def test_starts_from_an_earlier_stage_and_stays_there_if_frozen(tmp_path):
    torch.manual_seed(5)
    alone = architecture.build({"encoder": SPECTRUM})
    path = save_model(tmp_path / "first.pt", "astroclip-encoder", alone.version, alone.config, alone.state_dict())
    stage = make(models={"first": path}, start={"spectrum": "first"}, frozen=["spectrum"], encoders={"image": IMAGE})
    encoder = stage.model.encoders["spectrum"].eval()
    assert torch.equal(encoder(batch()), alone.eval().embed(batch(), "spectrum"))
    step(stage)
    names = {name.split(".")[1] for name in gradients(stage) if name.startswith("encoders.")}
    assert names == {"image"}
    again = AlignStage(settings_from(AlignSettings, {**TABLE, "start": {"spectrum": str(path)}}, "x"), {})
    assert torch.equal(again.model.encoders["spectrum"].eval()(batch()), encoder(batch()))


def test_starts_from_an_aligned_model(tmp_path):
    first = make()
    name, version, config, weights = first.export()
    path = save_model(tmp_path / "aligned.pt", name, version, config, weights)
    second = AlignStage(settings_from(AlignSettings, {**TABLE, "start": {"image": str(path)}}, "x"), {})
    found, wanted = (one.model.encoders["image"].eval()(batch()) for one in (second, first))
    assert torch.equal(found, wanted)


def test_a_model_without_the_modality_is_refused(tmp_path):
    alone = architecture.build({"encoder": SPECTRUM})
    path = save_model(tmp_path / "first.pt", "another-architecture", 1, {}, alone.state_dict())
    with pytest.raises(EmbedderError, match="has no encoder of 'image'"):
        make(start={"image": str(path)})


def test_halves_share_no_pixel_and_count_each_once():
    given = batch(3)
    given["flux"], given["ivar"] = given["flux"][:, :69], given["ivar"][:, :69]
    given["ivar"][:, 50:60] = 0
    first, second = spectrum_halves(given)
    for half, own in ((first, slice(0, 68, 2)), (second, slice(1, 68, 2))):
        for name in ("flux", "ivar"):
            pairs = half[name][:, :68].reshape(3, 34, 2)
            assert torch.equal(pairs[..., 0], pairs[..., 1])
        assert torch.equal(half["flux"][:, own], given["flux"][:, own])
        assert torch.equal(half["ivar"][:, :68].reshape(3, 34, 2).sum(2), given["ivar"][:, own])
    assert torch.equal(first["flux"][:, 68], given["flux"][:, 68])


def test_halves_add_their_loss():
    metrics = step(make(halves=2.0))
    assert metrics["loss"] == pytest.approx(metrics["pairs_loss"] + 2 * metrics["halves_loss"], rel=1e-6)
    with pytest.raises(RecipeError, match="gradient caching"):
        make(halves=1.0, chunk=2)


def test_encoder_of_names_its_configuration(tmp_path):
    stage = make()
    path = save_model(tmp_path / "m.pt", *stage.export())
    from astroclip_bench.embedders.weights import read_model

    config, weights = encoder_of(read_model(path), "spectrum")
    assert config["name"] == "specformer"
    assert set(weights) == set(stage.model.encoders["spectrum"].state_dict())


def test_features_made_once_give_the_same_training(pairs, tmp_path, one_thread):
    """Losses, validation and weights; with heads that read a vector and heads that read tokens."""
    dataset = open_dataset(pairs)
    coarse = {"image": IMAGE, "spectrum": {**SPECTRUM, "length": 400, "overlap": 200}}
    ends = []
    for once in (False, True):
        stage = make(frozen=["image", "spectrum"], features_once=once, encoders=coarse)
        for module in stage.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(module, torch.nn.MultiheadAttention):
                module.dropout = 0.0
        splits = [
            open_split(dataset, name, stage.columns, DataSettings(), torch.device("cpu"))
            for name in ("train", "validation")
        ]
        splits = [stage.prepare(split, torch.device("cpu"), lambda done, total: None) for split in splits]
        settings = TrainSettings(steps=4, batch_size=16, precision="float32", log_every=1, validate_every=2)
        out = tmp_path / str(once)
        train(stage, StageData(splits[0], splits[1], None, dataset.digest), settings, out, seed=1, recipe_digest="r")
        logs = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        numbers = [entry[name] for entry in logs for name in ("loss", "validation_loss") if name in entry]
        ends.append((numbers, stage.model.state_dict(), splits[0].columns))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-5)
    assert len(ends[0][0]) == 6
    for name, value in ends[0][1].items():
        torch.testing.assert_close(ends[1][1][name], value, rtol=1e-4, atol=1e-5)
    assert ends[0][2] == ("flux", "image", "ivar")
    assert ends[1][2] == ("features of image", "features of spectrum")


def test_features_made_once_need_frozen_encoders_and_no_augmentation():
    with pytest.raises(RecipeError, match="frozen"):
        make(frozen=["image"], features_once=True)
    with pytest.raises(RecipeError, match="augmentation"):
        make(frozen=["image", "spectrum"], features_once=True, augment={"spectrum": {"noise": 0.1}})
