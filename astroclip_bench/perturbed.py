"""A model, a data set, and its test objects as a perturbation leaves them: what the robustness suite asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import DataError
from astroclip_bench.perturbations import Perturbation
from astroclip_bench.records import Modality

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset, SplitView
    from astroclip_bench.datasets.views import Batch
    from astroclip_bench.embedders import Embedder
    from astroclip_bench.inputs import ShowProgress

Vectors = NDArray[np.float32]

REFERENCE_SPLIT, QUERY_SPLIT = "train", "test"


@dataclass(frozen=True)
class PerturbedSplit:
    """A split whose batches come perturbed in one modality; what `embed_split` needs of a split."""

    view: SplitView
    modality: Modality
    perturbation: Perturbation
    level: float

    @property
    def name(self) -> str:
        """Name of the split."""
        return self.view.name

    @property
    def object_ids(self) -> list[str]:
        """Ids of its rows."""
        return self.view.object_ids

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[Batch]:
        """Yield batches of the columns, those of the modality perturbed."""
        from astroclip_bench.datasets.views import Batch

        for batch in self.view.batches(columns, batch_size):
            changed = self.perturbation.apply(batch.arrays, self.modality, batch.object_ids, self.level)
            yield Batch(batch.object_ids, changed)


@dataclass(frozen=True)
class Bench:
    """The model, the two splits, the labels `wanted`, and the clean embeddings, each made once."""

    embedder: Embedder
    dataset: BenchDataset
    splits: Mapping[str, SplitView]
    wanted: tuple[str, ...]
    show_progress: ShowProgress

    @cached_property
    def modalities(self) -> dict[str, Modality]:
        """Return the modalities that the model and the data set share."""
        return {name: item for name, item in self.dataset.modalities.items() if self.embedder.info.supports(name)}

    @cached_property
    def clean(self) -> dict[tuple[str, str], Vectors]:
        """Return (split, modality) -> embeddings of the unchanged objects."""
        return {
            (split, name): self.embed(view, name) for split, view in self.splits.items() for name in self.modalities
        }

    @cached_property
    def columns(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return split -> its pixels and those of `wanted` that the data set has, each (n,)."""
        names = ["healpix", *(name for name in self.wanted if name in self.dataset.schema.names)]
        return {split: {name: view.column(name) for name in names} for split, view in self.splits.items()}

    def embed(self, split: SplitView | PerturbedSplit, modality: str) -> Vectors:
        """Return the embeddings of a split; those of a perturbed one are not kept between runs."""
        from astroclip_bench.embedders import embed_split

        changed = isinstance(split, PerturbedSplit)
        what = (
            f"{split.perturbation.name} {split.level:g}" if isinstance(split, PerturbedSplit) else f"embed {split.name}"
        )
        with self.show_progress(f"{what} {modality}") as report:
            found = embed_split(
                self.embedder,
                split,
                self.dataset.modalities[modality],
                data_digest=self.dataset.digest,
                cache=not changed,
                progress=report,
            )
        return found.vectors

    def references(self, query: str) -> list[str]:
        """Return the modalities whose embeddings a query may be compared with."""
        return [name for name in self.modalities if name == query or self.embedder.info.shared_space]


def choose_splits(dataset: BenchDataset, limit: int | None) -> dict[str, SplitView]:
    """Return the train and test splits, or `limit` objects of each.

    Raises
    ------
    DataError
        If the data set lacks one of them.
    """
    for name in (REFERENCE_SPLIT, QUERY_SPLIT):
        if name not in dataset.splits or not dataset.splits[name].rows:
            raise DataError(f"{dataset.info.name} has no {name} split", "a train and a test split")
    views = {name: dataset.splits[name] for name in (REFERENCE_SPLIT, QUERY_SPLIT)}
    return views if limit is None else {name: view.subsample(limit) for name, view in views.items()}
