"""A record source whose objects are shown by an image and by a caption that those of one proposal share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from tiny_source import NAMES, TinySource

from astroclip_bench.datasets.arrays import numpy_to_arrow
from astroclip_bench.records import (
    COLUMNS,
    Column,
    image_column,
    image_modality,
    record_schema,
    text_modality,
)
from dataset_builders.splits import split_of_pixel

CLASSES = ("spiral", "elliptical", "merger")
OBJECTS_A_PROPOSAL = (1, 2, 4)
"""In turn."""


def proposal_of(number: int) -> str:
    """Return the proposal of an object: proposals of 1, 2 and 4 objects in turn, all seven in one pixel."""
    week, day = divmod(number, 7)
    return f"P{3 * week + (0, 1, 1, 2, 2, 2, 2)[day]}"


def class_of(proposal: str) -> str:
    """Return the class of the objects of a proposal."""
    return CLASSES[int(proposal[1:]) % 3 if int(proposal[1:]) % 5 else 0]


@dataclass
class CaptionedSource(TinySource):
    """Images hold the number of their proposal and noise; captions name it and the class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        label = Column("object_class", pa.string(), "", f"Class: {', '.join(CLASSES)}", "label")
        columns = [image_column(size=self.size) if name == "image" else COLUMNS[name] for name in NAMES]
        columns += [COLUMNS["caption"], COLUMNS["proposal_id"], label]
        self.schema = record_schema(self.info, columns, [image_modality(size=self.size), text_modality()])

    def make(self, first: int, count: int) -> pa.RecordBatch:
        """Return `count` galaxies from number `first` on."""
        tiny = TinySource(info=self.info, size=self.size).make(first, count)
        proposals = [proposal_of(first + place) for place in range(count)]
        images = np.random.default_rng(first).normal(0, 0.1, (count, 3, self.size, self.size)).astype(np.float32)
        images[:, 0, 0, 0] = [int(proposal[1:]) for proposal in proposals]
        healpix = np.array([100 + (first + place) // 7 % 12 for place in range(count)])
        columns = {name: tiny.column(name) for name in NAMES}
        columns |= {
            "image": numpy_to_arrow(images),
            "healpix": pa.array(healpix),
            "split": pa.array(split_of_pixel(healpix).tolist()),
            "caption": pa.array([f"A {class_of(proposal)} of proposal {proposal}" for proposal in proposals]),
            "proposal_id": pa.array(proposals),
            "object_class": pa.array([class_of(proposal) for proposal in proposals]),
        }
        return pa.record_batch(columns, schema=self.schema)
