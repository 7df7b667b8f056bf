"""Spender's spectrum encoder (Melchior et al. 2023, AJ 166, 74, section 3.1): convolutions and attention to pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.astroclip.encoders import Encoder
from baselines.astroclip.inputs import fill_spectrum


class SpenderEncoder(Encoder):
    """Three convolutions, half of whose channels weigh the other half along wavelength, and an MLP.

    The norms take scale and offset off every channel, so the absolute flux is all but lost.

    Parameters
    ----------
    latents
        Components of its own embedding.
    channels, kernels, pools
        Of the convolutions; after each but the last comes a pooling by that many pixels.
    hidden
        Sizes of the MLP's hidden layers.
    dropout
        After each convolution and layer, while training.
    mask_ivar
        Replace pixels of inverse variance 0 by the spectrum's mean; the published model takes all.
    bin_pixels
        Mean of so many neighbouring pixels as one; the published model sees every pixel.
    read_out
        What its own embedding is: the ``latents`` or, before the MLP, the ``attended`` values (channels[-1] / 2).
    """

    modality = "spectrum"

    def __init__(
        self,
        *,
        latents: int = 6,
        channels: Sequence[int] = (128, 256, 512),
        kernels: Sequence[int] = (5, 11, 21),
        pools: Sequence[int] = (5, 11),
        hidden: Sequence[int] = (128, 64, 32),
        dropout: float = 0.0,
        mask_ivar: bool = False,
        bin_pixels: int = 1,
        read_out: Literal["latents", "attended"] = "latents",
    ) -> None:
        super().__init__()
        self.width, self.mask_ivar, self.read_out = channels[-1] // 2, mask_ivar, read_out
        self.dimension = latents if read_out == "latents" else self.width
        self.bin_pixels = bin_pixels
        self.columns = ("flux", "ivar") if mask_ivar else ("flux",)
        parts = ["flux as it is", "pixels of ivar 0 set to the mean" if mask_ivar else "ivar unused"]
        self.preprocessing = ", ".join(parts + [f"means of {bin_pixels} pixels"] * (bin_pixels > 1))
        self.convolutions = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2),
                nn.InstanceNorm1d(outputs),
                nn.PReLU(outputs),
                nn.Dropout(dropout),
            )
            for inputs, outputs, kernel in zip((1, *channels), channels, kernels, strict=False)
        )
        self.pools = nn.ModuleList([*(nn.MaxPool1d(pool, padding=pool // 2) for pool in pools), nn.Identity()])
        layers: list[nn.Module] = []
        for inputs, outputs in zip((self.width, *hidden), hidden, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.PReLU(outputs), nn.Dropout(dropout)]
        self.mlp = nn.Sequential(*layers, nn.Linear((self.width, *hidden)[-1], latents))

    def _maps(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return values and attention scores, (n, width, positions) each."""
        maps = fill_spectrum(batch["flux"], batch.get("ivar") if self.mask_ivar else None)[:, None]
        maps = functional.avg_pool1d(maps, self.bin_pixels)
        with torch.autocast(maps.device.type, enabled=False):
            # Until the first norm has taken off the level, lines are a small part of the flux: too small for bfloat16.
            maps = self.pools[0](self.convolutions[0](maps))
        for convolution, pool in zip(self.convolutions[1:], self.pools[1:], strict=True):
            maps = pool(convolution(maps))
        values, scores = maps.chunk(2, dim=1)
        return values, scores

    def tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the values at each position before attention, (n, 142, 256) of 7781 pixels."""
        return self._maps(batch)[0].transpose(1, 2)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return what is read out (n, dimension) of ``flux`` (n, p) and, where used, ``ivar`` (n, p)."""
        values, scores = self._maps(batch)
        attended = (values * scores.softmax(dim=-1)).sum(-1)
        if self.read_out == "attended":
            return attended
        latents: Tensor = self.mlp(attended)
        return latents
