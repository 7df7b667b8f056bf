"""A small record source with a question of morphology, and embeddings of its galaxies as good as asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from tiny_source import NAMES, TinySource, tiny_info

from astroclip_bench.datasets.access import BenchDataset
from astroclip_bench.records import (
    COLUMNS,
    MORPHOLOGY_QUESTIONS,
    image_column,
    image_modality,
    photometry_modality,
    record_schema,
)

QUESTION = "morphology_bar"
ANSWERS = MORPHOLOGY_QUESTIONS["bar"]


@dataclass
class AnswerSource(TinySource):
    """`TinySource` on 240 pixels, and what people saw in three of four galaxies."""

    name: str = "answers"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.info = tiny_info(name=self.name)
        plain = [image_column(size=self.size) if name == "image" else COLUMNS[name] for name in NAMES]
        modalities = [image_modality(size=self.size), photometry_modality("gr")]
        self.schema = record_schema(self.info, [*plain, COLUMNS[QUESTION]], modalities)

    def make(self, first: int, count: int) -> pa.RecordBatch:
        """Return the batch with the answers."""
        from dataset_builders.splits import split_of_pixel

        plain = TinySource(size=self.size).make(first, count)
        index = np.arange(first, first + count)
        healpix = 100 + index // 5
        answers = [None if i % 4 == 0 else ANSWERS[i % len(ANSWERS)] for i in index]
        columns = dict(zip(plain.schema.names, plain.columns, strict=True))
        columns |= {"healpix": pa.array(healpix), "split": pa.array(split_of_pixel(healpix).tolist())}
        return pa.record_batch({**columns, QUESTION: pa.array(answers, pa.string())}, schema=self.schema)


def write_vectors(path: Path, dataset: BenchDataset, noise: float, seed: int) -> Path:
    """Write embeddings of both modalities that tell redshift and answer, but for `noise`."""
    parts = dataset.splits.values()
    ids = [name for view in parts for name in view.object_ids]
    redshift, answer = (np.concatenate([view.column(name) for view in parts]) for name in ("redshift", QUESTION))
    known = np.stack([5.0 * np.nan_to_num(redshift), *(3.0 * (answer == name) for name in ANSWERS)], axis=1)
    random = np.random.default_rng(seed)
    shared = np.concatenate([known, np.random.default_rng(0).normal(size=(len(ids), 4))], axis=1)
    arrays = {
        name: (shared + noise * random.normal(size=shared.shape)).astype("f4") for name in ("image", "photometry")
    }
    np.savez(path, object_id=np.array(ids), **arrays)
    return path
