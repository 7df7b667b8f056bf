"""The vision transformer and other timm backbones as image encoders."""

from __future__ import annotations

import math

import pytest
import torch

from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import PIXEL_SCALE_ARCSEC
from baselines.astroclip import image_transformer
from baselines.astroclip.encoders import build_encoder
from baselines.astroclip.image_transformer import APERTURE_SOFTENING_NMGY, ApertureFluxes

MINI = {"width": 48, "depth": 2, "heads": 3, "crop": 36}
"""Nine patches of 12 pixels."""


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    return {"image": 0.2 * torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(1))}


def mini(**settings):
    torch.manual_seed(0)
    return build_encoder("vit", {**MINI, "layer_scale": 0.5, **settings}).eval()


def test_the_published_model_has_302_million_parameters():
    with torch.device("meta"):
        model = build_encoder("vit", {})
    total = sum(parameter.numel() for parameter in model.parameters())
    block = 12 * 1024**2 + 13 * 1024 + 2 * 1024  # attention and MLP with biases, two norms, two layer scales
    assert total == 24 * block + (3 * 12 * 12 + 1) * 1024 + 1024 + 145 * 1024 + 2 * 1024
    assert int(total / 1e6) == 302
    norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert [norm.eps for norm in norms] == [1e-6] * 49
    image = {"image": torch.empty(2, 3, 152, 152, device="meta")}
    assert model.tokens(image).shape == (2, 145, 1024)
    assert model(image).shape == (2, 1024)


def test_its_embedding_is_the_class_token(batch):
    model = mini()
    tokens = model.tokens(batch)
    assert tokens.shape == (3, 10, 48)
    torch.testing.assert_close(model(batch), tokens[:, 0])
    assert (model.modality, model.columns, model.width, model.dimension) == ("image", ("image",), 48, 48)


def test_bare_tokens_are_patch_embedding_blocks_and_norm(batch):
    model, bare = mini(), mini(bare_tokens=True)
    pieces = model.input(batch["image"]).unfold(2, 12, 12).unfold(3, 12, 12)  # (n, 3, rows, columns, 12, 12)
    pieces = pieces.permute(0, 2, 3, 1, 4, 5).reshape(3, 9, -1)
    projection = model.backbone.patch_embed.proj
    tokens = pieces @ projection.weight.flatten(1).T + projection.bias
    for block in model.backbone.blocks:
        tokens = block(tokens)
    torch.testing.assert_close(bare.tokens(batch), model.backbone.norm(tokens), atol=1e-5, rtol=1e-5)
    assert bare.tokens(batch).shape == (3, 9, 48)
    torch.testing.assert_close(bare(batch), model(batch))  # its own embedding keeps class token and positions


def test_bare_tokens_do_not_depend_on_the_place_of_a_patch(batch):
    swapped, turned = mini(bare_tokens=True, swap_axes=True), {"image": batch["image"].transpose(2, 3)}
    torch.testing.assert_close(swapped.tokens(turned), mini(bare_tokens=True).tokens(batch))
    flipped = {"image": torch.roll(batch["image"][:, :, 2:38, 2:38], 12, dims=3)}
    one, other = (mini(bare_tokens=True).tokens(each).mean(1) for each in (batch, flipped))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(mini()(batch), mini()(flipped), atol=1e-3)


def test_masked_patches_are_replaced_before_positions(batch):
    model = mini()
    planes = model.input(batch["image"])
    mask = torch.zeros(3, 3, 3, dtype=torch.bool)
    mask[:, 1, 2] = True
    token = torch.ones(48)
    spoilt = planes.clone()
    spoilt[:, :, 12:24, 24:36] = 9.0
    masked = model.encode(planes, mask, token)
    torch.testing.assert_close(masked, model.encode(spoilt, mask, token))
    assert not torch.allclose(masked, model.encode(planes))
    assert torch.equal(model.encode(planes, ~mask & mask, token), model.encode(planes))


