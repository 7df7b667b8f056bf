"""Masked pre-training: what the loss compares, and that it falls."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.errors import EmbedderError
from baselines.astroclip.inputs import PADDING
from baselines.astroclip.masked import MaskedSettings, MaskedStage, masked_error, sliced_good

SMALL = {"name": "specformer", "width": 16, "depth": 1, "heads": 2, "length": 20, "overlap": 10, "mask_ivar": True}
PIXELS = 215


def spectra(n: int = 4) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    flux = torch.randn(n, PIXELS).cumsum(1)
    ivar = torch.ones(n, PIXELS)
    ivar[:, 30:75] = 0
    return {"flux": flux, "ivar": ivar}


def make(**changes) -> MaskedStage:
    torch.manual_seed(1)
    return MaskedStage(MaskedSettings(**{"encoder": SMALL, "chunks": 2, "chunk_tokens": 4, **changes}))


def loss(stage: MaskedStage, batch, seed: int = 0) -> float:
    with torch.no_grad():
        return float(stage.validation_loss(batch, torch.Generator().manual_seed(seed)))


def test_error_is_the_mean_of_each_galaxys_own():
    torch.manual_seed(2)
    found, wanted = torch.randn(2, 3, 5, 6)
    compared = torch.rand(3, 5, 6) < 0.4
    compared[2] = False
    own = [((found[i] - wanted[i])[compared[i]] ** 2).mean() for i in range(2)]
    assert float(masked_error(found, wanted, compared)) == pytest.approx(float(sum(own)) / 3)


def test_good_values_follow_the_slices():
    batch = spectra(1)
    good = sliced_good(batch["flux"], batch["ivar"], 20, 10)[0]
    assert good.shape == (1 + (PIXELS - 20) // 10 + 1, PADDING + 20)
    assert good[0].all()
    for token in range(1, len(good)):
        for place in range(20):
            assert good[token, PADDING + place] == batch["ivar"][0, 10 * (token - 1) + place]


def test_pixels_without_data_tell_nothing():
    batch, stage = spectra(), make()
    spoiled = {**batch, "flux": torch.where(batch["ivar"] > 0, batch["flux"], 1e6)}
    for seed in range(5):
        assert loss(stage, spoiled, seed) == pytest.approx(loss(stage, batch, seed), rel=1e-6)
    deaf = make(encoder={**SMALL, "mask_ivar": False}, ignore_bad=False)
    assert loss(deaf, spoiled) != pytest.approx(loss(deaf, batch), rel=0.1)


def test_published_loss_is_the_mean_over_the_masked_tokens():
    from baselines.astroclip.augment_spectrum import chunk_mask

    batch, stage = spectra(), make(encoder={**SMALL, "mask_ivar": False}, ignore_bad=False)
    slices = stage.encoder.slices(batch)
    mask = chunk_mask(len(slices), slices.shape[1], torch.Generator().manual_seed(3), 2, 4)
    assert (mask.sum(1) == 8).all()
    with torch.no_grad():
        hidden = torch.where(mask[..., None], 0.0, slices)
        found = stage.encoder.reconstruct(stage.encoder.encode(hidden))
    wanted = (found - slices)[mask].square().mean()
    assert loss(stage, batch, 3) == pytest.approx(float(wanted), rel=1e-5)


def test_loss_falls():
    batch, stage = spectra(8), make()
    optimiser = torch.optim.Adam(stage.model.parameters(), 3e-3)
    before = loss(stage, batch)
    for step in range(40):
        optimiser.zero_grad()
        metrics = stage.step(batch, torch.Tensor.backward, step, torch.Generator().manual_seed(step))
        optimiser.step()
    assert loss(stage, batch) < 0.6 * before
    assert not metrics["loss"].requires_grad


def test_other_encoders_are_refused():
    with pytest.raises(EmbedderError, match="'specformer'"):
        MaskedStage(MaskedSettings(encoder={"name": "spender"}))
