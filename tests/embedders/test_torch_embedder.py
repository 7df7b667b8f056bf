"""A torch module as an embedder."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from astroclip_bench.embedders import load_embedder
from astroclip_bench.errors import EmbedderError


def batch(split, rows=slice(None)):
    return {"image": split.arrays["image"][rows]}


def test_read_only_arrays_give_float32_without_warning(toy, split):
    embedder = load_embedder(str(toy()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vectors = embedder.embed(batch(split), "image")
    weights = embedder.module.image
    wanted = split.arrays["image"].reshape(20, -1) @ weights.weight.detach().numpy().T + weights.bias.detach().numpy()
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, wanted, rtol=1e-5)


def test_a_module_that_writes_into_its_input_cannot_reach_read_only_memory(toy, split):
    before = split.arrays["image"].copy()
    load_embedder(str(toy(fault="write"))).embed(batch(split), "image")
    np.testing.assert_array_equal(split.arrays["image"], before)


def test_evaluation_mode_and_no_gradients(toy, split):
    embedder = load_embedder(str(toy()))
    assert not any(layer.training for layer in embedder.module.modules())
    np.testing.assert_array_equal(embedder.embed(batch(split), "image"), embedder.embed(batch(split), "image"))


def test_bf16_is_close_but_not_equal(toy, split):
    path = str(toy())
    exact = load_embedder(path).embed(batch(split), "image")
    rough = load_embedder(path, dtype="bf16").embed(batch(split), "image")
    assert rough.dtype == np.float32
    assert 0 < np.max(np.abs(rough - exact)) < 0.05 * np.max(np.abs(exact))


def test_the_description(toy):
    info = load_embedder(str(toy("good.pt", dimension=7))).info
    assert (info.name, info.dimension, info.modalities, info.architecture) == ("good", 7, ("image", "spectrum"), "toy")
    assert info.parameters == 32 * 7 + 7 + 12 * 7 + 7
    assert info.details == {"dtype": "float32", "architecture_version": 3}


def test_inputs_of_the_wrong_kind(toy, split):
    embedder = load_embedder(str(toy()))
    with pytest.raises(EmbedderError, match=r"column 'image' has objects of shape \(2, 3, 3\); expected \(2, 4, 4\)"):
        embedder.embed({"image": np.zeros((1, 2, 3, 3), np.float32)}, "image")
    with pytest.raises(EmbedderError, match=r"cannot embed modality 'spectrum' from flux \(1, 11\): RuntimeError"):
        embedder.embed({"flux": np.zeros((1, 11), np.float32)}, "spectrum")
    with pytest.raises(EmbedderError, match="takes no modality 'text'; expected image, spectrum"):
        embedder.embed({}, "text")


def test_what_the_module_raises_is_one_line(toy, split):
    with pytest.raises(EmbedderError, match="ValueError: no luck") as caught:
        load_embedder(str(toy(fault="raise"))).embed(batch(split), "image")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "message"), [({"device": "nonsense"}, "device 'nonsense'"), ({"dtype": "float8"}, "dtype 'float8'")]
)
def test_unusable_options(toy, option, message):
    with pytest.raises(EmbedderError, match=message):
        load_embedder(str(toy()), **option)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device this machine has")
def test_cuda_where_there_is_none(toy):
    with pytest.raises(EmbedderError, match="device 'cuda' cannot be used"):
        load_embedder(str(toy()), device="cuda")


@pytest.mark.gpu
def test_cuda_agrees_with_cpu(toy, split):
    path = str(toy())
    here, there = (load_embedder(path, device=device).embed(batch(split), "image") for device in ("cpu", "cuda"))
    np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-5)


def test_a_column_that_the_data_lack_is_named(toy):
    embedder = load_embedder(str(toy()))
    with pytest.raises(EmbedderError, match="needs column 'flux', which modality 'spectrum' of this data set does not"):
        embedder.embed({"ivar": np.zeros((2, 12), np.float32)}, "spectrum")