def test_smaller_crops_resample_the_positions(batch):
    model = mini()
    assert model.encode(model.input.planes(batch["image"][:, :, :24, :24])).shape == (3, 5, 48)
    assert model.prefix_tokens == 1


def test_batch_rows_are_independent(batch):
    model = mini()
    alone = torch.cat([model({"image": batch["image"][row : row + 1]}) for row in range(3)])
    torch.testing.assert_close(alone, model(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "crop", "places"), [("resnet10t", 64, 4), ("convnext_atto", 64, 4), ("test_vit", 160, 101)]
)
def test_any_timm_backbone_gives_pooled_features_and_tokens(backbone, crop, places):
    batch = {"image": torch.rand(2, 3, crop, crop)}
    model = build_encoder("timm", {"backbone": backbone, "crop": crop}).eval()
    assert model(batch).shape == (2, model.dimension)
    assert model.tokens(batch).shape == (2, places, model.width)


def test_channels_last_maps_become_tokens():
    options = {"img_size": 64, "window_size": 2, "embed_dim": 24, "depths": [1, 1], "num_heads": [1, 2]}
    config = {"backbone": "swin_tiny_patch4_window7_224", "crop": 64, "options": options}
    model = build_encoder("timm", config).eval()
    tokens = model.tokens({"image": torch.rand(2, 3, 64, 64)})
    assert tokens.shape == (2, 64, 48)
    assert model.width == 48


def test_fluxes_in_apertures_are_those_of_discs():
    fluxes = ApertureFluxes((2.0, 5.0), 64).eval()
    image = torch.full((2, 3, 70, 70), 0.01) * torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    image[1, :, :3] = torch.nan  # outside the crop
    areas = math.pi * torch.tensor([2.0, 5.0]).square() / PIXEL_SCALE_ARCSEC**2
    expected = torch.asinh(0.01 * torch.tensor([1.0, 2.0, 3.0])[:, None] * areas / APERTURE_SOFTENING_NMGY)
    torch.testing.assert_close(fluxes(image), expected.flatten().expand(2, -1), rtol=5e-3, atol=0)


def test_apertures_stand_beside_the_pooled_features():
    batch = {"image": torch.rand(2, 3, 64, 64)}
    options = {"channels": [8, 8, 16, 16], "stem_type": "", "stem_width": 8}
    config = {"backbone": "resnet10t", "crop": 64, "stem_pool": False, "options": options}
    torch.manual_seed(0)
    plain = build_encoder("timm", config).eval()
    torch.manual_seed(0)
    model = build_encoder("timm", {**config, "apertures": [1.0, 3.0, 5.0]}).eval()
    assert plain.tokens(batch).shape == (2, 16, 16)  # a quarter of the places with the pooling
    assert model.dimension == plain.dimension + 9
    torch.testing.assert_close(model(batch)[:, : plain.dimension], plain(batch))
    assert model.config["apertures"] == [1.0, 3.0, 5.0]
    assert "arcsec" in model.preprocessing


def test_pre_trained_weights_are_fetched_once(monkeypatch):
    asked = []
    create = image_transformer._create

    def fake(name, pretrained, **options):
        asked.append(pretrained)
        return create(name, False, **options)

    monkeypatch.setattr(image_transformer, "_create", fake)
    first = build_encoder("vit", {**MINI, "pretrained": True})
    settings = {key: value for key, value in first.config.items() if key != "name"}
    again = build_encoder("vit", settings)
    again.load_state_dict(first.state_dict())
    assert asked == [True, False]


def test_refuses_what_timm_does_not_have():
    with pytest.raises(EmbedderError, match="did you mean"):
        build_encoder("timm", {"backbone": "resnet19"})
    with pytest.raises(EmbedderError, match="no class token"):
        mini(backbone="vit_medium_patch16_gap_256")
    with pytest.raises(EmbedderError, match="timm cannot make"):
        build_encoder("timm", {"options": {"widht": 3}})
    with pytest.raises(EmbedderError, match="did you mean patch"):
        mini(patches=3)
