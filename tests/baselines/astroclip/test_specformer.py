"""SpecFormer: its published size, tokens, and reconstruction."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import N_WAVELENGTH
from baselines.astroclip.encoders import build_encoder

MINI = {"width": 48, "depth": 2, "heads": 3}


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    flux = 3.0 + torch.randn(3, N_WAVELENGTH, generator=generator)
    ivar = torch.rand(3, N_WAVELENGTH, generator=generator)
    ivar[:, ::50] = 0
    return {"flux": flux, "ivar": ivar}


def mini(**settings):
    torch.manual_seed(0)
    return build_encoder("specformer", {**MINI, **settings}).eval()


def test_the_published_model_has_43_million_parameters():
    with torch.device("meta"):
        model = build_encoder("specformer", {})
    total = sum(parameter.numel() for parameter in model.parameters())
    block = 12 * 768**2 + 13 * 768  # attention and MLP with biases, two norms
    assert total == 6 * block + (22 + 1) * 768 + 800 * 768 + 2 * 768 + (768 + 1) * 22
    assert total == 43_177_750
    norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert [norm.eps for norm in norms] == [1e-5] * 13
    tokens = model.tokens({"flux": torch.empty(2, N_WAVELENGTH, device="meta")})
    assert tokens.shape == (2, 778, 768)
    assert model.reconstruct(tokens).shape == (2, 778, 22)


def test_its_embedding_is_the_mean_of_all_tokens(batch):
    model = mini()
    tokens = model.tokens(batch)
    assert tokens.shape == (3, 778, 48)
    torch.testing.assert_close(model(batch), tokens.mean(1))
    assert (model.modality, model.columns, model.width, model.dimension) == ("spectrum", ("flux",), 48, 48)


def test_the_published_model_ignores_ivar_and_the_aware_one_masked_pixels(batch):
    spoilt = dict(batch, flux=torch.where(batch["ivar"] > 0, batch["flux"], 50.0))
    published, aware = mini(), mini(mask_ivar=True)
    torch.testing.assert_close(aware(spoilt), aware(batch))
    assert not torch.allclose(published(spoilt), published(batch))
    assert torch.equal(published(batch), published({"flux": batch["flux"]}))
    assert aware.columns == ("flux", "ivar")
    torch.testing.assert_close(aware({"flux": batch["flux"]}), published({"flux": batch["flux"]}))


def test_every_token_knows_its_place_and_attends_to_all_others(batch):
    model = mini()
    slices = model.slices(batch)
    tokens = model.encode(slices)
    changed = slices.clone()
    changed[:, 500] = 3.0
    assert (model.encode(changed) - tokens).abs().amax(dim=(0, 2)).gt(0).all()
    repeated = model.encode(slices[:, 5:6].expand(-1, 10, -1))
    assert torch.pdist(repeated[0]).min() > 1e-2


def test_masked_slices_can_be_learned(batch):
    model = mini().train()
    slices = model.slices(batch)[:, :60]
    masked = slices.clone()
    masked[:, 20:30] = 0
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = (model.reconstruct(model.encode(masked)) - slices)[:, 20:30].square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_other_slices_and_too_many_tokens(batch):
    model = mini(length=40, overlap=0)
    assert model.tokens(batch).shape == (3, 1 + N_WAVELENGTH // 40, 48)
    with pytest.raises(EmbedderError, match=r"778 tokens.*at most 700"):
        mini(positions=700)(batch)
    with pytest.raises(EmbedderError, match="5 attention heads"):
        mini(heads=5)
