"""Model files: round trips, one digest for both spellings, strict keys."""

from __future__ import annotations

import pytest
import torch

from astroclip_bench.embedders import load_embedder, read_model, save_model
from astroclip_bench.embedders.weights import load_weights, weights_digest
from astroclip_bench.errors import EmbedderError, StorageError


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, generator=generator)
    return {
        "weight": weight,
        "view": weight.t()[:2],
        "half": weight.to(torch.bfloat16),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }


def test_both_spellings_hold_the_same(tmp_path):
    config = {"width": 4, "bands": ("g", "r"), "nested": {"rate": 0.1, "none": None}}
    files = [save_model(tmp_path / name, "toy", 2, config, state()) for name in ("a.pt", "b.safetensors", "c.ckpt")]
    models = [read_model(file) for file in files]
    assert len({model.digest for model in models}) == 1
    for model in models:
        assert (model.architecture, model.architecture_version) == ("toy", 2)
        assert model.config == {"width": 4, "bands": ["g", "r"], "nested": {"rate": 0.1, "none": None}}
        assert model.state_dict.keys() == state().keys()
        for name, tensor in state().items():
            assert model.state_dict[name].dtype == tensor.dtype
            assert torch.equal(model.state_dict[name], tensor)


def test_a_view_is_stored_without_the_rest_of_its_memory(tmp_path):
    big = torch.zeros(1000, 1000)
    file = save_model(tmp_path / "a.pt", "toy", 1, {}, {"row": big[0]})
    assert file.stat().st_size < 20_000


@pytest.mark.parametrize("change", ["architecture", "version", "config", "name", "value", "dtype", "shape"])
def test_the_digest_covers_everything(change):
    tensors = {"a": torch.arange(6, dtype=torch.float32).reshape(2, 3)}
    base = ["toy", 1, {"width": 4}, tensors]
    other = list(base)
    if change in ("architecture", "version", "config"):
        place = ("architecture", "version", "config").index(change)
        other[place] = ("toy2", 2, {"width": 5})[place]
    else:
        a = tensors["a"]
        changed = {"name": {"b": a}, "value": {"a": a + 1}, "dtype": {"a": a.int()}, "shape": {"a": a.reshape(3, 2)}}
        other[3] = changed[change]
    assert weights_digest(*base) != weights_digest(*other)


def test_the_digest_ignores_key_order():
    tensors = {"a": torch.ones(2), "b": torch.zeros(2)}
    reordered = dict(reversed(tensors.items()))
    assert weights_digest("toy", 1, {"x": 1, "y": 2}, tensors) == weights_digest("toy", 1, {"y": 2, "x": 1}, reordered)


def test_every_key_must_fit():
    module = torch.nn.Linear(2, 3)
    weights = {"weight": torch.zeros(3, 4), "extra": torch.zeros(1)} | {f"more{i}": torch.zeros(1) for i in range(5)}
    with pytest.raises(EmbedderError) as caught:
        load_weights(module, weights, "m.pt")
    assert (
        "1 missing (bias), 6 unexpected (extra, more0, more1, ...), 1 of another shape (weight (3, 4) instead of (3, 2))"
        in str(caught.value)
    )


@pytest.mark.parametrize(
    ("suffix", "config", "weights", "message"),
    [
        (".bin", {}, {}, "suffix '.bin'"),
        (".pt", {"f": print}, {}, "config is not made of plain values"),
        (".pt", {"x": float("nan")}, {}, "config is not made of plain values"),
        (".safetensors", {}, {"a": [1, 2]}, "entry 'a' of the state dict is a list"),
        (".pt", {}, {"a": torch.eye(2).to_sparse()}, "entry 'a' of the state dict"),
    ],
)
def test_what_cannot_be_saved(tmp_path, suffix, config, weights, message):
    with pytest.raises(EmbedderError, match=message):
        save_model(tmp_path / f"model{suffix}", "toy", 1, config, weights)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        save_model(tmp_path / "file" / "model.pt", "toy", 1, {}, {})


def test_loading_and_saving_again_keeps_the_embedder(toy, tmp_path):
    first = toy("one.pt")
    model = read_model(first)
    second = save_model(
        tmp_path / "two.safetensors", model.architecture, model.architecture_version, model.config, model.state_dict
    )
    assert load_embedder(str(first)).info.digest == load_embedder(str(second)).info.digest
