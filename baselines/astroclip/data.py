"""Batches of a split for training: shuffled by a seed, shared among processes, on the device before they are needed.

The order is a function of the seed and the epoch, so that a run goes on at any step with nothing stored but the step.
Rows come from the memory-mapped Arrow file by index, or from a copy of the split in memory or on the device.
Text becomes numbers as it is read, by what the stage names for each column: a batch holds tensors alone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from astroclip_bench.datasets import Batch, BenchDataset, SplitView, batches_from_hf
from astroclip_bench.errors import DataError
from astroclip_bench.progress import Progress
from baselines.astroclip.config import DataSettings

if TYPE_CHECKING:
    import datasets

READ_ROWS = 256
"""Rows read at a time into a cache."""

Rows = npt.NDArray[np.int64]
Tensors = dict[str, Tensor]
Strings = Mapping[str, Callable[[Sequence[str]], Tensor]]
"""Column of text -> what makes a tensor (n, ...) of whole numbers of n texts."""


@dataclass(frozen=True)
class TrainingSplit:
    """The usable rows of a split and how they are read.

    Attributes
    ----------
    rows
        Numbers of the usable rows, rising: those with a value in each of the columns.
    cached
        Column -> the usable rows (n, *shape), if they are kept.
    strings
        What makes numbers of each column of text.
    """

    view: SplitView
    columns: tuple[str, ...]
    rows: Rows
    arrow: datasets.Dataset | None = field(repr=False)
    cached: Tensors | None = field(repr=False)
    strings: Strings = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """Where `batches` leaves its tensors."""
        return torch.device("cpu") if self.cached is None else next(iter(self.cached.values())).device

    def batches(self, order: Rows, size: int) -> Iterator[Tensors]:
        """Yield tensors of `size` rows in the given order (numbers from 0 to the length of this split).

        They are float32, but for texts, which are whole numbers.
        """
        if self.cached is not None:
            for start in range(0, len(order), size):
                index = torch.from_numpy(order[start : start + size]).to(self.device)
                chosen = {name: values.index_select(0, index) for name, values in self.cached.items()}
                yield {name: rows.float() if rows.is_floating_point() else rows for name, rows in chosen.items()}
            return
        assert self.arrow is not None
        for batch in batches_from_hf(self.arrow, self.columns, size, self.rows[order]):
            yield encode_strings(batch, self.strings)


def to_tensors(batch: Batch) -> Tensors:
    """Return a batch of arrays as float32 tensors that may be written to."""
    return {name: torch.from_numpy(np.require(array, np.float32, ["C", "W"])) for name, array in batch.arrays.items()}


def encode_strings(batch: Batch, strings: Strings) -> Tensors:
    """Return a batch as `to_tensors` does, its columns of text as whole numbers."""
    rest = {name: array for name, array in batch.arrays.items() if name not in strings}
    encoded = {name: strings[name](batch.arrays[name].tolist()) for name in strings if name in batch.arrays}
    return to_tensors(Batch(batch.object_ids, rest)) | encoded


def group_numbers(names: Sequence[str]) -> Tensor:
    """Return int64 numbers (n,), the same for the same name and, but for chance, different for others."""
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    return torch.from_numpy(np.frombuffer(b"".join(digests), np.int64).copy())


def open_split(
    dataset: BenchDataset,
    split: str,
    columns: Sequence[str],
    settings: DataSettings,
    device: torch.device,
    progress: Progress | None = None,
    strings: Strings | None = None,
) -> TrainingSplit:
    """Prepare a split for training or validation.

    Parameters
    ----------
    columns
        What a batch holds. Rows in which one of them is missing are left out.
    device
        Where ``cache = "device"`` keeps the split.
    progress
        Called with (done, total) while a cache is filled.
    strings
        What makes numbers of each column of text among them.

    Raises
    ------
    DataError
        If the split or a column is not there, no row has them all, or nothing makes numbers of a text.
    """
    view = dataset.splits.get(split)
    if view is None:
        raise DataError(f"data set {dataset.info.name!r} has no split {split!r}", f"one of {', '.join(dataset.splits)}")
    if settings.limit is not None:
        view = view.subsample(settings.limit)
    names = tuple(dict.fromkeys(columns))
    encoders = {name: encode for name, encode in (strings or {}).items() if name in names}
    rows = _usable_rows(view, names, encoders)
    if not len(rows):
        raise DataError(f"no galaxy in split {split!r} has {', '.join(names)}", "some to train on")
    if settings.cache == "none":
        return TrainingSplit(view, names, rows, open_arrow(view), None, encoders)
    place = device if settings.cache == "device" else torch.device("cpu")
    cached = _filled(view, names, rows, getattr(torch, settings.cache_dtype), place, progress, encoders)
    return TrainingSplit(view, names, rows, None, cached, encoders)


def open_arrow(view: SplitView) -> datasets.Dataset:
    """Return a split's memory-mapped rows; made on the first call, without the bars of `datasets`."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        return view.to_hf()
    finally:
        if shown:
            enable_progress_bars()


def _usable_rows(view: SplitView, columns: Sequence[str], strings: Strings) -> Rows:
    usable = np.ones(view.rows, bool)
    for name in columns:
        if name not in view.schema.names:
            raise DataError(f"no column {name!r} in the data set", f"one of {', '.join(view.schema.names)}")
        kind = view.schema.field(name)
        if pa.types.is_string(kind.type) != (name in strings):
            raise DataError(f"column {name!r} is of type {kind.type}", "text" if name in strings else "numbers")
        # Columns that cannot be null (images, spectra, captions) need not be read for it.
        if not kind.nullable:
            continue
        values = view.column(name)
        if name in strings:
            usable &= np.array([value is not None for value in values], bool)
        else:
            usable &= np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    return np.flatnonzero(usable)


