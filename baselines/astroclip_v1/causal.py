"""The spectrum transformer of the first AstroCLIP: as GPT-2, each slice of a spectrum sees those to the blue of it."""

from __future__ import annotations

from torch import Tensor, nn

from baselines.astroclip.specformer import SpecFormer

MLP_RATIO = 4


class CausalBlock(nn.TransformerEncoderLayer):
    """Pre-norm attention to the tokens up to its own, and an MLP of GELU, with their residuals (Radford et al. 2019)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__(width, heads, MLP_RATIO * width, dropout, activation="gelu", batch_first=True, norm_first=True)

    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        """Return tokens (n, t, width) of tokens (n, t, width)."""
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], tokens.device, tokens.dtype)
        found: Tensor = super().forward(tokens, src_mask=mask, is_causal=True)
        return found


class SpectrumGpt(SpecFormer):
    """SpecFormer's slices, sizes and head around causal blocks: 43 million weights by default.

    A token knows the statistics of the whole spectrum, which come first, and the pixels up to its own slice.

    Parameters
    ----------
    **settings
        Those of `SpecFormer`.
    """

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
        sizes = {"length": length, "overlap": overlap, "positions": positions}
        super().__init__(width=width, depth=0, heads=heads, dropout=dropout, mask_ivar=mask_ivar, **sizes)
        self.blocks = nn.Sequential(*(CausalBlock(width, heads, dropout) for _ in range(depth)))
        self.preprocessing += ", causal attention"
        self._initialise(depth)
