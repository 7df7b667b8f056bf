"""Embed a split, or have a model predict its labels: in batches, resumable, from the cache where it can be."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from astroclip_bench.embedders.cache import PartStore, cache_key, described_key
from astroclip_bench.embedders.halving import Halving
from astroclip_bench.embedders.protocol import (
    Arrays,
    Embedder,
    EmbedderInfo,
    Predictions,
    Predictor,
    Vectors,
    require_predictions,
    require_vectors,
    select_columns,
)
from astroclip_bench.embedders.stored import StoredEmbeddings
from astroclip_bench.errors import EmbedderError
from astroclip_bench.progress import Progress
from astroclip_bench.records import Modality

PART_ROWS = 4096
PART_SECONDS = 60.0
"""A part is written after this many rows, or this long: what an interruption can cost."""

MAX_BATCH = 4096
BATCH_BYTES = {"cpu": 20 * 2**20, "cuda": 160 * 2**20}
"""Input of one batch under `batch_size="auto"`: 64 images on a CPU, where more gains nothing, 512 on a GPU."""


class Batch(Protocol):
    """Some objects' ids and arrays (n, *shape)."""

    @property
    def object_ids(self) -> Sequence[str]:
        """Their ids."""

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """Their columns."""


class Split(Protocol):
    """What this module needs of a split view: its ids, and its batches in the order of the ids."""

    @property
    def name(self) -> str:
        """One of train, validation, test."""

    @property
    def object_ids(self) -> Sequence[str]:
        """Ids of all rows, in order."""

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[Batch]:
        """Yield the columns of `batch_size` rows at a time."""


@dataclass(frozen=True)
class Embeddings:
    """Vectors (n, d), float32, of the objects named by `object_ids`, in the same order."""

    object_ids: list[str]
    vectors: Vectors


def embed_split(
    embedder: Embedder,
    split: Split,
    modality: Modality,
    *,
    data_digest: str,
    batch_size: int | Literal["auto"] = "auto",
    dtype: str = "float32",
    cache: bool = True,
    progress: Progress | None = None,
) -> Embeddings:
    """Return the embeddings of one modality of a split, in the order of its ids.

    Parameters
    ----------
    data_digest
        Digest of the data set, part of the cache's key.
    batch_size
        Objects handed to the embedder at a time; halved when memory runs out.
    dtype
        How the embedder computes, part of the cache's key.
    cache
        Read parts made earlier and keep new ones. Precomputed embeddings are looked up and never cached.
    progress
        Called with (done, total) as objects are embedded.

    Raises
    ------
    EmbedderError
        If the embedder does not take the modality, gives vectors of another shape or type, or not finite ones
        (naming the first object), or runs out of memory with a single object.
    """
    ids = list(split.object_ids)
    report = progress or _silent
    if isinstance(embedder, StoredEmbeddings):
        vectors = embedder.lookup(ids, modality.name)
        report(len(ids), len(ids))
        return Embeddings(ids, vectors)
    if not embedder.info.supports(modality.name):
        raise EmbedderError(
            f"{embedder.info.name!r} takes no modality {modality.name!r}", ", ".join(embedder.info.modalities)
        )
    ask = Halving(embed_arrays, embedder, _size(batch_size, embedder, modality))
    store = None
    if cache:
        key = cache_key(embedder, modality, data_digest=data_digest, split=split.name, object_ids=ids, dtype=dtype)
        store = PartStore(key, ids)
    return Embeddings(ids, _run(ask, embedder.info.dimension, split, modality, store, report))


def predict_split(
    embedder: Embedder,
    split: Split,
    modality: Modality,
    *,
    data_digest: str,
    batch_size: int | Literal["auto"] = "auto",
    dtype: str = "float32",
    cache: bool = True,
    progress: Progress | None = None,
) -> dict[str, npt.NDArray[np.float32]]:
    """Return a model's own predictions from one modality of a split: target -> (n,), in the order of its ids.

    Parameters
    ----------
    data_digest, batch_size, dtype, cache, progress
        As for `embed_split`.

    Raises
    ------
    EmbedderError
        If the model predicts nothing from the modality, gives other than it declares, or not finite values (naming
        the first object), or runs out of memory with a single object.
    """
    ids = list(split.object_ids)
    report = progress or _silent
    targets = embedder.info.predicts(modality.name)
    if isinstance(embedder, StoredEmbeddings):
        found = {target: embedder.lookup_prediction(ids, modality.name, target) for target in targets}
        report(len(ids), len(ids))
        return found
    if not targets:
        raise EmbedderError(f"{embedder.info.name!r} predicts nothing from {modality.name!r}", "a modality it names")
    ask = Halving(predict_arrays, embedder, _size(batch_size, embedder, modality))
    store = None
    if cache:
        identity = {"data_digest": data_digest, "split": split.name, "dtype": dtype}
        store = PartStore(cache_key(embedder, modality, object_ids=ids, predicted=targets, **identity), ids)
    values = _run(ask, len(targets), split, modality, store, report)
    return {target: values[:, place] for place, target in enumerate(targets)}


