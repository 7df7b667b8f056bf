"""A record source with all that a builder may offer: previews, posterior samples, configurations, rows left out."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from tiny_source import TinySource, tiny_info

from astroclip_bench.datasets.arrays import numpy_to_arrow, select_rows
from astroclip_bench.records import (
    COLUMNS,
    image_column,
    image_modality,
    preview_column,
    record_schema,
    samples_column,
)
from dataset_builders.preview import preview_array
from dataset_builders.source import Configuration
from dataset_builders.validate import select_splits

SIZE = 8
N_SAMPLES = 5
LEFT_OUT = "band missing"


@dataclass
class RichSource(TinySource):
    """Rows of `TinySource` with a picture and samples; every fifth row is left out while loading."""

    def __post_init__(self) -> None:
        names = ("object_id", "ra", "dec", "healpix", "split", "redshift", "log_stellar_mass", "mag_r")
        columns = [
            *(COLUMNS[name] for name in names),
            preview_column(),
            image_column(size=SIZE),
            samples_column("log_stellar_mass", N_SAMPLES),
        ]
        self.schema = record_schema(tiny_info(name="rich"), columns, [image_modality(size=SIZE)])
        self.shards = range(self.n_shards)
        self.info = tiny_info(name="rich")

    @property
    def configurations(self) -> Mapping[str, Configuration]:
        """One for the rows with a stellar mass."""
        columns = ("log_stellar_mass", "log_stellar_mass_samples")
        return {"masses": Configuration(columns, "log_stellar_mass", "Stellar masses")}

    def build_record(self) -> Mapping[str, Any]:
        """Return a step and an input file."""
        rows = self.n_shards * self.shard_rows
        return {
            "steps": [{"step": "match", "read": rows + 3, "kept": rows, "dropped": {"no counterpart": 3}}],
            "inputs": [{"path": "coadd.fits", "bytes": 2_000_000_000, "sha256": "0" * 64}],
        }

    def rows(
        self, shard: int, splits: Collection[str] | None = None
    ) -> Generator[pa.RecordBatch, None, dict[str, int]]:
        """Yield four of five rows, and return how many were left out."""
        dropped = 0
        for plain in TinySource(self.n_shards, self.shard_rows).rows(shard):
            index = np.array([int(name) for name in plain.column("object_id").to_pylist()])
            mass = pa.array(index * 0.01, pa.float32(), mask=index % 4 == 0)
            samples = pa.FixedSizeListArray.from_arrays(
                pa.array(np.repeat(index, N_SAMPLES), pa.float32()),
                type=samples_column("log_stellar_mass", N_SAMPLES).dtype,
                mask=pa.array(index % 4 == 0),
            )
            image = np.ones((len(index), 3, SIZE, SIZE), np.float32) * (index % 10)[:, None, None, None] / 100
            made = {
                "log_stellar_mass": mass,
                "log_stellar_mass_samples": samples,
                "image": numpy_to_arrow(image.astype(np.float32)),
                "preview": preview_array(image),
            }
            arrays = [made[field.name] if field.name in made else plain.column(field.name) for field in self.schema]
            batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
            keep = index % 5 != 0
            dropped += int((~keep).sum())
            yield select_splits(select_rows(batch, keep), splits)
        return {LEFT_OUT: dropped}
