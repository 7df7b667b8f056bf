"""Which modules are compiled, and that none is left out."""

from __future__ import annotations

import pytest
import torch

from baselines.astroclip.encoders import build_encoder
from baselines.astroclip.parallel import compile_blocks, repeated_blocks

VIT = {"width": 16, "depth": 10, "heads": 2, "crop": 24, "layer_scale": 0.1, "drop_path": 0.1}


@pytest.fixture
def counted(monkeypatch):
    """Count the graphs that torch would compile, and run them as they are."""
    graphs = []

    def backend(graph, examples):
        graphs.append(graph)
        return graph.forward

    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled(self, backend=backend))
    yield graphs
    torch.compiler.reset()


def test_every_block_is_compiled_whatever_its_rate_of_dropped_paths(counted):
    encoder = build_encoder("vit", VIT).train()
    assert [type(block).__name__ for block in repeated_blocks(encoder)] == ["Block"] * 10
    compile_blocks(encoder)
    images = {"image": torch.rand(2, 3, 24, 24)}
    encoder(images)
    assert len(counted) == 10
    encoder(images)
    assert len(counted) == 10
    with torch.no_grad():
        encoder.eval()(images)
    assert len(counted) > 10
