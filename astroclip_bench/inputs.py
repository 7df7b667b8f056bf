"""What every embedder of one evaluation is given: the splits of a data set, embedded from the cache, and their columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from astroclip_bench.errors import DataError
from astroclip_bench.progress import Progress
from astroclip_bench.results.outcomes import OBJECT_COLUMNS
from astroclip_bench.tasks.task import GROUPS, Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astroclip_bench.datasets import BenchDataset, SplitView
    from astroclip_bench.embedders import Embedder
    from astroclip_bench.tasks.rows import Side

REFERENCE_SPLIT, SELECTION_SPLIT, QUERY_SPLIT = "train", "validation", "test"

Answer = TypeVar("Answer")
ShowProgress = Callable[[str], AbstractContextManager[Progress]]


def silent(what: str) -> AbstractContextManager[Progress]:
    """Show nothing of the progress."""
    return nullcontext(lambda done, total: None)


@dataclass
class Inputs:
    """What every embedder of one evaluation is given: the data, its splits, and how to embed them."""

    dataset: BenchDataset
    splits: dict[str, SplitView]
    batch_size: int | Literal["auto"]
    dtype: str
    use_cache: bool
    show_progress: ShowProgress
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the wall time of the block to `timings`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[what] = self.timings.get(what, 0.0) + time.perf_counter() - start

    def modalities(self, embedder: Embedder) -> list[str]:
        """Return the modalities that the embedder takes, of those that the data set has."""
        return [name for name in self.dataset.modalities if embedder.info.supports(name)]

    def predicting(self, embedder: Embedder, target: str | None) -> list[str]:
        """Return the modalities, of those that the data set has, that the embedder itself predicts a label from."""
        return [name for name in self.dataset.modalities if target in embedder.info.predicts(name)]

    def embed(self, embedder: Embedder, split: str, modality: str) -> Side:
        """Return the embeddings of a split, from the cache where they are there, with the labels of its rows."""
        from astroclip_bench.embedders import embed_split
        from astroclip_bench.tasks.rows import Side

        embeddings = self._ask(embed_split, "embed", embedder, split, modality)
        shared_by = self.dataset.modalities[modality].shared_by
        return Side(modality, embeddings.vectors, embeddings.object_ids, self.columns[split], shared_by)

    def embed_prompts(self, embedder: Embedder, task: Task) -> NDArray[np.float32]:
        """Return the embeddings of a task's prompts, (classes, d)."""
        import numpy as np

        from astroclip_bench.embedders.embed import embed_arrays

        modality = self.dataset.modalities[task.prompt_modality]
        texts = np.array(task.prompts, object)
        return embed_arrays(embedder, dict.fromkeys(modality.columns, texts), modality)

    def predict(self, embedder: Embedder, split: str, modality: str) -> dict[str, NDArray[np.float32]]:
        """Return what the embedder itself predicts from a modality of a split: target -> (n,)."""
        from astroclip_bench.embedders import predict_split

        return self._ask(predict_split, "predict", embedder, split, modality)

    def _ask(self, ask: Callable[..., Answer], doing: str, embedder: Embedder, split: str, modality: str) -> Answer:
        what = f"{doing} {embedder.info.name} {split} {modality}"
        with self.timed(what), self.show_progress(what) as report:
            return ask(
                embedder,
                self.splits[split],
                self.dataset.modalities[modality],
                data_digest=self.dataset.digest,
                batch_size=self.batch_size,
                dtype=self.dtype,
                cache=self.use_cache,
                progress=report,
            )

    @cached_property
    def columns(self) -> dict[str, dict[str, Any]]:
        """What scoring needs of each split: pixels, labels, and the columns that form groups.

        Objects without a place on the sky are resampled with those that share a view with them, or alone: a negative
        number, in the place of a pixel, is what they have in common.
        """
        shared = {modality.shared_by for modality in self.dataset.modalities.values()}
        wanted = {"healpix", *shared, *self.dataset.labels, *(grouping.column for grouping in GROUPS.values())}
        names = [name for name in self.dataset.schema.names if name in wanted]
        found = {split: {name: view.column(name) for name in names} for split, view in self.splits.items()}
        for split, columns in found.items():
            together = next((columns[name] for name in sorted(shared) if name), self.splits[split].object_ids)
            columns["healpix"] = clusters_of(columns["healpix"], together)
        return found

    @property
    def queried(self) -> dict[str, Any]:
        """What the outcomes of each test object are kept with: its id, its pixel, and what it is grouped by."""
        columns = {**self.columns[QUERY_SPLIT], "object_id": self.splits[QUERY_SPLIT].object_ids}
        names = dict.fromkeys((*OBJECT_COLUMNS, *(grouping.column for grouping in GROUPS.values())))
        return {name: columns[name] for name in names if name in columns}


def splits_of(dataset: BenchDataset, limit: int | None) -> dict[str, SplitView]:
    """Return the splits of an evaluation by name, or `limit` objects of each.

    Raises
    ------
    DataError
        If there is no test split.
    """
    names = (REFERENCE_SPLIT, SELECTION_SPLIT, QUERY_SPLIT)
    chosen = {name: dataset.splits[name] for name in names if name in dataset.splits}
    # Without a train split there is still retrieval, among the test objects; without a test split there is nothing.
    if not {REFERENCE_SPLIT, QUERY_SPLIT} <= chosen.keys() or not chosen[QUERY_SPLIT].rows:
        raise DataError(
            f"{dataset.info.name} has no {QUERY_SPLIT} split", todo="build it larger, or from more of the sky"
        )
    return chosen if limit is None else {name: view.subsample(limit) for name, view in chosen.items()}


def clusters_of(healpix: NDArray[np.int64], together: Iterable[str | None]) -> NDArray[np.int64]:
    """Return the pixels, and where there is none (below 0) a negative number for each value of `together`."""
    import numpy as np

    unknown = healpix < 0
    if not unknown.any():
        return healpix
    names = [f"row {row}" if name is None else f"name {name}" for row, name in enumerate(together)]
    return np.where(unknown, -1 - np.unique(names, return_inverse=True)[1], healpix)
