"""CLIP towers: published sizes, the tokenizer, texts of any kind, and one clear word where weights are missing."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.errors import EmbedderError
from baselines.astroclip.alignment import build
from baselines.astroclip.encoders import build_encoder

PUBLISHED_PARAMETERS = 149_620_737
"""Of CLIP ViT-B/16, the temperature included (Radford et al. 2021)."""
HEADS = {name: {"name": "identity"} for name in ("image", "text")}


@pytest.fixture
def text(small_towers):
    torch.manual_seed(0)
    return build_encoder("clip-text", {key: value for key, value in small_towers["text"].items() if key != "name"})


def test_the_published_model_has_its_published_size():
    with torch.device("meta"):
        encoders = {"image": {"name": "clip-image"}, "text": {"name": "clip-text"}}
        model = build({"dimension": 512, "encoders": encoders, "heads": HEADS, "learn_scale": True})
    assert sum(value.numel() for value in model.parameters()) == PUBLISHED_PARAMETERS


def test_texts_and_their_tokens_are_the_same_input(text):
    captions = ["A nearby spiral galaxy.", "Redshift 0.31, faint and red", ""]
    tokens = text.tokenise(captions)
    assert tokens.shape == (3, 24)
    start, end = 49406, 49407
    assert (tokens[:, 0] == start).all()
    assert tokens[2, 1] == end
    vectors = text({"caption": captions})
    assert vectors.shape == (3, 8)
    torch.testing.assert_close(vectors, text({"caption": tokens}))
    assert text.tokens({"caption": captions}).shape == (3, 24, 16)
    assert not torch.allclose(vectors[0], vectors[1])


def test_a_text_beyond_the_context_is_cut_and_still_ends(text):
    tokens = text.tokenise(["star " * 100])
    assert tokens[0, -1] == 49407
    assert torch.isfinite(text({"caption": ["star " * 100]})).all()


def test_real_abstracts_and_queries_pass(realdata, text):
    proposals = realdata / "proposals"
    abstracts = (proposals / "hst_abstracts_unique.txt").read_text(encoding="utf-8").splitlines()
    queries = (proposals / "queries.txt").read_text(encoding="utf-8").splitlines()
    assert (len(abstracts), len(queries)) == (112, 10)
    vectors = text({"caption": abstracts + queries})
    assert torch.isfinite(vectors).all()
    assert len(torch.unique(vectors, dim=0)) == 122


def test_pictures_are_standardised_as_the_published_weights_ask():
    sizes = {"embed_dim": 4, "vision_cfg": {"image_size": 8, "patch_size": 4, "width": 8, "head_width": 8, "layers": 1}}
    encoder = build_encoder("clip-image", {"sizes": sizes, "crop": 8})
    picture = torch.rand(2, 3, 12, 12)
    mean, std = (torch.tensor(encoder.config[name])[:, None, None] for name in ("mean", "std"))
    torch.testing.assert_close(encoder.input(picture), (picture[..., 2:10, 2:10] - mean) / std)
    torch.testing.assert_close(encoder.input(picture + 5), ((1 - mean) / std).expand(2, 3, 8, 8))
    assert encoder.config["mean"][0] == pytest.approx(0.4815, abs=1e-4)  # Radford et al. 2021: OpenAI's own
    assert "unit" in encoder.preprocessing
    assert encoder({"image": picture}).shape == (2, 4)
    assert encoder.tokens({"image": picture}).shape == (2, 1, 4)


def test_misfits_are_named(small_towers):
    with pytest.raises(EmbedderError, match="no model 'ViT-B-17'"):
        build_encoder("clip-text", {"model": "ViT-B-17"})
    with pytest.raises(EmbedderError, match="no weights 'opnai'"):
        build_encoder("clip-image", {"pretrained": "opnai"})
    with pytest.raises(EmbedderError, match="another activation than 'ViT-B-16'; expected model 'ViT-B-16-quickgelu'"):
        build_encoder("clip-image", {"model": "ViT-B-16", "pretrained": "openai"})
    with pytest.raises(EmbedderError, match="lack 'text_cfg'"):
        build_encoder("clip-text", {"sizes": {"embed_dim": 8}})
    with pytest.raises(EmbedderError, match="images of 200 pixels for a tower of 224"):
        build_encoder("clip-image", {"crop": 200})
    with pytest.raises(EmbedderError, match="cannot make a text tower"):
        build_encoder("clip-text", {"sizes": {"embed_dim": 8, "text_cfg": {"depth": 3}}})


def test_missing_weights_are_one_clear_error(monkeypatch, caplog):
    monkeypatch.setattr("open_clip.factory.download_pretrained", _no_network)
    with pytest.raises(
        EmbedderError, match=r"weights 'openai' of 'ViT-B-16-quickgelu' cannot be had: .*no network; fetch"
    ):
        build_encoder("clip-image", {"pretrained": "openai"})
    assert not caplog.records


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network\nand more")
