"""Magnitudes and colours as an encoder: what a network sees of total fluxes alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from astroclip_bench.embedders.builtin import SOFTENING_NMGY, ZERO_POINT_MAG
from baselines.astroclip.encoders import Encoder


class PhotometryEncoder(Encoder):
    """Asinh magnitudes and the colours of neighbouring bands, each standardised; nothing is learnt but their spread.

    Parameters
    ----------
    bands
        Names of the bands from blue to red; columns ``flux_<band>`` (n,) in nanomaggies are read.
    """

    modality = "photometry"

    def __init__(self, *, bands: Sequence[str] = ("g", "r", "z")) -> None:
        super().__init__()
        self.columns = tuple(f"flux_{band}" for band in bands)
        self.width = self.dimension = 2 * len(bands) - 1
        self.preprocessing = (
            f"asinh magnitudes of {', '.join(bands)} (softening {SOFTENING_NMGY:g} nmgy) and the colours of neighbours, "
            "standardised"
        )
        self.standardise = nn.BatchNorm1d(self.dimension, affine=False)

    def tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the features as one token (n, 1, dimension)."""
        features: Tensor = self(batch)
        return features[:, None]

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return magnitudes, then colours, (n, dimension) of the flux columns (n,)."""
        flux = torch.stack([batch[name] for name in self.columns], dim=1)
        with torch.autocast(flux.device.type, enabled=False):
            softened = torch.asinh(flux.float() / (2 * SOFTENING_NMGY)) + math.log(SOFTENING_NMGY)
            magnitude = ZERO_POINT_MAG - 2.5 / math.log(10) * softened
            features = torch.cat([magnitude, magnitude[:, :-1] - magnitude[:, 1:]], dim=1)
            standardised: Tensor = self.standardise(features)
        return standardised
