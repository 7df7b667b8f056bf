"""A record source of made-up galaxies with the columns that proposals are made from, and small images."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import pyarrow as pa
from tiny_source import tiny_info

from astroclip_bench.datasets.arrays import numpy_to_arrow
from astroclip_bench.records import COLUMNS, Column, image_column, image_modality, record_schema
from dataset_builders.mock_proposals.themes import NEEDED
from dataset_builders.splits import split_of_pixel
from dataset_builders.validate import select_splits

SIZE = 6
ANSWERS = {
    "morphology_merging": ("none", "none", "none", "merger"),
    "morphology_disk_edge_on": ("no", "no", "yes", None),
    "morphology_has_spiral_arms": ("yes", "no", None),
    "morphology_bar": ("strong", "weak", "no", None),
}
RANGES = {
    "redshift_true": (0.01, 0.5),
    "log_stellar_mass_true": (8.5, 11.5),
    "log_ssfr_true": (-12.5, -9.0),
    "bulge_to_total": (0.0, 1.0),
    "half_light_radius": (0.2, 3.0),
    "axis_ratio": (0.2, 1.0),
    "mag_r": (16.0, 20.0),
    "flux_g": (0.5, 50.0),
    "flux_r": (1.0, 60.0),
}


def galaxies(count: int, seed: int = 3) -> dict[str, np.ndarray]:
    """Return the columns `NEEDED` of made-up galaxies."""
    random = np.random.default_rng(seed)
    numbers = {name: random.uniform(low, high, count) for name, (low, high) in RANGES.items()}
    return numbers | {name: random.choice(np.array(words, object), count) for name, words in ANSWERS.items()}


class GalaxiesSource:
    """`count` galaxies on a few HEALPix pixels, in two shards."""

    def __init__(self, count: int = 160, simulated: bool = True, without: str = "") -> None:
        self.info = tiny_info(name="tiny-survey", simulated=simulated)
        self._count, self._values = count, galaxies(count)
        scalars = [name for name in NEEDED if name != without]
        columns = [COLUMNS[name] for name in ("object_id", "healpix", "split")]
        columns += [image_column(size=SIZE), *(self._column(name) for name in scalars)]
        self.schema = record_schema(self.info, columns, [image_modality(size=SIZE)])
        self.shards = range(2)

    def _column(self, name: str) -> Column:
        dtype = pa.string() if name in ANSWERS else pa.float32()
        return Column(name, dtype, "", f"Made-up {name}", "label")

    def shard_size(self, shard: int) -> int:
        """Return half of them."""
        return len(range(shard, self._count, 2))

    def card(self) -> Mapping[str, str]:
        """Return nothing."""
        return {}

    def rows(self, shard: int, splits: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield every second galaxy."""
        index = np.arange(shard, self._count, 2)
        healpix = 100 + index % 30
        image = np.random.default_rng(shard).normal(size=(len(index), 3, SIZE, SIZE)).astype(np.float32)
        columns = {
            "object_id": pa.array([f"g{number}" for number in index]),
            "healpix": pa.array(healpix),
            "split": pa.array(split_of_pixel(healpix).tolist()),
            "image": numpy_to_arrow(image),
            **{name: pa.array(values[index], self._column(name).dtype) for name, values in self._values.items()},
        }
        arrays = [columns[field.name] for field in self.schema]
        yield select_splits(pa.RecordBatch.from_arrays(arrays, schema=self.schema), splits)
