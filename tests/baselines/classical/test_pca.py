"""Principal components: those of a singular value decomposition, in a model file that the harness reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import check_embedder, embed_split, load_embedder, save_model
from astroclip_bench.errors import DataError, EmbedderError
from baselines.astroclip.data import to_tensors
from baselines.classical import pca

SETTINGS = {"image": {"crop": 24, "resize": 8}, "spectrum": {}}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    from pair_source import PairSource

    from dataset_builders.parquet import build_dataset

    return open_dataset(build_dataset(PairSource(), tmp_path_factory.mktemp("pca-pairs") / "data-set"))


def pixels(module, split) -> np.ndarray:
    (batch,) = split.batches(module.pixels.columns, 1000)
    return module.pixels(to_tensors(batch)).double().numpy()


@pytest.mark.parametrize("modality", ["image", "spectrum"])
def test_components_are_those_of_the_decomposition(pairs, modality, tmp_path):
    module = pca.fit(pairs, modality, 3, SETTINGS[modality])
    train = pixels(module, pairs.splits["train"])
    _, values, rows = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs((module.components.double().numpy() * rows[:3]).sum(axis=1)), 1, atol=1e-3)
    np.testing.assert_allclose(module.deviation, values[:3] / np.sqrt(len(train) - 1), rtol=1e-3)

    path = save_model(tmp_path / "pca.pt", pca.ARCHITECTURE, module.version, module.config, module.state_dict())
    embedder = load_embedder(str(path))
    assert check_embedder(embedder, pairs).passed
    split, spec = pairs.splits["train"], pairs.modalities[modality]
    vectors = embed_split(embedder, split, spec, data_digest=pairs.digest, cache=False).vectors
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(vectors.std(axis=0, ddof=1), 1, atol=2e-3)


def test_a_small_last_batch_joins_the_one_before(pairs, monkeypatch):
    whole = pca.fit(pairs, "image", 8, SETTINGS["image"])
    rows = pairs.splits["train"].rows
    monkeypatch.setattr(pca, "BATCH_ROWS", rows - 5)
    seen = []
    joined = pca.fit(pairs, "image", 8, SETTINGS["image"], lambda done, total: seen.append((done, total)))
    assert seen[-1] == (rows, rows)
    for name, value in whole.state_dict().items():
        np.testing.assert_allclose(joined.state_dict()[name].abs().numpy(), value.abs().numpy(), atol=1e-3)


def test_what_cannot_be_fitted_or_embedded_is_refused(pairs):
    with pytest.raises(DataError, match="one a component"):
        pca.fit(pairs, "image", 1000, SETTINGS["image"])
    with pytest.raises(EmbedderError, match="image or spectrum"):
        pca.build({"modality": "photometry", "components": 2, "settings": {}})
    with pytest.raises(EmbedderError, match="did you mean crop"):
        pca.build({"modality": "image", "components": 2, "settings": {"crp": 3}})
    with pytest.raises(EmbedderError, match="no modality 'spectrum'"):
        pca.build({"modality": "image", "components": 2, "settings": {}}).embed(
            {"image": torch.zeros(1, 3, 96, 96)}, "spectrum"
        )