def _filled(
    view: SplitView,
    columns: Sequence[str],
    rows: Rows,
    dtype: torch.dtype,
    device: torch.device,
    report: Progress | None,
    strings: Strings,
) -> Tensors:
    """Read the usable rows once, in file order; what does not fit into float16 becomes its largest number.

    Scalars stay float32, and texts whole numbers.
    """
    wanted = np.zeros(view.rows, bool)
    wanted[rows] = True
    cached: Tensors = {}
    start = done = 0
    for batch in view.batches(columns, READ_ROWS):
        chosen = wanted[start : start + len(batch.object_ids)]
        start += len(chosen)
        chosen_rows = torch.from_numpy(chosen)
        for name, values in encode_strings(batch, strings).items():
            if name not in cached:
                number = dtype if values.ndim > 1 else torch.float32  # labels are small, and exact
                kept = number if values.is_floating_point() else values.dtype
                cached[name] = torch.empty((len(rows), *values.shape[1:]), dtype=kept, device=device)
            if values.is_floating_point():
                limit = torch.finfo(cached[name].dtype).max
                values = values.clamp(-limit, limit)
            cached[name][done : done + chosen.sum()] = values[chosen_rows]
        done += int(chosen.sum())
        if report:
            report(done, len(rows))
    return cached


@dataclass
class Loader:
    """The endless sequence of training batches of one process.

    Parameters
    ----------
    batch_size
        Galaxies of a batch over all processes; each reads its own share of every batch.
    seed
        With the number of the epoch, fixes the order. The last, incomplete batch of an epoch is left out.
    ahead
        Batches read, and copied to the device on a stream of its own, before they are asked for.

    Attributes
    ----------
    waited_seconds
        Time that the training has stood still for data.
    """

    split: TrainingSplit
    batch_size: int
    seed: int
    device: torch.device
    process: int = 0
    processes: int = 1
    ahead: int = 3
    waited_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.batch_size % self.processes:
            raise DataError(f"batch size {self.batch_size}", f"a multiple of the {self.processes} processes")
        if len(self.split) < self.batch_size:
            raise DataError(f"{len(self.split)} galaxies to train on", f"at least one batch of {self.batch_size}")

    @property
    def batches_an_epoch(self) -> int:
        """Number of full batches of an epoch."""
        return len(self.split) // self.batch_size

    def order(self, epoch: int, first: int = 0) -> Rows:
        """Return the rows of an epoch that this process reads, from batch number `first` on."""
        permutation = np.random.default_rng([self.seed, epoch]).permutation(len(self.split))
        batches = permutation[: self.batches_an_epoch * self.batch_size].reshape(
            self.batches_an_epoch, self.processes, -1
        )
        return np.ascontiguousarray(batches[first:, self.process].reshape(-1), dtype=np.int64)

    def batches(self, first: int = 0) -> Iterator[Tensors]:
        """Yield the batches from number `first` (counted over all epochs) on, without end."""
        stream = _side_stream(self.device)
        with ThreadPoolExecutor(1, thread_name_prefix="loader") as thread:
            upcoming = self._read(first)
            pending = [thread.submit(self._next, upcoming, stream) for _ in range(max(1, self.ahead))]
            try:
                while True:
                    began = time.perf_counter()
                    batch, ready = pending.pop(0).result()
                    self.waited_seconds += time.perf_counter() - began
                    pending.append(thread.submit(self._next, upcoming, stream))
                    if ready is not None:
                        current = torch.cuda.current_stream(self.device)
                        current.wait_event(ready)
                        for values in batch.values():
                            values.record_stream(current)
                    yield batch
            finally:
                thread.shutdown(wait=True, cancel_futures=True)

    def _read(self, first: int) -> Iterator[Tensors]:
        epoch, first = divmod(first, self.batches_an_epoch)
        for number in count(epoch):
            yield from self.split.batches(self.order(number, first), self.batch_size // self.processes)
            first = 0

    def _next(
        self, upcoming: Iterator[Tensors], stream: torch.cuda.Stream | None
    ) -> tuple[Tensors, torch.cuda.Event | None]:
        """Read one batch and send it on its way to the device; in the loader's thread."""
        if stream is None:
            return {name: values.to(self.device) for name, values in next(upcoming).items()}, None
        with torch.cuda.stream(stream):
            batch = next(upcoming)
            if self.split.device.type == "cpu":
                batch = {name: values.pin_memory().to(self.device, non_blocking=True) for name, values in batch.items()}
            ready = stream.record_event()
        return batch, ready


def _side_stream(device: torch.device) -> torch.cuda.Stream | None:
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


def validation_batches(
    split: TrainingSplit, size: int, device: torch.device, process: int = 0, processes: int = 1
) -> Iterator[Tensors]:
    """Yield a process's share of a split, once, in file order.

    Parameters
    ----------
    size
        Galaxies of a batch over all processes. All batches are full; a smaller split is one smaller batch.
    """
    size = min(size, len(split)) // processes * processes
    if size == 0:
        raise DataError(f"{len(split)} galaxies to validate on", f"at least one for each of {processes} processes")
    order = np.arange(len(split) // size * size).reshape(-1, processes, size // processes)
    for batch in split.batches(order[:, process].reshape(-1), size // processes):
        yield {name: values.to(device) for name, values in batch.items()}
