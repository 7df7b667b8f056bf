"""ONNX models by the documented convention."""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from astroclip_bench.embedders import check_embedder, embed_split, load_embedder
from astroclip_bench.errors import EmbedderError, MissingExtraError

WEIGHTS = {"image": (32, 3), "flux": (12, 3)}


def weight(name, columns=3):
    return np.random.default_rng(len(name)).normal(size=(WEIGHTS[name][0], columns)).astype(np.float32)


def write(
    path,
    outputs=("image", "spectrum"),
    *,
    batch="n",
    dtype=TensorProto.FLOAT,
    suffix="_embedding",
    widths=(3, 3),
    metadata=None,
    **save,
):
    """Write a model that multiplies image, or flux, by fixed weights."""
    nodes, inputs, results, initializers = [], [], [], []
    for modality, width in zip(outputs, widths, strict=False):
        column = "image" if modality == "image" else "flux"
        shape = [batch, 2, 4, 4] if column == "image" else [batch, 12]
        inputs.append(helper.make_tensor_value_info(column, dtype, shape))
        initializers.append(numpy_helper.from_array(weight(column, width), f"w_{column}"))
        nodes.append(helper.make_node("Cast", [column], [f"{column}_f"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Flatten", [f"{column}_f"], [f"{column}_flat"]))
        nodes.append(helper.make_node("MatMul", [f"{column}_flat", f"w_{column}"], [modality + suffix]))
        results.append(helper.make_tensor_value_info(modality + suffix, TensorProto.FLOAT, [batch, width]))
    graph = helper.make_graph(nodes, "toy", inputs, results, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path, **save)
    return str(path)


def both(**more):
    return {"inputs": json.dumps({"image": ["image"], "spectrum": ["flux"]}), **more}


def test_two_modalities_in_one_file(tmp_path, split, dataset):
    path = write(tmp_path / "m.onnx", metadata=both(name="pair", preprocessing="flattened"))
    embedder = load_embedder(path)
    info = embedder.info
    assert (info.name, info.dimension, info.modalities, info.preprocessing) == (
        "m",
        3,
        ("image", "spectrum"),
        "flattened",
    )
    for modality, column in (("image", "image"), ("spectrum", "flux")):
        found = embed_split(embedder, split, dataset.modalities[modality], data_digest="0", batch_size=7)
        wanted = split.arrays[column].reshape(20, -1) @ weight(column)
        np.testing.assert_allclose(found.vectors, wanted, rtol=1e-4, atol=1e-5)
    assert check_embedder(embedder, dataset).passed


def test_one_modality_needs_no_metadata(tmp_path, dataset):
    embedder = load_embedder(write(tmp_path / "m.onnx", ["spectrum"]))
    assert embedder.info.modalities == ("spectrum",)
    assert check_embedder(embedder, dataset).passed


def test_two_files_have_two_digests(tmp_path):
    one, other = (write(tmp_path / f"{name}.onnx", [name]) for name in ("image", "spectrum"))
    assert load_embedder(one).info.digest != load_embedder(other).info.digest


def test_inputs_that_do_not_fit(tmp_path):
    embedder = load_embedder(write(tmp_path / "m.onnx", ["image"]))
    with pytest.raises(EmbedderError, match=r"objects of shape \(2, 3, 3\); expected \(2, 4, 4\)"):
        embedder.embed({"image": np.zeros((1, 2, 3, 3), np.float32)}, "image")
    with pytest.raises(EmbedderError, match="reads column 'image'; expected one of the modality's columns flux"):
        embedder.embed({"flux": np.zeros((1, 12), np.float32)}, "image")
    with pytest.raises(EmbedderError, match="takes no modality 'text'; expected image"):
        embedder.embed({}, "text")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "has outputs for image, spectrum; expected the metadata entry 'inputs'"),
        ({"metadata": {"inputs": "{"}}, "the metadata entry 'inputs' is '{'"),
        ({"metadata": {"inputs": '{"image": ["image"]}'}}, "expected JSON with the keys"),
        (
            {"metadata": {"inputs": '{"image": ["img"], "spectrum": ["flux"]}'}},
            "names img; expected inputs of the graph: image, flux",
        ),
        ({"outputs": ["image"], "batch": 1}, r"the fixed shape \[1, 2, 4, 4\]; expected a free first axis"),
        ({"outputs": ["image"], "dtype": TensorProto.DOUBLE}, r"takes tensor\(double\)"),
        ({"outputs": ["image"], "suffix": "_vector"}, "output 'image_vector'; expected names like 'image_embedding'"),
        ({"widths": (3, 2), "metadata": both()}, "one fixed number, the same for every output"),
        (
            {"outputs": ["image"], "save_as_external_data": True, "location": "w.bin", "size_threshold": 0},
            "keeps weights in other files; expected one file",
        ),
    ],
)
def test_what_breaks_the_convention(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "m.onnx", **options)
    with pytest.raises(EmbedderError, match=message) as caught:
        load_embedder(path)
    assert "\n" not in str(caught.value)


def test_reduced_precision_does_not_apply(tmp_path):
    path = write(tmp_path / "m.onnx", ["image"])
    with pytest.raises(EmbedderError, match="dtype 'bf16' does not apply to ONNX"):
        load_embedder(path, dtype="bf16")
    with pytest.raises(EmbedderError, match="ONNX Runtime cannot use device 'cuda' here"):
        load_embedder(path, device="cuda")


def test_without_the_extra(tmp_path, monkeypatch):
    path = write(tmp_path / "m.onnx", ["image"])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'astroclip-bench\[onnx\]'"):
        load_embedder(path)
