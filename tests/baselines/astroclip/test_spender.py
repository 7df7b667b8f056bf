"""Spender's spectrum encoder."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.records import N_WAVELENGTH
from baselines.astroclip.encoders import build_encoder

PUBLISHED_PARAMETERS = 3_159_046


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ivar = torch.ones(2, 800)
    ivar[:, 300:350] = 0
    return {"flux": 3.0 + torch.randn(2, 800, generator=generator), "ivar": ivar}


def build(**settings):
    torch.manual_seed(0)
    return build_encoder("spender", settings).eval()


def test_the_published_model_has_its_size_and_positions():
    model = build()
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED_PARAMETERS
    slopes = [module for module in model.modules() if isinstance(module, torch.nn.PReLU)]
    assert [slope.num_parameters for slope in slopes] == [128, 256, 512, 128, 64, 32]
    assert not any(key for key in model.state_dict() if "running" in key)
    spectra = {"flux": torch.randn(1, N_WAVELENGTH)}
    with torch.inference_mode():
        assert model.tokens(spectra).shape == (1, 142, 256)
        assert model.tokens({"flux": torch.randn(1, 3921)}).shape == (1, 72, 256)
        assert model(spectra).shape == (1, 6)


def test_the_scale_of_the_flux_is_all_but_lost(batch):
    model = build()
    latents = model(batch)
    changed = model({"flux": 20 * batch["flux"]})
    torch.testing.assert_close(changed, latents, atol=1e-4, rtol=0)
    assert not torch.allclose(model({"flux": batch["flux"].flip(1)}), latents, atol=3e-3)


def test_masked_pixels_do_not_matter_where_asked(batch):
    spoilt = dict(batch, flux=torch.where(batch["ivar"] > 0, batch["flux"], 1e3))
    aware = build(mask_ivar=True)
    torch.testing.assert_close(aware(spoilt), aware(batch))
    assert not torch.allclose(build()(spoilt), build()(batch))
    assert aware.columns == ("flux", "ivar")


def test_small_configuration(batch):
    config = {"latents": 3, "channels": [8, 16], "kernels": [5, 5], "pools": [5], "hidden": [8]}
    model = build(**config)
    assert model(batch).shape == (2, 3)
    assert model.tokens(batch).shape == (2, 160, 8)


def test_bins_are_means_of_neighbouring_pixels(batch):
    config = {"latents": 3, "channels": [8, 16], "kernels": [5, 5], "pools": [5], "hidden": [8]}
    binned = {"flux": batch["flux"].reshape(2, 200, 4).mean(2)}
    torch.testing.assert_close(build(**config, bin_pixels=4)(batch), build(**config)(binned))
