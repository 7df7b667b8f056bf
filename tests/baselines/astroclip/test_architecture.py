"""Model files of both architectures through the harness: saved, loaded, checked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from astroclip_bench.embedders import check_embedder, load_embedder, registry, save_model
from astroclip_bench.embedders.samples import take_samples
from astroclip_bench.errors import EmbedderError
from baselines.astroclip import alignment, architecture

BUILD = {alignment.ARCHITECTURE: alignment.build, architecture.ARCHITECTURE: architecture.build}
IMAGE = {"name": "vit", "width": 48, "depth": 2, "heads": 3, "crop": 36, "layer_scale": 0.5}
SPECTRUM = {"name": "specformer", "width": 48, "depth": 1, "heads": 3, "length": 80, "overlap": 0, "mask_ivar": True}
ATTENTION = {"name": "cross-attention"}
CONFIGS = {
    "aligned": {
        "dimension": 16,
        "encoders": {"image": IMAGE, "spectrum": SPECTRUM},
        "heads": {"image": {**ATTENTION, "residual": False}, "spectrum": ATTENTION},
    },
    "vit": {"encoder": IMAGE},
    "specformer": {"encoder": SPECTRUM},
    "timm": {"encoder": {"name": "timm", "backbone": "resnet10t", "crop": 32}},
    "stein": {"encoder": {"name": "stein", "backbone": "resnet10t", "crop": 32}},
    "spender": {
        "encoder": {"name": "spender", "channels": [8, 16, 32], "kernels": [5, 11, 21], "hidden": [16], "latents": 8}
    },
}


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(registry, "load_plugin", lambda group, name: BUILD[name])


@pytest.fixture
def saved(request, tmp_path):
    """Return the path of a model file with fresh weights, and the module that was saved."""
    torch.manual_seed(3)
    config = CONFIGS[request.param]
    name = alignment.ARCHITECTURE if request.param == "aligned" else architecture.ARCHITECTURE
    module = BUILD[name](config)
    path = save_model(tmp_path / "model.pt", name, module.version, module.config, module.state_dict())
    return path, module.eval()


@pytest.mark.parametrize("saved", CONFIGS, indirect=True)
def test_saved_models_load_and_pass_every_check(saved):
    path, module = saved
    embedder = load_embedder(str(path))
    report = check_embedder(embedder, n=4)
    assert report.passed
    assert not any(check.warning for check in report.checks)
    assert (embedder.info.modalities, embedder.info.dimension) == (module.modalities, module.dimension)
    assert embedder.info.preprocessing == module.preprocessing
    for sample in take_samples(None, module.modalities, 2):
        one = {column: array[:1] for column, array in sample.arrays.items()}
        tensors = {column: torch.tensor(array) for column, array in one.items()}
        with torch.inference_mode():
            expected = module.embed(tensors, sample.modality.name)
        np.testing.assert_allclose(embedder.embed(one, sample.modality.name), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("saved", CONFIGS, indirect=True)
def test_bfloat16_agrees_with_float32(saved):
    path, module = saved
    full, low = (load_embedder(str(path), dtype=dtype) for dtype in ("float32", "bf16"))
    for sample in take_samples(None, module.modalities, 8):
        one, other = (embedder.embed(sample.arrays, sample.modality.name) for embedder in (full, low))
        cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        assert cosine.min() > 0.999


@pytest.mark.parametrize("saved", ["aligned"], indirect=True)
def test_spectra_of_another_grid_are_refused(saved):
    embedder = load_embedder(str(saved[0]))
    spectra = np.ones((2, 4000), np.float32)
    with pytest.raises(EmbedderError, match=r"shape \(4000,\).*7781"):
        embedder.embed({"flux": spectra, "ivar": spectra}, "spectrum")


def test_refuses_a_configuration_without_encoder():
    with pytest.raises(EmbedderError, match="'encoder' alone, with a 'name'"):
        architecture.build({"encoders": {}})
    with pytest.raises(EmbedderError, match="'encoder' alone, with a 'name'"):
        architecture.build({"encoder": {"width": 3}})
    module = architecture.build(CONFIGS["spender"])
    with pytest.raises(EmbedderError, match="no modality 'image'"):
        module.embed({}, "image")
