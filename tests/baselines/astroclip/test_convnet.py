"""The convolutional spectrum encoder."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import N_WAVELENGTH
from baselines.astroclip.encoders import build_encoder

SMALL = {"channels": [8, 12], "strides": [4, 4], "kernel": 5, "place_channels": 2, "pixels": 800}


def build(**settings):
    torch.manual_seed(0)
    return build_encoder("convnet", settings).eval()


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ivar = torch.ones(3, 800)
    ivar[:, 300:350] = 0
    return {"flux": 3.0 + torch.randn(3, 800, generator=generator), "ivar": ivar}


def test_shapes_and_size():
    model = build()
    spectra = {"flux": torch.randn(2, N_WAVELENGTH), "ivar": torch.ones(2, N_WAVELENGTH)}
    with torch.inference_mode():
        assert model.tokens(spectra).shape == (2, 125, model.width)
        assert model(spectra).shape == (2, model.dimension) == (2, 8 * 125 + 128 + 21)
    convolutions = 9 * (4 * 48 + 48 * 64 + 64 * 128 + 128 * 128) + 2 * (48 + 64 + 128 + 128)
    read_out = (128 + 1) * 8 + (128 + 1) * 256
    assert sum(parameter.numel() for parameter in model.parameters()) == convolutions + read_out


def test_small_configuration_is_rebuilt_from_its_own(batch):
    model = build(**SMALL)
    again = build_encoder(model.config["name"], {key: model.config[key] for key in model.config if key != "name"})
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.eval()(batch), model(batch))


def test_masked_pixels_do_not_matter(batch):
    model = build(**SMALL)
    spoilt = dict(batch, flux=torch.where(batch["ivar"] > 0, batch["flux"], torch.nan))
    torch.testing.assert_close(model(spoilt), model(batch))
    noisier = dict(batch, ivar=batch["ivar"] / 9)
    assert not torch.allclose(model(noisier), model(batch), atol=1e-3)


def test_gradients_reach_every_parameter(batch):
    model = build(**SMALL).train()
    model(batch).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_another_length_is_refused(batch):
    with pytest.raises(EmbedderError, match=r"800 pixels; expected 7781"):
        build()(batch)