def read_cached(
    info: EmbedderInfo,
    code: str,
    split: Split,
    modality: Modality,
    *,
    data_digest: str,
    dtype: str,
    predicted: Sequence[str] = (),
) -> npt.NDArray[np.float32] | None:
    """Return the vectors (n, d) that the cache holds of an embedder, in the order of the split's ids, without loading it.

    Parameters
    ----------
    info, code
        The embedder's description and the digest of its code, as a result names them.
    predicted
        Targets, where its predictions (n, t) are wanted and not its vectors.

    Returns
    -------
    numpy.ndarray
        Or None, where a row is missing.
    """
    ids = list(split.object_ids)
    identity: dict[str, Any] = {"data_digest": data_digest, "split": split.name, "dtype": dtype}
    key = described_key(info, code, modality, object_ids=ids, predicted=predicted, **identity)
    width = len(predicted) or info.dimension
    vectors, done = np.zeros((len(ids), width), np.float32), np.zeros(len(ids), bool)
    PartStore(key, ids).load_into(vectors, done)
    return vectors if done.all() else None


def _size(batch_size: int | Literal["auto"], embedder: Embedder, modality: Modality) -> int:
    size = batch_size if batch_size != "auto" else auto_batch_size(modality, str(getattr(embedder, "device", "cpu")))
    if size < 1:
        raise EmbedderError(f"batch size {size}", "auto, or a whole number of at least 1")
    return size


def _run(
    ask: Halving, width: int, split: Split, modality: Modality, store: PartStore | None, report: Progress
) -> Vectors:
    """Return what `ask` gives for every row (n, width), from the store where it holds it."""
    ids = list(split.object_ids)
    vectors, done = np.zeros((len(ids), width), np.float32), np.zeros(len(ids), bool)
    if store is not None:
        store.load_into(vectors, done)
    report(int(done.sum()), len(ids))
    if not done.all():
        writer = _PartWriter(store, vectors)
        for rows, arrays in _missing_batches(split, modality, ask.size, ids, done):
            vectors[rows] = ask(arrays, modality, ids[rows])
            done[rows] = True
            writer.add(rows)
            report(int(done.sum()), len(ids))
        writer.flush()
    return vectors


def embed_arrays(
    embedder: Embedder, arrays: Arrays, modality: Modality, object_ids: list[str] | None = None
) -> Vectors:
    """Embed one batch: hand over the modality's columns alone, and check what comes back.

    Raises
    ------
    EmbedderError
        As `select_columns` and `require_vectors` do.
    """
    batch = select_columns(arrays, modality)
    vectors = embedder.embed(batch, modality.name)
    return require_vectors(vectors, len(next(iter(batch.values()))), embedder.info, modality.name, object_ids)


def predict_arrays(
    embedder: Embedder, arrays: Arrays, modality: Modality, object_ids: list[str] | None = None
) -> Predictions:
    """Return a model's own predictions (n, t) for one batch, one column for each of ``info.targets[modality]``.

    Raises
    ------
    EmbedderError
        As `select_columns` and `require_predictions` do, or if there is no method `predict`.
    """
    if not isinstance(embedder, Predictor):
        raise EmbedderError(f"{embedder.info.name!r} names targets", "a method predict(batch, modality)")
    batch = select_columns(arrays, modality)
    found = embedder.predict(batch, modality.name)
    return require_predictions(found, len(next(iter(batch.values()))), embedder.info, modality.name, object_ids)


def auto_batch_size(modality: Modality, device: str) -> int:
    """Return the power of two, up to `MAX_BATCH`, whose input stays within `BATCH_BYTES`."""
    object_bytes = 4 * len(modality.columns) * int(np.prod(modality.shape, dtype=np.int64))
    fits = BATCH_BYTES.get(device.partition(":")[0], BATCH_BYTES["cpu"]) // max(object_bytes, 1)
    return int(2 ** int(np.log2(min(max(fits, 1), MAX_BATCH))))


def _silent(done: int, total: int) -> None:
    """Report nothing."""


def _missing_batches(
    split: Split, modality: Modality, size: int, ids: list[str], done: npt.NDArray[np.bool_]
) -> Iterator[tuple[slice, dict[str, npt.NDArray[Any]]]]:
    """Yield runs of rows that are not done, with their arrays, at most `size` at a time."""
    start = 0
    for batch in split.batches(list(modality.columns), size):
        stop = start + len(batch.object_ids)
        if list(batch.object_ids) != ids[start:stop]:
            raise EmbedderError(f"split {split.name!r} gave its batches in another order than its ids")
        for first, last in _runs(~done[start:stop]):
            arrays = {name: array[first:last] for name, array in batch.arrays.items()}
            yield slice(start + first, start + last), arrays
        start = stop
    if start != len(ids):
        raise EmbedderError(f"split {split.name!r} gave {start} objects", f"{len(ids)}")


def _runs(wanted: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


class _PartWriter:
    """Writes runs of finished rows as parts, every so many rows or seconds."""

    def __init__(self, store: PartStore | None, vectors: Vectors) -> None:
        self._store, self._vectors = store, vectors
        self._start = self._stop = 0
        self._written = time.monotonic()

    def add(self, rows: slice) -> None:
        if rows.start != self._stop:
            self.flush()
            self._start = rows.start
        self._stop = rows.stop
        if self._stop - self._start >= PART_ROWS or time.monotonic() - self._written >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._store is not None and self._stop > self._start:
            self._store.write(self._start, self._vectors[self._start : self._stop])
        self._start = self._stop
        self._written = time.monotonic()
