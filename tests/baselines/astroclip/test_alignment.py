"""The alignment model: its size, frozen parts, scale, and gradients."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import N_WAVELENGTH
from baselines.astroclip.alignment import MAX_SCALE, build

PUBLISHED = {
    "dimension": 1024,
    "encoders": {"image": {"name": "vit", "bare_tokens": True, "swap_axes": True}, "spectrum": {"name": "specformer"}},
    "heads": {"image": {"name": "cross-attention", "residual": False}, "spectrum": {"name": "cross-attention"}},
    "frozen": ["image", "spectrum"],
}
MINI = {
    "dimension": 16,
    "encoders": {
        "image": {"name": "vit", "width": 48, "depth": 2, "heads": 3, "crop": 36, "layer_scale": None},
        "spectrum": {"name": "specformer", "width": 48, "depth": 2, "heads": 3, "mask_ivar": True},
    },
    "heads": {"image": {"name": "cross-attention"}, "spectrum": {"name": "mlp", "hidden": [32]}},
}


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "image": 0.2 * torch.rand(3, 3, 40, 40, generator=generator),
        "flux": 3.0 + torch.randn(3, 500, generator=generator),
        "ivar": torch.ones(3, 500),
    }


def mini(**settings):
    torch.manual_seed(0)
    return build({**MINI, **settings})


def test_the_published_model_has_370_million_parameters():
    with torch.device("meta"):
        model = build(PUBLISHED)
        image = model.encode({"image": torch.empty(2, 3, 152, 152)}, "image")
        spectrum = model.encode({"flux": torch.empty(2, N_WAVELENGTH)}, "spectrum")
    assert image.shape == spectrum.shape == (2, 1024)
    assert int(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == 370
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained == sum(parameter.numel() for parameter in model.heads.parameters()) == 24_666_112


@pytest.mark.parametrize("modality", ["image", "spectrum"])
def test_embeddings_are_unit_vectors_of_what_encode_gives(batch, modality):
    model = mini().eval()
    vectors = model.encode(batch, modality)
    embedded = model.embed(batch, modality)
    assert vectors.shape == (3, 16)
    torch.testing.assert_close(embedded, vectors / vectors.norm(dim=1, keepdim=True))
    assert embedded.dtype == torch.float32
    assert torch.equal(model(batch, modality), vectors)
    assert torch.pdist(embedded).min() > 1e-4


def test_frozen_encoders_stay_in_evaluation_and_get_no_gradient(batch):
    model = mini(frozen=["image"]).train()
    assert not any(part.training for part in model.encoders["image"].modules())
    assert model.encoders["spectrum"].training
    assert model.heads["image"].training
    assert not model.features(batch, "image").requires_grad
    (model.encode(batch, "image").sum() + model.encode(batch, "spectrum").sum()).backward()
    assert all(parameter.grad is None for parameter in model.encoders["image"].parameters())
    assert model.heads["image"].query.grad.abs().sum() > 0
    assert model.encoders["spectrum"].embed.weight.grad.abs().sum() > 0


def test_training_reaches_every_part_unless_frozen(batch):
    model = mini()
    (model.encode(batch, "image").square().sum() + model.encode(batch, "spectrum").square().sum()).backward()
    idle = {name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None}
    assert idle == {"encoders.spectrum.head.weight", "encoders.spectrum.head.bias"}  # reconstruction alone uses it


def test_scale_is_fixed_or_learned():
    fixed, learned = mini(), mini(learn_scale=True, scale=10.0)
    torch.testing.assert_close(fixed.scale, torch.tensor(15.5))
    assert not fixed.scale.requires_grad
    learned.scale.backward()
    torch.testing.assert_close(learned.log_scale.grad, torch.tensor(10.0))
    with torch.no_grad():
        learned.log_scale.fill_(9.0)
    learned.limit_scale()
    assert learned.scale.item() == pytest.approx(MAX_SCALE)
    learned.log_scale.grad = None
    learned.scale.backward()
    assert learned.log_scale.grad > 0  # it can come back
    assert fixed.state_dict().keys() == learned.state_dict().keys()


def test_its_config_rebuilds_it(batch):
    model = mini(frozen=["spectrum"], scale=12.0).eval()
    again = build(model.config)
    again.load_state_dict(model.state_dict())
    assert again.config == model.config
    assert torch.equal(again.eval().embed(batch, "spectrum"), model.embed(batch, "spectrum"))
    assert (again.frozen, model.config["encoders"]["image"]["patch"]) == (("spectrum",), 12)


def test_any_number_of_modalities(batch):
    one = {"encoders": {"spectrum": MINI["encoders"]["spectrum"]}, "heads": {"spectrum": {"name": "mlp"}}}
    model = mini(**one)
    assert model.modalities == ("spectrum",)
    assert model.encode(batch, "spectrum").shape == (3, 16)


def test_refuses_what_does_not_fit(batch):
    with pytest.raises(EmbedderError, match="did you mean encoders"):
        mini(encoder={})
    with pytest.raises(EmbedderError, match="lacks the setting 'dimension'"):
        build({key: value for key, value in MINI.items() if key != "dimension"})
    with pytest.raises(EmbedderError, match="encoder 'vit' stands under modality 'spectrum'"):
        mini(encoders={"spectrum": MINI["encoders"]["image"]})
    with pytest.raises(EmbedderError, match="encoder of 'image' has no name"):
        mini(encoders={"image": {}})
    with pytest.raises(EmbedderError, match="heads lack"):
        mini(heads={"image": {"name": "mlp"}})
    with pytest.raises(EmbedderError, match="frozen name"):
        mini(frozen=["images"])
    with pytest.raises(EmbedderError, match="unknown encoder 'spectformer'; did you mean specformer"):
        mini(encoders={"spectrum": {"name": "spectformer"}})
    with pytest.raises(EmbedderError, match="no modality 'images'; did you mean image"):
        mini().embed(batch, "images")
