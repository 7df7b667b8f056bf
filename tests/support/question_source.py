"""A record source with answers in words, a label with an error, and redshifts for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from tiny_source import NAMES, TinySource

from astroclip_bench.records import (
    COLUMNS,
    MORPHOLOGY_QUESTIONS,
    image_column,
    image_modality,
    photometry_modality,
    record_schema,
    uncertainty_column,
)

MORE = ("log_stellar_mass", "morphology_bar")


@dataclass
class QuestionSource(TinySource):
    """Rows of `TinySource`; the answer about a bar goes with the r flux, and every fourth galaxy has none."""

    def __post_init__(self) -> None:
        columns = [image_column(size=self.size) if name == "image" else COLUMNS[name] for name in (*NAMES, *MORE)]
        columns.append(uncertainty_column("log_stellar_mass"))
        self.schema = record_schema(self.info, columns, [image_modality(size=self.size), photometry_modality("gr")])
        self.shards = range(self.n_shards)

    def make(self, first: int, count: int) -> pa.RecordBatch:
        """Return `count` galaxies from number `first` on."""
        plain = TinySource(size=self.size).make(first, count)
        random = np.random.default_rng([first, 8])
        flux = plain["flux_r"].to_numpy()
        answer = np.array(MORPHOLOGY_QUESTIONS["bar"])[np.digitize(flux, [1.3, 1.6])]
        missing = random.integers(0, 4, count) == 0
        made = {
            "redshift": pa.array(random.uniform(0, 1, count), pa.float32()),
            "log_stellar_mass": pa.array(10 + 2 * flux + 0.1 * random.standard_normal(count), pa.float32()),
            "log_stellar_mass_std": pa.array(np.full(count, 0.1), pa.float32()),
            "morphology_bar": pa.array(answer.astype(object), pa.string(), mask=missing),
        }
        columns = {field.name: made.get(field.name) for field in self.schema}
        arrays = [plain[name] if array is None else array for name, array in columns.items()]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
