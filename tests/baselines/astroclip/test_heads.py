"""Heads: shapes, sizes, and the attention written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from astroclip_bench.errors import EmbedderError
from baselines.astroclip.encoders import build_encoder
from baselines.astroclip.heads import CrossAttentionHead, MlpHead, build_head


@pytest.fixture(scope="module")
def encoder():
    return build_encoder("spender", {"channels": [8, 48], "kernels": [3, 3], "pools": [5], "latents": 5})


def slow_attention(head: CrossAttentionHead, tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """One query's attention over (t, width) tokens, head by head."""
    module = head.attention
    if module.in_proj_weight is None:
        weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    else:
        weights = module.in_proj_weight.chunk(3)
    q_bias, k_bias, v_bias = module.in_proj_bias.chunk(3)
    query = weights[0] @ head.query[0, 0] + q_bias
    keys, values = tokens @ weights[1].T + k_bias, tokens @ weights[2].T + v_bias
    size = len(query) // heads
    parts = []
    for start in range(0, len(query), size):
        part = slice(start, start + size)
        weight = (keys[:, part] @ query[part] / size**0.5).softmax(0)
        parts.append(weight @ values[:, part])
    return module.out_proj(torch.cat(parts))


@pytest.mark.parametrize("width", [24, 32])
@pytest.mark.parametrize("residual", [True, False])
def test_cross_attention_is_that_of_a_slow_loop(width, residual):
    torch.manual_seed(0)
    head = CrossAttentionHead(width, 32, residual=residual).eval()
    tokens = torch.randn(3, 7, width)
    for row in range(3):
        vector = functional.layer_norm(slow_attention(head, tokens[row], 4), (32,), head.norm.weight, head.norm.bias)
        hidden = functional.gelu(head.mlp[0](vector))
        expected = head.mlp[2](hidden) + (vector if residual else 0)
        torch.testing.assert_close(head(tokens)[row], expected, atol=1e-5, rtol=1e-5)


def test_the_published_heads_have_their_size():
    with torch.device("meta"):
        image, spectrum = (CrossAttentionHead(width, 1024, residual=width == 768) for width in (1024, 768))
    count = {name: sum(p.numel() for p in head.parameters()) for name, head in (("i", image), ("s", spectrum))}
    mlp = 8 * 1024**2 + 5 * 1024
    assert count["i"] == 4 * 1024**2 + 4 * 1024 + mlp + 3 * 1024
    assert count["i"] - count["s"] == 2 * 1024 * (1024 - 768)
    assert image(torch.empty(2, 144, 1024, device="meta")).shape == (2, 1024)


def test_dropout_acts_while_training_alone():
    head = CrossAttentionHead(16, 16)
    tokens = torch.randn(2, 5, 16)
    assert not torch.equal(head(tokens), head(tokens))
    head.eval()
    assert torch.equal(head(tokens), head(tokens))


def test_mlp_head_has_the_layers_it_is_told():
    head = MlpHead(10, 4, hidden=[16, 8]).eval()
    assert [layer.out_features for layer in head.layers if isinstance(layer, torch.nn.Linear)] == [16, 8, 4]
    assert head(torch.randn(3, 10)).shape == (3, 4)
    assert len(MlpHead(10, 4).layers) == 1


def test_heads_fit_what_they_read_and_remember_their_settings(encoder):
    attention = build_head("cross-attention", {"heads": 2}, encoder, 16)
    assert attention.attention.kdim == encoder.width == 24
    assert attention.config == {"name": "cross-attention", "heads": 2, "dropout": 0.1, "residual": True}
    linear = build_head("mlp", {}, encoder, 16)
    assert linear.layers[0].in_features == encoder.dimension == 5
    assert (attention.reads_tokens, linear.reads_tokens) == (True, False)


def test_refuses_unknown_names_and_keys(encoder):
    with pytest.raises(EmbedderError, match=r"unknown head 'attention'.*cross-attention"):
        build_head("attention", {}, encoder, 16)
    with pytest.raises(EmbedderError, match=r"no setting 'head'.*heads"):
        build_head("cross-attention", {"head": 2}, encoder, 16)
    with pytest.raises(EmbedderError, match="sets 'width'"):
        build_head("mlp", {"width": 3}, encoder, 16)
    with pytest.raises(EmbedderError, match="3 attention heads for dimension 16"):
        build_head("cross-attention", {"heads": 3}, encoder, 16)
