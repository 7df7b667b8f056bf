"""Galaxies with an image and a spectrum that both show the redshift, few and small enough to train on in a test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from tiny_source import TinySource, tiny_info

from astroclip_bench.datasets.arrays import numpy_to_arrow
from astroclip_bench.embedders import EmbedderInfo
from astroclip_bench.records import (
    COLUMNS,
    N_WAVELENGTH,
    image_column,
    image_modality,
    record_schema,
    spectrum_modality,
)
from dataset_builders.splits import split_of_pixel

NAMES = ("object_id", "ra", "dec", "healpix", "split", "image", "flux", "ivar", "redshift")
BAD = slice(100, 140)
"""Pixels without data in every spectrum."""


@dataclass
class PairSource(TinySource):
    """An image whose brightness falls, and a spectrum whose line moves, with redshift."""

    size: int = 24

    def __post_init__(self) -> None:
        columns = [image_column(size=self.size) if name == "image" else COLUMNS[name] for name in NAMES]
        self.info = tiny_info(name="tiny-pairs")
        self.schema = record_schema(self.info, columns, [image_modality(size=self.size), spectrum_modality()])
        self.shards = range(self.n_shards)

    def make(self, first: int, count: int) -> pa.RecordBatch:
        """Return `count` galaxies from number `first` on."""
        index = np.arange(first, first + count)
        random = np.random.default_rng([first, 11])
        redshift = random.uniform(0, 1, count)
        pixel = np.arange(N_WAVELENGTH)
        line = 5 * np.exp(-0.5 * ((pixel - 1000 - 5000 * redshift[:, None]) / 60) ** 2)
        flux = 2 + line + random.normal(size=line.shape)
        ivar = np.ones_like(flux)
        flux[:, BAD], ivar[:, BAD] = 1e4, 0
        image = (1.1 - redshift)[:, None, None, None] * np.ones((count, 3, self.size, self.size))
        healpix = 100 + index % 12
        columns = {
            "object_id": pa.array([str(1000 + i) for i in index]),
            "ra": pa.array(index * 0.25),
            "dec": pa.array(index * -0.125),
            "healpix": pa.array(healpix),
            "split": pa.array(split_of_pixel(healpix).tolist()),
            "image": numpy_to_arrow((image + 0.01 * random.normal(size=image.shape)).astype(np.float32)),
            "flux": numpy_to_arrow(flux.astype(np.float32)),
            "ivar": numpy_to_arrow(ivar.astype(np.float32)),
            "redshift": pa.array(redshift.astype(np.float32)),
        }
        return pa.record_batch(columns, schema=self.schema)


class LineAndBrightness:
    """Embeds an image by its brightness and a spectrum by the place of its line: both tell the redshift."""

    info = EmbedderInfo("line-and-brightness", "0" * 32, 3, ("image", "spectrum"), "none")

    def embed(self, batch, modality):
        """Return (n, 3)."""
        if "image" in batch:
            redshift = 1.1 - batch["image"].mean(axis=(1, 2, 3))
        else:
            flux = np.where(batch["ivar"] > 0, batch["flux"], 0)
            smooth = flux[:, : 7781 // 31 * 31].reshape(len(flux), -1, 31).mean(axis=2)
            redshift = (smooth.argmax(axis=1) * 31 + 15 - 1000) / 5000
        angle = 0.5 * redshift
        return np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1).astype(np.float32)
