"""The causal spectrum transformer: what a token knows, its size, and its pre-training."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.errors import EmbedderError
from baselines.astroclip.encoders import build_encoder
from baselines.astroclip.inputs import PADDING
from baselines.astroclip_v1.stage import NextSliceSettings, NextSliceStage

SMALL = {"name": "spectrum-gpt", "width": 16, "depth": 2, "heads": 2, "length": 20, "overlap": 10, "mask_ivar": True}
PIXELS = 215


def spectra(n: int = 4) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    ivar = torch.ones(n, PIXELS)
    ivar[:, 30:75] = 0
    return {"flux": torch.randn(n, PIXELS).cumsum(1), "ivar": ivar}


def make(**changes) -> NextSliceStage:
    torch.manual_seed(1)
    stage = NextSliceStage(NextSliceSettings(**{"encoder": SMALL, **changes}))
    stage.model.eval()
    return stage


def small_encoder(name: str):
    torch.manual_seed(2)
    return build_encoder(name, {key: value for key, value in SMALL.items() if key != "name"}).eval()


@pytest.mark.parametrize("gradients", [True, False])
def test_a_token_does_not_depend_on_later_tokens(gradients):
    encoder = small_encoder("spectrum-gpt")
    slices = torch.randn(2, 12, PADDING + 20)
    changed = slices.clone()
    changed[:, 7:] += torch.randn(2, 5, PADDING + 20)
    with torch.set_grad_enabled(gradients):
        before, after = encoder.encode(slices), encoder.encode(changed)
    torch.testing.assert_close(after[:, :7], before[:, :7])
    assert ((after[:, 7:] - before[:, 7:]).abs().amax(dim=2) > 1e-3).all()
    masked = small_encoder("specformer")
    assert not torch.allclose(masked.encode(changed)[:, :7], masked.encode(slices)[:, :7], atol=1e-3)


def test_published_size_is_that_of_the_first_paper():
    with torch.device("meta"):
        sizes = [
            sum(values.numel() for values in build_encoder(name, {}).parameters())
            for name in ("spectrum-gpt", "specformer")
        ]
    assert sizes[0] == sizes[1] == pytest.approx(43.2e6, rel=2e-3)


def test_the_next_slice_is_compared_where_it_is_new():
    stage, batch = make(), spectra()
    slices = stage.encoder.slices(batch)
    found = stage.encoder.reconstruct(stage.encoder.encode(slices))
    expected = []
    for galaxy in range(len(slices)):
        errors = []
        for token in range(1, slices.shape[1]):
            for place in range(0 if token == 1 else 10, 20):
                if batch["ivar"][galaxy, 10 * (token - 1) + place] > 0:
                    difference = found[galaxy, token - 1, PADDING + place] - slices[galaxy, token, PADDING + place]
                    errors.append(float(difference.detach() ** 2))
        expected.append(sum(errors) / len(errors))
    with torch.no_grad():
        assert float(stage.loss(batch)) == pytest.approx(sum(expected) / len(expected), rel=1e-4)


def test_pixels_without_data_tell_nothing():
    stage, batch = make(), spectra()
    spoilt = {**batch, "flux": torch.where(batch["ivar"] > 0, batch["flux"], 1e6)}
    with torch.no_grad():
        torch.testing.assert_close(stage.loss(spoilt), stage.loss(batch))


def test_some_steps_predict_better():
    stage, batch = make(), spectra(16)
    optimiser = torch.optim.AdamW(stage.model.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        optimiser.zero_grad()
        losses.append(float(stage.step(batch, lambda loss: loss.backward(), step, torch.Generator())["loss"]))
        optimiser.step()
    assert losses[-1] < 0.3 * losses[0]


def test_another_encoder_is_refused():
    with pytest.raises(EmbedderError, match="specformer"):
        make(encoder={**SMALL, "name": "specformer"})
