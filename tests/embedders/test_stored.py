"""Precomputed embeddings, keyed by object id."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from astroclip_bench.embedders import check_embedder, embed_split, load_embedder
from astroclip_bench.errors import EmbedderError

IDS = [str(1000 + row) for row in range(20)]
VECTORS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def lists(vectors, size=3, dtype=None):
    return pa.array(list(vectors), pa.list_(dtype or pa.float32(), size))


def write_parquet(path, ids=IDS, **columns):
    columns = columns or {"image": lists(VECTORS), "spectrum": lists(VECTORS * 2)}
    pq.write_table(pa.table({**({"object_id": ids} if ids is not None else {}), **columns}), path)


def write_npz(path, ids=IDS, **arrays):
    np.savez(
        path,
        **({"object_id": np.array(ids)} if ids is not None else {}),
        **(arrays or {"image": VECTORS, "spectrum": VECTORS * 2}),
    )


def write_int_npz(path):
    write_npz(path, np.array(IDS, np.int64))


def write_safetensors(path):
    arrays = {"object_id": np.array(IDS, np.int64), "image": VECTORS, "spectrum": VECTORS * 2}
    safetensors.numpy.save_file(arrays, path)


def write_safetensors_header(path):
    arrays = {"image": torch.from_numpy(VECTORS), "spectrum": torch.from_numpy(VECTORS * 2).double()}
    safetensors.torch.save_file(arrays, path, metadata={"object_id": json.dumps(IDS)})


def write_variable_lists(path):
    write_parquet(path, image=pa.array(list(VECTORS), pa.list_(pa.float64())), spectrum=lists(VECTORS * 2))


SPELLINGS = [
    ("e.parquet", write_parquet),
    ("e.parquet", write_variable_lists),
    ("e.npz", write_npz),
    ("e.npz", write_int_npz),
    ("e.safetensors", write_safetensors),
    ("e.safetensors", write_safetensors_header),
]


@pytest.mark.parametrize(("name", "write"), SPELLINGS, ids=lambda value: getattr(value, "__name__", value))
def test_every_spelling_gives_the_same_vectors(tmp_path, split, dataset, name, write):
    write(tmp_path / name)
    embedder = load_embedder(str(tmp_path / name))
    assert (embedder.info.name, embedder.info.dimension, embedder.info.modalities) == ("e", 3, ("image", "spectrum"))
    np.testing.assert_array_equal(embedder.lookup(["1003", "1001"], "spectrum"), 2 * VECTORS[[3, 1]])
    split.object_ids.reverse()
    found = embed_split(embedder, split, dataset.modalities["image"], data_digest="0")
    np.testing.assert_array_equal(found.vectors, VECTORS[::-1])
    assert check_embedder(embedder, dataset).passed


def test_bfloat16_is_read(tmp_path):
    arrays = {"object_id": torch.arange(20), "image": torch.from_numpy(VECTORS).bfloat16()}
    safetensors.torch.save_file(arrays, tmp_path / "e.safetensors")
    np.testing.assert_allclose(
        load_embedder(str(tmp_path / "e.safetensors")).lookup(["4"], "image")[0], VECTORS[4], rtol=0.01
    )


def test_missing_objects_are_counted_and_named(tmp_path):
    write_npz(tmp_path / "e.npz")
    embedder = load_embedder(str(tmp_path / "e.npz"))
    with pytest.raises(EmbedderError, match=r"no vectors for 4 of 5 objects: 7, 8, 9, \.\.\."):
        embedder.lookup(["7", "8", "9", "10", "1000"], "image")
    with pytest.raises(EmbedderError, match="has no modality 'text'; expected image, spectrum"):
        embedder.lookup(["1000"], "text")
    with pytest.raises(EmbedderError, match="cannot embed new objects"):
        embedder.embed({}, "image")


def test_the_check_finds_missing_objects_and_notes_equal_vectors(tmp_path, dataset):
    write_npz(tmp_path / "few.npz", IDS[:2], image=VECTORS[:2])
    with pytest.raises(EmbedderError, match="lookup: 'few' has no vectors for 6 of 8 objects"):
        check_embedder(load_embedder(str(tmp_path / "few.npz")), dataset)
    write_npz(tmp_path / "flat.npz", image=np.ones((20, 2), np.float32))
    assert check_embedder(load_embedder(str(tmp_path / "flat.npz")), dataset).checks[0].warning


WITH_NAN = VECTORS.copy()
WITH_NAN[[2, 5], 1] = np.nan

BAD = {
    "duplicates": (
        ".npz",
        lambda path: write_npz(path, [*IDS[:18], "1000", "1001"]),
        "2 object ids occur more than once: 1000, 1001",
    ),
    "nan": (
        ".npz",
        lambda path: write_npz(path, image=WITH_NAN),
        "'image' has NaN or infinity .* for 2 objects: 1002, 1005",
    ),
    "overflow": (".npz", lambda path: write_npz(path, image=VECTORS.astype(np.float64) * 1e300), "infinity"),
    "one axis": (".npz", lambda path: write_npz(path, image=VECTORS[:, 0]), "'image' is a 1-d array"),
    "integers": (".npz", lambda path: write_npz(path, image=np.ones((20, 2), int)), "'image' is a 2-d array of int64"),
    "rows": (".npz", lambda path: write_npz(path, image=VECTORS[:9]), "'image' has 9 rows; expected 20"),
    "no ids": (".npz", lambda path: write_npz(path, None, image=VECTORS), "has no 'object_id'.*it has image"),
    "float ids": (".npz", lambda path: write_npz(path, np.arange(20.0)), "object_id is a 1-d array of float64"),
    "pickle": (
        ".npz",
        lambda path: np.savez(path, object_id=np.array(IDS, object), image=VECTORS),
        "holds pickled Python objects",
    ),
    "nothing": (".npz", lambda path: np.savez(path, object_id=np.array(IDS)), "has no embeddings"),
    "lengths": (
        ".npz",
        lambda path: write_npz(path, image=VECTORS, spectrum=VECTORS[:, :2]),
        "different lengths: image 3, spectrum 2",
    ),
    "no npz": (".npz", lambda path: path.write_text("hello"), "not a readable npz file|pickled"),
    "no parquet": (".parquet", lambda path: path.write_text("hello"), "not a readable Parquet file"),
    "scalar column": (
        ".parquet",
        lambda path: write_parquet(path, image=lists(VECTORS), z=VECTORS[:, 0]),
        "column 'z' has type float",
    ),
    "uneven": (
        ".parquet",
        lambda path: write_parquet(path, image=pa.array([[1.0]] * 19 + [[1.0, 2.0]])),
        "column 'image' are null or of lengths",
    ),
    "null list": (
        ".parquet",
        lambda path: write_parquet(path, image=pa.array([[1.0]] * 19 + [None])),
        "are null or of lengths",
    ),
    "null id": (".parquet", lambda path: write_parquet(path, [*IDS[:19], None]), "1 ids are null"),
    "id type": (".parquet", lambda path: write_parquet(path, list(np.arange(20.0))), "object_id has type double"),
    "no id column": (".parquet", lambda path: write_parquet(path, None), "has no 'object_id'"),
    "no rows": (".parquet", lambda path: write_parquet(path, pa.array([], pa.string()), image=lists([])), "no rows"),
    "header": (
        ".safetensors",
        lambda path: safetensors.numpy.save_file({"image": VECTORS}, path, metadata={"object_id": "[1, 2"}),
        "not a readable safetensors file",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_clear_line(tmp_path, name):
    suffix, write, message = BAD[name]
    path = tmp_path / f"bad{suffix}"
    write(path)
    with pytest.raises(EmbedderError, match=message) as caught:
        load_embedder(str(path))
    assert "\n" not in str(caught.value)
