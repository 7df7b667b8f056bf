"""Heads: from an encoder's tokens or vector to the shared space.

Parker et al. (2024), section 4.3: one learned query attends to the tokens, and an MLP follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from astroclip_bench.errors import EmbedderError
from astroclip_bench.plugins import suggest
from baselines.astroclip.encoders import Encoder, complete_config

MLP_RATIO = 4


class Head(nn.Module):
    """A network from what an encoder gives to vectors (n, dimension).

    Attributes
    ----------
    reads_tokens
        Whether it takes the encoder's tokens (n, t, width) or its vector (n, width).
    config
        Plain values from which `build_head` rebuilds it, ``name`` among them.
    """

    reads_tokens: bool
    config: dict[str, Any]


class CrossAttentionHead(Head):
    """One learned query attends to all tokens; LayerNorm, and an MLP of one hidden layer.

    Parameters
    ----------
    width
        Components of a token.
    dimension
        Components of the query and of the output; a multiple of `heads`.
    heads
        Attention heads.
    dropout
        Of the attention weights, of what was attended to, and of the MLP's output.
    residual
        Whether the MLP is added to its input. The published spectrum head adds, the published image head does not.
    """

    reads_tokens = True

    def __init__(
        self, width: int, dimension: int = 1024, *, heads: int = 4, dropout: float = 0.1, residual: bool = True
    ) -> None:
        super().__init__()
        if dimension % heads:
            raise EmbedderError(f"{heads} attention heads for dimension {dimension}", "a number that divides it")
        self.residual = residual
        self.query = nn.Parameter(torch.randn(1, 1, dimension))
        self.attention = nn.MultiheadAttention(
            dimension, heads, dropout=dropout, kdim=width, vdim=width, batch_first=True
        )
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dimension)
        self.mlp = nn.Sequential(
            nn.Linear(dimension, MLP_RATIO * dimension),
            nn.GELU(),
            nn.Linear(MLP_RATIO * dimension, dimension),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (n, dimension) from tokens (n, t, width)."""
        query = self.query.expand(len(tokens), -1, -1)
        attended = self.attention(query, tokens, tokens, need_weights=False)[0][:, 0]
        vectors = self.norm(self.dropout(attended))
        changed: Tensor = self.mlp(vectors)
        return vectors + changed if self.residual else changed


class MlpHead(Head):
    """Linear layers with GELU between them, from an encoder's own vector; one linear layer where `hidden` is empty."""

    reads_tokens = False

    def __init__(self, width: int, dimension: int, *, hidden: Sequence[int] = (), dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), nn.GELU(), nn.Dropout(dropout)]
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, dimension))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (n, dimension) from vectors (n, width)."""
        projected: Tensor = self.layers(vectors)
        return projected


class IdentityHead(Head):
    """The encoder's own vector as it is, for encoders that end in a projection to the shared space (CLIP's towers)."""

    reads_tokens = False

    def __init__(self, width: int, dimension: int) -> None:
        super().__init__()
        if width != dimension:
            raise EmbedderError(f"head 'identity' on a vector of {width}", f"{dimension}, that of the shared space")

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the vectors (n, dimension)."""
        return vectors


HEADS: Mapping[str, type[Head]] = {"cross-attention": CrossAttentionHead, "identity": IdentityHead, "mlp": MlpHead}


def build_head(name: str, config: Mapping[str, Any], encoder: Encoder, dimension: int) -> Head:
    """Return the head of a name and configuration that fits an encoder, with fresh weights.

    Raises
    ------
    EmbedderError
        If the name or a key of the configuration is unknown, with the nearest one.
    """
    if name not in HEADS:
        raise EmbedderError(f"unknown head {name!r}", todo=suggest(name, HEADS))
    kind = HEADS[name]
    sizes = {"width": encoder.width if kind.reads_tokens else encoder.dimension, "dimension": dimension}
    if fixed := sorted(sizes.keys() & config.keys()):
        raise EmbedderError(f"head {name!r} sets {fixed[0]!r}", todo="leave it out: encoder and model decide it")
    values = complete_config(f"head {name!r}", kind, {**config, **sizes})
    head = kind(**values)
    head.config = {"name": name, **{key: value for key, value in values.items() if key not in sizes}}
    return head
