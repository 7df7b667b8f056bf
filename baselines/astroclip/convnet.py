"""A small convolutional spectrum encoder for few galaxies and few cores: it knows that a redshift is a shift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from astroclip_bench.records import N_WAVELENGTH
from baselines.astroclip.encoders import Encoder
from baselines.astroclip.log_bins import CHANNELS, LogBins


class SpectrumConvNet(Encoder):
    """Strided convolutions along log wavelength, read out both by place and by attention.

    A redshift moves every line by the same number of bins. Reading the last map out place by place keeps where the
    lines are; reading it out by a softmax along wavelength (as in Melchior et al. 2023) keeps what they are. Beside
    both go the fluxes of broad bands. Inverse variances weigh the pixels of a bin, and give the lines their
    significance.

    Parameters
    ----------
    channels, strides, kernel
        Of the convolutions; the kernel, bins, is odd.
    place_channels
        Values that are kept of each place.
    pixels
        Length of the spectra.
    """

    modality = "spectrum"
    columns = ("flux", "ivar")

    def __init__(
        self,
        *,
        channels: Sequence[int] = (48, 64, 128, 128),
        strides: Sequence[int] = (4, 2, 2, 1),
        kernel: int = 9,
        place_channels: int = 8,
        pixels: int = N_WAVELENGTH,
    ) -> None:
        super().__init__()
        self.bins = LogBins(pixels)
        length = self.bins.bins
        layers: list[nn.Module] = []
        for (inputs, outputs), stride in zip(pairwise((CHANNELS, *channels)), strides, strict=True):
            # Two-dimensional convolutions of height one: on CPUs they have the faster kernels.
            layers += [
                nn.Conv2d(inputs, outputs, (1, kernel), (1, stride), (0, kernel // 2), bias=False),
                nn.BatchNorm2d(outputs),
                nn.GELU(),
            ]
            length = -(-length // stride)
        self.backbone = nn.Sequential(*layers)
        self.width = channels[-1]
        self.place = nn.Conv2d(self.width, place_channels, 1)
        self.attention = nn.Conv2d(self.width, 2 * self.width, 1)
        self.standardise = nn.BatchNorm1d(self.bins.features, affine=False)
        self.dimension = place_channels * length + self.width + self.bins.features
        self.preprocessing = self.bins.description

    def _maps(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the last maps (n, width, 1, places) and the broad-band features (n, features)."""
        channels, features = self.bins(batch["flux"], batch["ivar"])
        dtype = self.place.weight.dtype
        maps = channels.to(dtype)[:, :, None].contiguous(memory_format=torch.channels_last)
        return self.backbone(maps), self.standardise(features.to(dtype))

    def tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the places of the last map (n, places, width)."""
        return self._maps(batch)[0].flatten(2).transpose(1, 2)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return places, attended values and broad-band fluxes (n, dimension) of ``flux`` and ``ivar`` (n, pixels)."""
        maps, features = self._maps(batch)
        values, scores = self.attention(maps).flatten(2).chunk(2, dim=1)
        attended = (values * scores.softmax(dim=-1)).sum(-1)
        places = functional.gelu(self.place(maps)).flatten(1)
        return torch.cat([places, attended, features], dim=1)
