"""A record source whose galaxies have every label of the core tasks, and next to nothing to embed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from tiny_source import TinySource, tiny_info

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

LABELS = ("redshift", "log_stellar_mass", "age", "metallicity", "log_ssfr")
PROPERTIES = ("mag_r", "snr")
NAMES = ("object_id", "ra", "dec", "healpix", "split", "image", "flux_g", *LABELS, *PROPERTIES, "hemisphere")
PIXELS = 300


@dataclass
class LabelledSource(TinySource):
    """As `TinySource`, but on `PIXELS` pixels of the sky, with five labels that every object has."""

    batch_rows: int = 1_000
    size: int = 2
    info: DatasetInfo = field(default_factory=lambda: tiny_info(name="labelled", title="Labelled"))

    def __post_init__(self) -> None:
        columns = [image_column(size=self.size) if name == "image" else COLUMNS[name] for name in NAMES]
        self.schema = record_schema(self.info, columns, [image_modality(size=self.size), photometry_modality("g")])
        self.shards = range(self.n_shards)

    def make(self, first: int, count: int) -> pa.RecordBatch:
        """Return `count` galaxies from number `first` on."""
        random = np.random.default_rng([first, 11])
        healpix = 100 + random.integers(0, PIXELS, count)
        numbers = {
            "redshift": random.gamma(3, 0.1, count),
            **{name: random.normal(size=count) for name in LABELS[1:]},
            "mag_r": random.uniform(16, 20, count),
            "snr": random.uniform(1, 20, count),
            "flux_g": random.uniform(1, 2, count),
        }
        columns = {
            "object_id": pa.array([str(index) for index in range(first, first + count)]),
            "ra": pa.array(random.uniform(0, 360, count)),
            "dec": pa.array(random.uniform(-30, 30, count)),
            "healpix": pa.array(healpix),
            "split": pa.array(split_of_pixel(healpix).tolist()),
            "image": numpy_to_arrow(np.zeros((count, 3, self.size, self.size), np.float32)),
            "hemisphere": pa.array(np.where(random.random(count) < 0.5, "north", "south").tolist()),
            **{name: pa.array(values.astype(np.float32)) for name, values in numbers.items()},
        }
        return pa.record_batch({name: columns[name] for name in NAMES}, schema=self.schema)
