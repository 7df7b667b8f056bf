"""The transformer over spectra in logarithmic bins."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import N_WAVELENGTH
from baselines.astroclip.encoders import build_encoder

SMALL = {"width": 16, "depth": 2, "heads": 2, "length": 20, "pixels": 800}


def build(**settings):
    torch.manual_seed(0)
    return build_encoder("logformer", settings).eval()


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ivar = torch.ones(3, 800)
    ivar[:, 300:350] = 0
    return {"flux": 3.0 + torch.randn(3, 800, generator=generator), "ivar": ivar}


def test_shapes_and_size():
    model = build()
    with torch.inference_mode():
        spectra = {"flux": torch.randn(2, N_WAVELENGTH), "ivar": torch.ones(2, N_WAVELENGTH)}
        assert model.tokens(spectra).shape == (2, 201, 384)
    block = 12 * 384**2 + 13 * 384
    embedding = (21 + 1) * 384 + (40 + 1) * 384 + 201 * 384
    assert sum(parameter.numel() for parameter in model.parameters()) == 6 * block + embedding + 2 * 384


def test_masked_pixels_do_not_matter(batch):
    model = build(**SMALL)
    spoilt = dict(batch, flux=torch.where(batch["ivar"] > 0, batch["flux"], torch.nan))
    torch.testing.assert_close(model(spoilt), model(batch))
    assert model(batch).shape == (3, 16)


def test_a_redshift_by_one_slice_moves_the_tokens_by_one():
    model = build(**SMALL)
    bins = torch.randn(1, 4, model.bins.bins)
    one, other = (values.unflatten(2, (-1, 20)).transpose(1, 2).flatten(2) for values in (bins, bins.roll(20, 2)))
    torch.testing.assert_close(model.embed(other)[:, 1:], model.embed(one)[:, :-1])


def test_gradients_reach_every_parameter(batch):
    model = build(**SMALL).train()
    model(batch).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"length": 7}])
def test_sizes_that_do_not_fit_are_refused(wrong):
    with pytest.raises(EmbedderError, match="divide"):
        build(**{**SMALL, **wrong})


def test_another_length_is_refused(batch):
    with pytest.raises(EmbedderError, match=r"800 pixels; expected 7781"):
        build()(batch)
