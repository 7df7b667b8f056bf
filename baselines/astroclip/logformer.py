"""A transformer over spectra in logarithmic bins: SpecFormer's blocks on what `convnet` reads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import N_WAVELENGTH
from astroclip_bench.timm_compat import import_timm
from baselines.astroclip.encoders import Encoder
from baselines.astroclip.log_bins import BAND_BINS, CHANNELS, LogBins


class LogFormer(Encoder):
    """Pre-norm transformer whose tokens are slices of a spectrum in bins of equal velocity.

    The first token holds the fluxes of broad bands. A redshift moves a line from one place to the next and leaves its
    shape, and the channels tell a line from noise: both must be learned by SpecFormer, which sees standardised flux on
    a linear grid. Its own embedding is the mean over all tokens.

    Parameters
    ----------
    width, depth, heads
        Of the transformer.
    length
        Bins of a slice; a divisor of 100.
    drop_path
        Largest probability of leaving a residual branch out, while training.
    pixels
        Length of the spectra.
    """

    modality = "spectrum"
    columns = ("flux", "ivar")

    def __init__(
        self,
        *,
        width: int = 384,
        depth: int = 6,
        heads: int = 6,
        length: int = 10,
        drop_path: float = 0.0,
        pixels: int = N_WAVELENGTH,
    ) -> None:
        super().__init__()
        if width % heads or BAND_BINS % length:
            raise EmbedderError(
                f"width {width}, {heads} heads, slices of {length} bins",
                f"a width that the heads divide, and slices that divide {BAND_BINS}",
            )
        self.width = self.dimension = width
        self.length = length
        self.bins = LogBins(pixels)
        self.preprocessing = f"{self.bins.description}, slices of {length} bins"
        self.standardise = nn.BatchNorm1d(self.bins.features, affine=False)
        self.first = nn.Linear(self.bins.features, width)
        self.embed = nn.Linear(CHANNELS * length, width)
        self.position = nn.Parameter(0.02 * torch.randn(1 + self.bins.bins // length, width))
        block = import_timm().models.vision_transformer.Block
        rates = [drop_path * number / max(depth - 1, 1) for number in range(depth)]
        self.blocks = nn.Sequential(*(block(width, heads, qkv_bias=True, drop_path=rate) for rate in rates))
        self.norm = nn.LayerNorm(width)

    def tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the tokens (n, 1 + slices, width) of ``flux`` and ``ivar`` (n, pixels)."""
        channels, features = self.bins(batch["flux"], batch["ivar"])
        dtype = self.embed.weight.dtype
        slices = channels.to(dtype).unflatten(2, (-1, self.length)).transpose(1, 2).flatten(2)
        first = functional.gelu(self.first(self.standardise(features.to(dtype))))
        tokens: Tensor = self.norm(self.blocks(torch.cat([first[:, None], self.embed(slices)], 1) + self.position))
        return tokens

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the mean (n, width) over the tokens."""
        return self.tokens(batch).mean(1)
