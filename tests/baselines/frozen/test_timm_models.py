"""timm backbones by prefix: fresh weights, weights in the cache, and none."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.embedders import check_embedder, load_embedder
from astroclip_bench.errors import EmbedderError
from astroclip_bench.timm_compat import import_timm

NAME = "test_resnet"  # timm's smallest


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return a function that puts a network of fresh weights into an empty cache of the Hub, and gives it back."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(repository: str):
        timm = import_timm()
        folder = tmp_path / f"models--{repository.replace('/', '--')}"
        revision = folder / "snapshots" / ("0" * 40)
        revision.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0" * 40)
        model = timm.create_model(NAME, pretrained=False)
        timm.models.save_for_hf(model, revision, safe_serialization=True)
        return model

    return put


def images(n=3):
    return {"image": np.random.default_rng(0).normal(0, 0.1, (n, 3, 152, 152)).astype(np.float32)}


def test_fresh_weights_are_always_the_same():
    first, second = (load_embedder(f"timm-untrained:{NAME}") for _ in range(2))
    assert first.info == second.info
    assert first.info.name == f"timm-untrained:{NAME}"
    assert "dr2_rgb" in first.info.preprocessing
    np.testing.assert_array_equal(first.embed(images(), "image"), second.embed(images(), "image"))
    assert check_embedder(first).passed


def test_weights_in_the_cache_are_used(hub):
    repository = import_timm().get_pretrained_cfg(NAME).hf_hub_id
    model = hub(repository)
    embedder = load_embedder(f"timm:{NAME}")
    weights = embedder.module.encoder.backbone.state_dict()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, model.state_dict()[name])
    assert embedder.info.digest != load_embedder(f"timm-untrained:{NAME}").info.digest
    assert "0.485" in embedder.info.preprocessing or "0.5" in embedder.info.preprocessing


def test_zoobot_gets_images_from_0_to_1_as_they_are(hub):
    model = hub("mwalmsley/zoobot-encoder-small")
    embedder = load_embedder("timm:hf_hub:mwalmsley/zoobot-encoder-small")
    assert "minus" not in embedder.info.preprocessing
    assert "over" not in embedder.info.preprocessing
    assert embedder.info.dimension == model.num_features


def test_weights_that_are_not_there_are_refused_with_what_to_do(hub):
    with pytest.raises(EmbedderError, match=r"not in the Hub's cache.*run: hf download timm/resnet18"):
        load_embedder("timm:resnet18")
    with pytest.raises(EmbedderError, match="hf download mwalmsley/zoobot-encoder-convnext_nano"):
        load_embedder("timm:hf_hub:mwalmsley/zoobot-encoder-convnext_nano")


def test_unknown_names_and_prefixes_are_named():
    with pytest.raises(EmbedderError, match="did you mean resnet18"):
        load_embedder("timm-untrained:resnt18")
    with pytest.raises(EmbedderError, match="unknown model 'tim'"):
        load_embedder("tim")
