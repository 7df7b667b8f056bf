"""What an analysis is about: objects, their columns, and the spaces that a model puts them into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.analysis import structure
from astroclip_bench.analysis.outliers import Strangeness, strangeness
from astroclip_bench.errors import DataError
from astroclip_bench.records import columns_of_role

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset, SplitView
    from astroclip_bench.embedders import Embedder
    from astroclip_bench.inputs import ShowProgress

Vectors = Mapping[str, NDArray[np.float32]]
"""Modality -> (n, d), the same objects in the same order."""


@dataclass(frozen=True)
class Subject:
    """What is analysed: objects of a split, their labels and properties, and their vectors by modality."""

    view: SplitView
    columns: dict[str, NDArray[Any]]
    vectors: Vectors
    shared: bool

    def label(self, name: str) -> NDArray[np.float64]:
        """Return a column (n,), NaN where the data set has none."""
        return self.columns.get(name, np.full(self.view.rows, np.nan))


@dataclass(frozen=True)
class Space:
    """One space of the subject: its vectors, map, islands, clusters and how alone each object is in it."""

    vectors: NDArray[np.float32]
    plane: structure.Plane
    islands: structure.Int64
    clusters: structure.Clusters
    strangeness: Strangeness

    @classmethod
    def of(cls, vectors: NDArray[np.float32], eps: float, minimum: int, seed: int) -> Space:
        """Map, divide and search a space of vectors (n, d); see `structure` for what the numbers do."""
        plane = structure.project(vectors, seed)
        islands = structure.find_islands(plane, eps, minimum)
        return cls(vectors, plane, islands, structure.find_clusters(vectors, seed=seed), strangeness(vectors))


def embed_subject(
    embedder: Embedder, dataset: BenchDataset, split: str, limit: int | None, show: ShowProgress
) -> Subject:
    """Embed a split, or `limit` objects of it, in every modality that the model and the data set share.

    Raises
    ------
    DataError
        If the data set has no such split, or shares no modality with the model.
    """
    from astroclip_bench.embedders import embed_split

    if split not in dataset.splits or not dataset.splits[split].rows:
        raise DataError(f"{dataset.info.name} has no {split} split", f"one of {', '.join(dataset.splits)}")
    view = dataset.splits[split] if limit is None else dataset.splits[split].subsample(limit)
    modalities = [modality for modality in dataset.modalities.values() if embedder.info.supports(modality.name)]
    if not modalities:
        raise DataError(
            f"{embedder.info.name} embeds {', '.join(embedder.info.modalities) or 'nothing'}; "
            f"{dataset.info.name} has {', '.join(dataset.modalities)}",
            "a modality in common",
        )
    vectors = {}
    for modality in modalities:
        with show(f"embed {embedder.info.name} {split} {modality.name}") as report:
            found = embed_split(embedder, view, modality, data_digest=dataset.digest, progress=report)
            vectors[modality.name] = found.vectors
    names = [name for role in ("label", "property") for name in columns_of_role(dataset.schema, role)]
    columns = {name: view.column(name) for name in names}
    columns = {name: column for name, column in columns.items() if column.ndim == 1}  # not posterior samples
    return Subject(view, columns, vectors, embedder.info.shared_space)
