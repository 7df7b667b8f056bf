"""What a data set's builder has to offer: its rows, shard by shard."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from astroclip_bench.records import DatasetInfo


class RecordSource(Protocol):
    """The rows of one data set, in shards that can each be made alone, in any order, in any process.

    A source is picklable: worker processes receive a copy of it. Making the same shard twice gives the same rows.
    """

    info: DatasetInfo
    schema: pa.Schema
    """Made by `astroclip_bench.records.record_schema`."""
    shards: Sequence[int]
    """The shard numbers 0, 1, ... n-1."""

    def rows(self, shard: int, splits: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of `shard` as batches of `schema`, in a fixed order; of those splits alone, if given."""
        ...

    def shard_size(self, shard: int) -> int:
        """Return the number of rows in `shard`, for progress."""
        ...

    def card(self) -> Mapping[str, str]:
        """Return extra sections of the data set card: heading -> Markdown body."""
        ...
