"""Embedding a split: batches, memory, the cache and what it must never do."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest

from astroclip_bench.embedders import EmbedderInfo, embed, embed_split, load_embedder
from astroclip_bench.embedders.cache import code_digest
from astroclip_bench.embedders.embed import auto_batch_size, read_cached
from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import image_modality, photometry_modality, spectrum_modality

DATA = "d" * 32


class _Sums:
    """Embeds an image as its sum times a weight, and counts the objects it was handed."""

    def __init__(self, weight=1.0, digest="0" * 32, fail_after=None, largest=None, **info):
        self.weight, self.fail_after, self.largest = weight, fail_after, largest
        self.sizes = []
        values = {
            "name": "sums",
            "digest": digest,
            "dimension": 2,
            "modalities": ("image", "spectrum"),
            "preprocessing": "sum",
        }
        self.info = EmbedderInfo(**(values | info))

    @property
    def handed(self):
        return sum(self.sizes)

    def embed(self, batch, modality):
        array = next(iter(batch.values()))
        if self.fail_after is not None and self.handed >= self.fail_after:
            raise KeyboardInterrupt
        if self.largest is not None and len(array) > self.largest:
            raise RuntimeError("CUDA error: out of memory")
        self.sizes.append(len(array))
        total = array.reshape(len(array), -1).sum(axis=1) * self.weight
        return np.stack([total, total * 0 + 1], axis=1).astype(np.float32)


def run(embedder, split, dataset, modality="image", **options):
    options = {"data_digest": DATA, "batch_size": 3, **options}
    return embed_split(embedder, split, dataset.modalities[modality], **options)


def wanted(split, column="image"):
    return split.arrays[column].reshape(split.rows, -1).sum(axis=1)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 20, 1000, "auto"])
def test_vectors_in_order_for_any_batch_size(split, dataset, batch_size):
    reports = []
    found = run(
        _Sums(), split, dataset, batch_size=batch_size, cache=False, progress=lambda *done: reports.append(done)
    )
    assert found.object_ids == split.object_ids
    np.testing.assert_allclose(found.vectors[:, 0], wanted(split), rtol=1e-6)
    assert reports[0] == (0, 20)
    assert reports[-1] == (20, 20)


def test_the_second_time_nothing_is_read_or_embedded(split, dataset, own_cache):
    first = run(_Sums(), split, dataset)
    again, read = _Sums(), split.read
    np.testing.assert_array_equal(run(again, split, dataset, batch_size=8).vectors, first.vectors)
    assert (again.handed, split.read) == (0, read)
    assert run(_Sums(), split, dataset, cache=False).vectors.tolist() == first.vectors.tolist()


def test_the_cache_is_read_by_a_description_alone(split, dataset, own_cache):
    embedder, image = _Sums(), dataset.modalities["image"]
    known = {"data_digest": DATA, "dtype": "float32"}
    assert read_cached(embedder.info, code_digest(embedder), split, image, **known) is None
    vectors = run(embedder, split, dataset).vectors
    found = read_cached(embedder.info, code_digest(embedder), split, image, **known)
    assert np.array_equal(found, vectors)
    assert read_cached(embedder.info, "0" * 32, split, image, **known) is None
    assert read_cached(embedder.info, code_digest(embedder), split, image, **known, predicted=["redshift"]) is None


def test_without_the_cache_nothing_is_written(split, dataset, own_cache):
    run(_Sums(), split, dataset, cache=False)
    assert not own_cache.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "1" * 32},
        {"preprocessing": "sum, twice"},
        {"architecture": "other"},
        {"details": {"dtype": "bf16"}},
    ],
)
def test_another_model_of_the_same_name_never_gets_these_vectors(split, dataset, change):
    run(_Sums(), split, dataset)
    other = _Sums(weight=2.0, **change)
    np.testing.assert_allclose(run(other, split, dataset).vectors[:, 0], 2 * wanted(split), rtol=1e-6)
    assert other.handed == 20


def test_another_modality_dtype_data_or_split_never_gets_these_vectors(split, dataset):
    run(_Sums(), split, dataset)
    for options in ({"modality": "spectrum"}, {"dtype": "bf16"}, {"data_digest": "e" * 32}):
        other = _Sums()
        run(other, split, dataset, **options)
        assert other.handed == 20, options
    for changes in ({"name": "test"}, {"object_ids": [f"x{name}" for name in split.object_ids]}):
        other = _Sums()
        run(other, dataclasses.replace(split, **changes), dataset)
        assert other.handed == 20, changes


def test_a_changed_modality_of_the_same_name_never_gets_these_vectors(split, dataset):
    run(_Sums(), split, dataset)
    image = dataset.modalities["image"]
    dataset.modalities["image"] = dataclasses.replace(image, axes={"bands": ["r", "z"]})
    other = _Sums()
    run(other, split, dataset)
    assert other.handed == 20


def test_changed_code_never_gets_these_vectors(split, dataset, tmp_path, monkeypatch):
    source = "from test_embed_split import _Sums\nclass Theirs(_Sums):\n    revision = {}\ndef make():\n    return Theirs()\n"
    monkeypatch.chdir(tmp_path)
    handed = []
    for version in (1, 1, 2):
        (tmp_path / "their_sums.py").write_text(source.format(version))
        embedder = load_embedder("their_sums:make")
        run(embedder, split, dataset)
        handed.append(embedder.handed)
    assert handed == [20, 0, 20]


def test_changed_code_beside_it_in_its_package_counts(tmp_path, monkeypatch):
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "model.py").write_text("from test_embed_split import _Sums\nclass Theirs(_Sums):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    from their_package.model import Theirs

    before = code_digest(Theirs())
    (package / "preprocess.py").write_text("SCALE = 2\n")
    assert code_digest(Theirs()) != before


def test_an_interrupted_run_goes_on_where_it_stopped(split, dataset, own_cache, monkeypatch):
    monkeypatch.setattr(embed, "PART_ROWS", 6)
    with pytest.raises(KeyboardInterrupt):
        run(_Sums(fail_after=15), split, dataset)
    assert len(list(own_cache.rglob("part-*"))) == 2
    assert not list(own_cache.rglob("*.tmp"))
    rest = _Sums()
    found = run(rest, split, dataset, batch_size=5)
    np.testing.assert_allclose(found.vectors[:, 0], wanted(split), rtol=1e-6)
    assert rest.handed == 8


def damage_bytes(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-5])


def swap_rows(path):
    other = path.with_name("part-000000006-000000012.safetensors")
    path.write_bytes(other.read_bytes())


def outgrow(path):
    path.rename(path.with_name("part-000000900-000000906.safetensors"))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_bytes, truncate, swap_rows, outgrow, empty])
def test_damaged_parts_are_made_again_and_said(split, dataset, own_cache, monkeypatch, caplog, damage):
    monkeypatch.setattr(embed, "PART_ROWS", 6)
    first = run(_Sums(), split, dataset)
    (part,) = own_cache.rglob("part-000000000-*")
    damage(part)
    again = _Sums()
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(run(again, split, dataset).vectors, first.vectors)
    assert again.handed == 6
    assert "are damaged; they are made again" in caplog.text
    caplog.clear()
    run(_Sums(), split, dataset)
    assert caplog.text == ""


def test_a_slow_model_is_saved_by_the_clock(split, dataset, own_cache, monkeypatch):
    monkeypatch.setattr(embed, "PART_SECONDS", 0.0)
    run(_Sums(), split, dataset)
    assert len(list(own_cache.rglob("part-*"))) == 7


def test_out_of_memory_halves_the_batch_and_goes_on(split, dataset, caplog):
    embedder = _Sums(largest=3)
    with caplog.at_level(logging.WARNING):
        found = run(embedder, split, dataset, batch_size=16)
    np.testing.assert_allclose(found.vectors[:, 0], wanted(split), rtol=1e-6)
    assert set(embedder.sizes) == {2}
    assert "the batch size is now 8" in caplog.text
    with pytest.raises(EmbedderError, match="out of memory with a single object"):
        run(_Sums(largest=0, digest="2" * 32), split, dataset)


def test_torch_running_out_of_memory_is_noticed(toy, split, dataset, monkeypatch):
    import torch

    embedder = load_embedder(str(toy()))
    original = embedder.module.embed

    def greedy(batch, modality):
        if len(batch["image"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return original(batch, modality)

    monkeypatch.setattr(embedder.module, "embed", greedy)
    found = run(embedder, split, dataset, batch_size=20)
    monkeypatch.undo()
    np.testing.assert_allclose(
        found.vectors, embedder.embed({"image": split.arrays["image"]}, "image"), rtol=1e-5, atol=1e-6
    )


def test_vectors_that_are_not_finite_name_the_object(toy, split, dataset, own_cache):
    with pytest.raises(EmbedderError, match="NaN or infinity for 1 of 3 objects, first object_id '1002'"):
        run(load_embedder(str(toy(fault="nan"))), split, dataset)
    assert not list(own_cache.rglob("part-*"))


def test_vectors_of_another_dimension(split, dataset):
    with pytest.raises(EmbedderError, match=r"gave shape \(3, 2\) for 3 objects; expected \(3, 4\)"):
        run(_Sums(dimension=4), split, dataset)


def test_what_cannot_be_asked(split, dataset):
    with pytest.raises(EmbedderError, match="takes no modality 'photometry'"):
        run(_Sums(), split, dataset, modality="photometry")
    with pytest.raises(EmbedderError, match="batch size 0"):
        run(_Sums(), split, dataset, batch_size=0)


def test_batches_must_come_in_the_order_of_the_ids(split, dataset):
    split.batches = lambda columns, size: reversed(list(type(split).batches(split, columns, size)))
    with pytest.raises(EmbedderError, match="another order than its ids"):
        run(_Sums(), split, dataset)
    split.batches = lambda columns, size: iter(list(type(split).batches(split, columns, size))[:-1])
    with pytest.raises(EmbedderError, match="gave 18 objects; expected 20"):
        run(_Sums(digest="3" * 32), split, dataset)


def test_automatic_batch_sizes():
    assert auto_batch_size(image_modality(), "cpu") == 64
    assert auto_batch_size(image_modality(), "cuda:0") == 512
    assert auto_batch_size(spectrum_modality(), "cpu") == 256
    assert auto_batch_size(photometry_modality("grz"), "cpu") == 4096
    assert auto_batch_size(image_modality(size=4096), "cpu") == 1


def test_bundled_models_pass_through(toy, split, dataset):
    found = run(load_embedder("bundled-toy"), split, dataset)
    assert found.vectors.shape == (20, 5)
