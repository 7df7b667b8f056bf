"""Stein's image encoder."""

from __future__ import annotations

import torch

from baselines.astroclip.encoders import build_encoder
from baselines.astroclip.inputs import stein_rgb


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_model_is_a_resnet50_with_two_projection_layers():
    with torch.device("meta"):
        model = build_encoder("stein", {"projection": True})
        assert count(build_encoder("stein", {})) == count(model.backbone) == 23_508_032
    assert count(model.fc) == 2049 * 2048 + 2049 * 128
    image = {"image": torch.empty(2, 3, 152, 152, device="meta")}
    features = model(image)
    assert features.shape == (2, 2048)
    assert model.project(features).shape == (2, 128)
    assert model.tokens(image).shape == (2, 9, 2048)


def test_it_sees_its_own_colours_of_the_centre():
    model = build_encoder("stein", {"backbone": "resnet10t", "crop": 64}).eval()
    image = torch.rand(2, 3, 80, 80)
    features = model({"image": image})
    torch.testing.assert_close(features, model.backbone(stein_rgb(image[:, :, 8:72, 8:72])))
    torch.testing.assert_close(features, model.tokens({"image": image}).mean(1), atol=1e-5, rtol=1e-5)
