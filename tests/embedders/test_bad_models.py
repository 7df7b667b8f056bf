"""Every bad model file gives one clear line and runs nothing."""

from __future__ import annotations

import collections
import io
import json
import pickle
import zipfile

import pytest
import safetensors.torch
import torch

from astroclip_bench.embedders import load_embedder
from astroclip_bench.embedders.pickles import refused_globals
from astroclip_bench.errors import EmbedderError

WEIGHTS = {"weight": torch.ones(2, 2)}


class _Payload:
    """Creates the file `ran` when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def proper(**changes):
    content = {
        "format": "astroclip-bench/model",
        "format_version": 1,
        "architecture": "toy",
        "architecture_version": 3,
        "config": {},
        "state_dict": WEIGHTS,
    }
    return {**content, **changes}


def saved(content, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def legacy(content) -> bytes:
    return saved(content, _use_new_zipfile_serialization=False)


def torchscript() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"):
            archive.writestr(name, b"")
    return buffer.getvalue()


def exported() -> bytes:
    buffer = io.BytesIO()
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, buffer)
    return buffer.getvalue()


def other_archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", b"hello")
    return buffer.getvalue()


def tensors(metadata=None) -> bytes:
    return safetensors.torch.save(WEIGHTS, metadata)


HEADER = {"format": "astroclip-bench/model", "format_version": "1", "architecture": "toy", "architecture_version": "3"}
LIGHTNING = {"pytorch-lightning_version": "2.5", "state_dict": WEIGHTS, "epoch": 3}

BAD = {
    "empty": ("m.pt", lambda: b"", "is empty"),
    "git lfs": ("m.pt", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
    "truncated": ("m.pt", lambda: saved(proper())[:-60], "is cut short: the end of its archive is missing"),
    "truncated legacy": ("m.pt", lambda: legacy(proper())[:-9], "is not a readable PyTorch file"),
    "text": ("m.pt", lambda: b"hello, world", "is not a readable PyTorch file"),
    "damaged": (
        "m.pt",
        lambda: saved(proper()).replace(b"state_dict", b"state\xff\xffict"),
        "is not a readable PyTorch file",
    ),
    "bare state dict": (
        "m.pt",
        lambda: saved(collections.OrderedDict(WEIGHTS)),
        "holds a bare state dict of 1 tensors",
    ),
    "tensor": ("m.pt", lambda: saved(torch.ones(2)), "holds a Tensor; expected the format"),
    "empty dictionary": ("m.pt", lambda: saved({}), "a dictionary of 0 entries and no entry 'format'"),
    "lightning": ("m.ckpt", lambda: saved(LIGHTNING), "holds a Lightning checkpoint"),
    "training checkpoint": (
        "m.pth",
        lambda: saved({"model": WEIGHTS, "step": 3}),
        "a training checkpoint with the entries model, step",
    ),
    "whole module": (
        "m.pt",
        lambda: saved(torch.nn.Linear(2, 2)),
        "asks to import .*torch.nn.modules.linear.Linear; it was not loaded.*save_model",
    ),
    "torchscript": ("m.pt", torchscript, "is a TorchScript archive, which carries code"),
    "torch.export": ("m.pt", exported, "is a torch.export archive"),
    "other archive": ("m.pt", other_archive, "is an archive of something else"),
    "version": ("m.pt", lambda: saved(proper(format_version=2)), "model format version 2; expected 1; upgrade"),
    "no architecture": ("m.pt", lambda: saved(proper(architecture=None)), "entry 'architecture' is missing"),
    "config": ("m.pt", lambda: saved(proper(config=[1])), "entry 'config' is a list; expected a dict"),
    "config values": ("m.pt", lambda: saved(proper(config={"a": torch.ones(1)})), "config is not made of plain values"),
    "state dict values": ("m.pt", lambda: saved(proper(state_dict={"a": 1})), "entry 'a' of the state dict is a int"),
    "keys": (
        "m.pt",
        lambda: saved(proper()),
        r"4 missing \(image.bias, image.weight, spectrum.bias, ...\), 1 unexpected \(weight\)",
    ),
    "safetensors named pt": ("m.pt", lambda: tensors(), "is a safetensors file; rename it"),
    "pt named safetensors": ("m.safetensors", lambda: saved(proper()), "is not a readable safetensors file"),
    "truncated safetensors": ("m.safetensors", lambda: tensors(HEADER)[:-4], "is not a readable safetensors file"),
    "bare safetensors": ("m.safetensors", lambda: tensors(), "holds 1 tensors but not what they belong to"),
    "safetensors header": ("m.safetensors", lambda: tensors(HEADER), "its header lacks a readable 'config'"),
    "safetensors config": ("m.safetensors", lambda: tensors({**HEADER, "config": "{"}), "its header lacks a readable"),
    "safetensors version": (
        "m.safetensors",
        lambda: tensors({**HEADER, "config": "{}", "format_version": json.dumps("x")}),
        "version 'x'",
    ),
    "broken onnx": ("m.onnx", lambda: b"\x08\x07hello", "is not an ONNX model that can be run"),
    "unknown suffix": ("m.bin", lambda: b"hello", "suffix '.bin'; expected .pt"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_clear_line(tmp_path, toy, name):
    file, content, message = BAD[name]
    path = tmp_path / file
    path.write_bytes(content())
    with pytest.raises(EmbedderError, match=message) as caught:
        load_embedder(str(path))
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(EmbedderError, match="no such file; check the path"):
        load_embedder(str(tmp_path / "model.pt"))
    with pytest.raises(EmbedderError, match="is a folder; expected a model file"):
        load_embedder(str(tmp_path))


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_are_not_run(tmp_path, protocol):
    refuses(tmp_path, pickle.dumps({"a": _Payload(tmp_path / "ran")}, protocol=protocol))


@pytest.mark.parametrize("save", [saved, legacy])
def test_torch_pickles_are_not_run(tmp_path, save):
    refuses(tmp_path, save(proper(config={"a": _Payload(tmp_path / "ran")})))


def refuses(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(
        EmbedderError, match=r"is a pickle that asks to import (io|_io|builtins)\.open; it was not loaded"
    ) as caught:
        load_embedder(str(path))
    assert "save_model" in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_globals_are_listed_through_the_memo(tmp_path):
    """The second of two functions of one module names its module by reference."""
    path = tmp_path / "m.pt"
    path.write_bytes(pickle.dumps([json.loads, json.dumps, collections.Counter, json.loads], protocol=4))
    assert refused_globals(path) == ["collections.Counter", "json.dumps", "json.loads"]


def test_tensors_alone_ask_for_nothing(tmp_path):
    for content in (saved(proper()), legacy(proper())):
        (tmp_path / "m.pt").write_bytes(content)
        assert refused_globals(tmp_path / "m.pt") == []
