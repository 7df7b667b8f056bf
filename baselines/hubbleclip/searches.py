"""What the paper measures of a model of images and text: searches both ways, and how close pairs are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.tasks import retrieval

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.embedders import Embedder

IMAGE, TEXT = "image", "text"
DIRECTIONS: Mapping[str, tuple[str, str]] = {"text to image": (TEXT, IMAGE), "image to text": (IMAGE, TEXT)}
"""Name -> modality of the query, and of what is searched."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Space:
    """A model, and where it puts the test galaxies and their captions: (n, d) each, of unit length."""

    embedder: Embedder
    vectors: Mapping[str, Vectors]

    def texts(self, dataset: BenchDataset, texts: list[str]) -> Vectors:
        """Return where the model puts other texts, (t, d)."""
        from astroclip_bench.embedders import embed_arrays

        modality = dataset.modalities[TEXT]
        columns = dict.fromkeys(modality.columns, np.array(texts, object))
        return _unit(embed_arrays(self.embedder, columns, modality))


def open_space(model: Path, dataset: BenchDataset, device: str) -> Space:
    """Return a model with the embeddings of the test split."""
    from astroclip_bench.embedders import embed_split, load_embedder

    embedder, view = load_embedder(str(model), device=device), dataset.splits["test"]
    found = {
        name: embed_split(embedder, view, dataset.modalities[name], data_digest=dataset.digest).vectors
        for name in (IMAGE, TEXT)
    }
    return Space(embedder, {name: _unit(vectors) for name, vectors in found.items()})


@dataclass(frozen=True)
class Accuracy:
    """Share of the searches that find their pair within the first part of the pool.

    Parameters
    ----------
    percent
        Returned part of the pool, 0 to 100, (p,).
    found
        Direction, a key of `DIRECTIONS` -> share (p,).
    """

    percent: NDArray[np.float64]
    found: Mapping[str, NDArray[np.float64]]


def accuracy(space: Space, dataset: BenchDataset) -> Accuracy:
    """Return the searches of a model, each among one galaxy of every proposal (`retrieval.dealt`); ties are shared."""
    view = dataset.splits["test"]
    things: NDArray[Any] = view.column(dataset.modalities[TEXT].shared_by)
    pool = len(set(things))
    wanted = np.arange(pool + 1)
    shares: dict[str, list[NDArray[np.float64]]] = {name: [] for name in DIRECTIONS}
    for dealt in retrieval.dealt(view.object_ids, things, pool):
        texts, images = (space.vectors[name][dealt.members] for name in (TEXT, IMAGE))
        both = retrieval.retrieval_counts(texts, images)
        for name, counts in zip(DIRECTIONS, (both.forward, both.backward), strict=True):
            mine = counts.take(dealt.counted)
            places = (wanted - mine.greater[:, None]) / (mine.ties[:, None] + 1)
            shares[name].append(np.clip(places, 0.0, 1.0))
    return Accuracy(100 * wanted / pool, {name: np.concatenate(parts).mean(0) for name, parts in shares.items()})


def mean_cosines(space: Space, dataset: BenchDataset) -> tuple[float, float]:
    """Return the mean cosine of image and own caption, and of image and the captions of all other proposals."""
    things = dataset.splits["test"].column(dataset.modalities[TEXT].shared_by)
    cosines = space.vectors[IMAGE] @ space.vectors[TEXT].T
    return float(np.diag(cosines).mean()), float(cosines[things[:, None] != things].mean())


def _unit(vectors: Vectors) -> Vectors:
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled
