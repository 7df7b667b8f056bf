"""SpecFormer (Parker et al. 2024, section 4.2): a transformer over overlapping slices of a spectrum."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from astroclip_bench.errors import EmbedderError
from astroclip_bench.timm_compat import import_timm
from baselines.astroclip.encoders import Encoder
from baselines.astroclip.inputs import PADDING, slice_spectrum, standardise_spectrum


class SpecFormer(Encoder):
    """Pre-norm transformer whose tokens are slices of a standardised spectrum behind its mean and deviation.

    Its own embedding is the mean over all tokens.

    Parameters
    ----------
    width, depth, heads
        Of the transformer.
    length, overlap
        Pixels of a slice, and how many of them the next one shares.
    positions
        Most tokens it takes (one learned vector each).
    dropout
        After the embedding, the attention and the MLPs, while training.
    mask_ivar
        Leave pixels of inverse variance 0 out of the statistics and set them to 0; the published model takes all.
    """

    modality = "spectrum"

    def __init__(
        self,
        *,
        width: int = 768,
        depth: int = 6,
        heads: int = 6,
        length: int = 20,
        overlap: int = 10,
        positions: int = 800,
        dropout: float = 0.0,
        mask_ivar: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise EmbedderError(f"{heads} attention heads for width {width}", "a number that divides it")
        self.width = self.dimension = width
        self.length, self.overlap, self.mask_ivar = length, overlap, mask_ivar
        self.columns = ("flux", "ivar") if mask_ivar else ("flux",)
        masked = "pixels of ivar 0 masked" if mask_ivar else "ivar unused"
        self.preprocessing = f"z-score ({masked}), mean and deviation kept, slices of {length} px overlapping {overlap}"
        block = import_timm().models.vision_transformer.Block
        self.embed = nn.Linear(PADDING + length, width)
        self.position = nn.Parameter(torch.empty(positions, width))
        self.dropout = nn.Dropout(dropout)
        # torch's norm has the published epsilon of 1e-5; timm's own has 1e-6.
        options = {"qkv_bias": True, "proj_drop": dropout, "attn_drop": dropout, "norm_layer": nn.LayerNorm}
        self.blocks = nn.Sequential(*(block(width, heads, **options) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, PADDING + length)
        self._initialise(depth)

    def _initialise(self, depth: int) -> None:
        """Draw weights so that the residual stream keeps its variance whatever the depth."""
        for weight in (self.embed.weight, self.position):
            _draw(weight, self.width**-0.5)
        for layers, share in ((self.blocks, depth), (self.head, 0.5)):
            for layer in layers.modules():
                if isinstance(layer, nn.Linear):
                    _draw(layer.weight, (2 * share * layer.in_features) ** -0.5)
                    nn.init.zeros_(layer.bias)

    def slices(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the standardised slices (n, t, 2 + length) float32 that the transformer reads."""
        ivar = batch.get("ivar") if self.mask_ivar else None
        return slice_spectrum(*standardise_spectrum(batch["flux"], ivar), self.length, self.overlap)

    def encode(self, slices: Tensor) -> Tensor:
        """Return tokens (n, t, width) of slices, some of which may have been masked.

        Raises
        ------
        EmbedderError
            If there are more slices than learned positions.
        """
        count = slices.shape[1]
        if count > len(self.position):
            raise EmbedderError(f"spectra of {count} tokens", f"at most {len(self.position)}, the learned positions")
        tokens: Tensor = self.norm(self.blocks(self.dropout(self.embed(slices) + self.position[:count])))
        return tokens

    def reconstruct(self, tokens: Tensor) -> Tensor:
        """Return slices (n, t, 2 + length) as they look to the tokens; what masked pre-training compares."""
        slices: Tensor = self.head(tokens)
        return slices

    def tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the tokens (n, t, width) of ``flux`` (n, p) and, where used, ``ivar`` (n, p)."""
        return self.encode(self.slices(batch))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the mean (n, width) over the tokens."""
        return self.tokens(batch).mean(1)


def _draw(weight: Tensor, std: float) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)
