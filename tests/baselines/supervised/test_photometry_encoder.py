"""Magnitudes and colours as a network's input."""

from __future__ import annotations

import torch

from astroclip_bench.embedders.builtin import asinh_magnitude
from baselines.astroclip.encoders import build_encoder


def test_features_are_standardised_magnitudes_and_colours():
    flux = {
        f"flux_{band}": torch.rand(50, generator=torch.Generator().manual_seed(k)) * 40 for k, band in enumerate("ugr")
    }
    encoder = build_encoder("photometry", {"bands": ["u", "g", "r"]})
    assert encoder.dimension == 5
    features = encoder.train()(flux)
    u, g, r = (torch.from_numpy(asinh_magnitude(flux[f"flux_{band}"])).float() for band in "ugr")
    for place, wanted in enumerate([u, g, r, u - g, g - r]):
        standard = (wanted - wanted.mean()) / wanted.std(unbiased=False)
        torch.testing.assert_close(features[:, place], standard, atol=2e-3, rtol=0)
    assert encoder.tokens(flux).shape == (50, 1, 5)


def test_the_configuration_rebuilds_it():
    encoder = build_encoder("photometry", {"bands": ["g", "r"]})
    assert encoder.config == {"name": "photometry", "bands": ["g", "r"]}
    assert encoder.columns == ("flux_g", "flux_r")
