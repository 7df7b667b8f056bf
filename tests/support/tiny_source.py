"""A small record source for tests; in a module of its own, so that worker processes can import it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from astroclip_bench.datasets.arrays import numpy_to_arrow
from astroclip_bench.records import (
    COLUMNS,
    DatasetInfo,
    image_column,
    image_modality,
    photometry_modality,
    record_schema,
)
from dataset_builders.splits import split_of_pixel
from dataset_builders.validate import select_splits

NAMES = ("object_id", "ra", "dec", "healpix", "split", "image", "flux_g", "flux_r", "redshift", "mag_r", "hemisphere")


def tiny_info(**changes: Any) -> DatasetInfo:
    values: dict[str, Any] = {
        "name": "tiny",
        "version": "1.0",
        "title": "Tiny data set",
        "description": "Random numbers in the shape of galaxies.",
        "license": "CC-BY-4.0",
        "citation": "None.",
        "simulated": True,
    }
    return DatasetInfo(**{**values, **changes})


def tiny_schema(size: int, info: DatasetInfo) -> pa.Schema:
    columns = [image_column(size=size) if name == "image" else COLUMNS[name] for name in NAMES]
    return record_schema(info, columns, [image_modality(size=size), photometry_modality("gr")])


@dataclass
class TinySource:
    """`n_shards` shards of `shard_rows` galaxies on a few HEALPix pixels, a third of them without redshift."""

    n_shards: int = 3
    shard_rows: int = 40
    size: int = 8
    batch_rows: int = 16
    seconds_a_batch: float = 0.0
    fault: str = ""
    fault_shard: int = 1
    seen: Path | None = None
    info: DatasetInfo = field(default_factory=tiny_info)

    def __post_init__(self) -> None:
        self.schema = tiny_schema(self.size, self.info)
        self.shards = range(self.n_shards)

    def shard_size(self, shard: int) -> int:
        """Return the same number for each shard."""
        return self.shard_rows

    def card(self) -> Mapping[str, str]:
        """Return one section."""
        return {"How it was made": "With a random number generator."}

    def build_record(self) -> Mapping[str, Any]:
        """Return a count of nothing."""
        return {"rows_dropped": {"none": 0}}

    def rows(self, shard: int, splits: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the batches of a shard, spoiled or slowed down where a test asks for it."""
        if self.seen is not None:
            with self.seen.open("a") as handle:
                handle.write(f"{shard} {os.getpid()}\n")
        for start in range(0, self.shard_rows, self.batch_rows):
            time.sleep(self.seconds_a_batch)
            count = min(self.batch_rows, self.shard_rows - start)
            batch = self.make(shard * self.shard_rows + start, count)
            if self.fault and shard == self.fault_shard:
                batch = self.spoil(batch)
            yield select_splits(batch, splits)

    def make(self, first: int, count: int) -> pa.RecordBatch:
        """Return `count` galaxies from number `first` on."""
        index = np.arange(first, first + count)
        random = np.random.default_rng([first, 7])
        healpix = 100 + index % 12
        redshift = random.uniform(0, 1, count).astype(np.float32)
        columns = {
            "object_id": pa.array([str(1000 + i) for i in index]),
            "ra": pa.array(index * 0.25),
            "dec": pa.array(index * -0.125),
            "healpix": pa.array(healpix),
            "split": pa.array(split_of_pixel(healpix).tolist()),
            "image": numpy_to_arrow(random.normal(size=(count, 3, self.size, self.size)).astype(np.float32)),
            "flux_g": pa.array(random.uniform(1, 2, count).astype(np.float32)),
            "flux_r": pa.array(random.uniform(1, 2, count).astype(np.float32)),
            "redshift": pa.array(redshift, mask=index % 3 == 0),
            "mag_r": pa.array(random.uniform(15, 20, count).astype(np.float32)),
            "hemisphere": pa.array(["north" if i % 2 else None for i in index], pa.string()),
        }
        return pa.record_batch(columns, schema=self.schema)

    def spoil(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with the fault in it, or fail as the fault says."""
        if self.fault == "stop":
            raise OSError(28, "No space left on device", "somewhere")
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        table = {name: batch.column(name) for name in batch.schema.names}
        count = batch.num_rows
        nothing = np.full(count, np.nan, np.float32)
        images = np.zeros((count, 3, self.size, self.size), np.float32)
        images[0, 0, 0, :2] = np.nan, np.inf
        spoiled = {
            "nan pixels": ("image", numpy_to_arrow(images)),
            "nan label": ("redshift", pa.array(nothing)),
            "null modality": ("flux_g", pa.array([None] * count, pa.float32())),
            "duplicate": ("object_id", pa.array(["1000"] * count)),
            "split": ("split", pa.array(["dev"] * count)),
            "type": ("mag_r", pa.array(["bright"] * count)),
        }
        if self.fault == "column":
            del table["mag_r"]
        else:
            name, column = spoiled[self.fault]
            table[name] = column
        return pa.RecordBatch.from_arrays(list(table.values()), names=list(table))
