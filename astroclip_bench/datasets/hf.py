"""The way to and from Hugging Face `datasets`: memory-mapped rows, read in any order without its slow formatters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from astroclip_bench.datasets.views import Batch, SplitView, table_to_batch
from astroclip_bench.files import cache_dir, storage_errors

if TYPE_CHECKING:
    import datasets


def split_to_hf(split: SplitView) -> datasets.Dataset:
    """Return a split as a memory-mapped `datasets.Dataset`; the Arrow copy lies in the cache between runs."""
    from datasets import Dataset, NamedSplit

    cache = cache_dir("arrow")
    with storage_errors(cache):
        dataset = Dataset.from_parquet(
            [str(split.folder / entry.path) for entry in split.files],
            split=NamedSplit(split.name),
            cache_dir=str(cache),
        )
    return dataset if split.selected is None else dataset.select(np.flatnonzero(split.selected))


def batches_from_hf(
    dataset: datasets.Dataset,
    columns: Sequence[str],
    batch_size: int,
    indices: npt.NDArray[np.int64] | None = None,
) -> Iterator[Batch]:
    """Yield batches of a `datasets.Dataset` through its Arrow format, in order or in the order of `indices`.

    Rows in order are views of the memory-mapped file (unless a batch spans two of its chunks); rows picked by index
    are gathered by Arrow in one copy.
    """
    names = list(dict.fromkeys(["object_id", *columns]))
    arrow = dataset.select_columns(names).with_format("arrow")
    total = len(arrow) if indices is None else len(indices)
    for start in range(0, total, batch_size):
        rows = slice(start, min(start + batch_size, total))
        yield table_to_batch(arrow[rows if indices is None else indices[rows]], columns)
