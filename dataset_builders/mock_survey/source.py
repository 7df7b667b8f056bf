"""The mock survey as a source of records."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from astroclip_bench.errors import UserError
from astroclip_bench.records import (
    COLUMNS,
    MORPHOLOGY_QUESTIONS,
    Column,
    DatasetInfo,
    image_column,
    image_modality,
    morphology_label,
    photometry_modality,
    record_schema,
    spectrum_modality,
    truth_column,
    uncertainty_column,
)
from dataset_builders.mock_survey import VERSION
from dataset_builders.mock_survey.command import DEFAULT_SEED
from dataset_builders.mock_survey.scene import DEFECTS
from dataset_builders.mock_survey.sky import draw_position
from dataset_builders.splits import healpix_pixel, split_of_pixel

SIZES = {"mini": 4_000, "small": 20_000, "full": 200_000}
SHARD_ROWS = 500
BATCH_ROWS = 100
LABELS = ("redshift", "log_stellar_mass", "age", "metallicity", "log_ssfr")
PROPERTIES = (
    ("bulge_to_total", "", "Bulge share of the r flux"),
    ("half_light_radius", "arcsec", "Circularised half-light radius in r, without seeing"),
    ("sersic_index", "", "Index of the Sersic profile of the same concentration"),
    ("axis_ratio", "", "Minor over major axis, flux-weighted over bulge and disc"),
)
MORPHOLOGY = ("smooth-or-featured", "disk-edge-on", "has-spiral-arms", "bar", "spiral-arm-count", "merging")
FLAGS = (
    ("spectrum_empty", "1: the spectrum is all zero, as in a few rows of the real data"),
    ("image_defect", ", ".join(f"{number} {name}" for number, name in enumerate(DEFECTS))),
)


def columns() -> list[Column]:
    """Return the columns of the survey, in order."""
    known = ["object_id", "ra", "dec", "healpix", "split"]
    out = [COLUMNS[name] for name in known]
    out += [image_column(), COLUMNS["flux"], COLUMNS["ivar"]]
    out += [COLUMNS[f"flux_{band}"] for band in "grz"]
    for label in LABELS:
        out.append(COLUMNS[label])
        if label != "redshift":
            out.append(uncertainty_column(label))
        out.append(truth_column(label))
    out += [_answer(question) for question in MORPHOLOGY]
    out += [COLUMNS[name] for name in ("mag_r", "snr", "hemisphere", "ebv")]
    out += [Column(name, pa.float32(), unit, text, "property") for name, unit, text in PROPERTIES]
    out += [Column(name, pa.int8(), "", text, "property") for name, text in FLAGS]
    return out


def _answer(question: str) -> Column:
    """Return the label column of a morphology question, which the structure answers here and no volunteer."""
    answers = ", ".join(MORPHOLOGY_QUESTIONS[question])
    text = f"Answer to {question} by the simulated structure: {answers} (not all occur)"
    return replace(COLUMNS[morphology_label(question)], description=text)


@dataclass(frozen=True)
class MockSurvey:
    """A simulated survey of `size` galaxies; a smaller survey of the same seed is the beginning of a larger one.

    Parameters
    ----------
    size
        Number of galaxies.
    seed
        Of the survey; another seed gives other galaxies of the same population.
    name
        Of the data set; ``mock-<size>`` if not given.
    """

    size: int
    seed: int = DEFAULT_SEED
    name: str = ""

    def __post_init__(self) -> None:
        if self.size < 1 or self.seed < 0:
            raise UserError(f"--size {self.size} --seed {self.seed}", "a size of at least 1 and a seed of at least 0")

    @property
    def info(self) -> DatasetInfo:
        """What the data set is called and where it comes from."""
        return DatasetInfo(
            name=self.name or f"mock-{self.size}",
            version=VERSION,
            title="A simulated survey of galaxy images and spectra",
            description="SIMULATED galaxies: Legacy-Survey-like g, r, z images and DESI-like spectra painted from the "
            "same latent galaxy, with noise of real character, labels as inferred and as true.",
            license="cc-by-4.0",
            citation="astroclip-bench mock survey; built on BC03-MILES (Bruzual & Charlot 2003), Cloudy (Ferland et "
            "al. 2017) and DESI EDR noise (DESI Collaboration 2024)",
            simulated=True,
            provenance={"seed": self.seed, "size": self.size},
        )

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the rows."""
        modalities = (image_modality(), spectrum_modality(), photometry_modality(tuple("grz")))
        return record_schema(self.info, columns(), modalities)

    @property
    def shards(self) -> Sequence[int]:
        """Numbers of the shards, 500 consecutive objects each."""
        return range(-(-self.size // SHARD_ROWS))

    def shard_size(self, shard: int) -> int:
        """Return the number of objects in a shard."""
        return len(self._numbers(shard))

    def _numbers(self, shard: int) -> range:
        return range(shard * SHARD_ROWS, min((shard + 1) * SHARD_ROWS, self.size))

    def rows(self, shard: int, splits: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the objects of a shard, of those splits alone if given; others cost next to nothing."""
        return self.objects(self._numbers(shard), splits)

    def objects(self, numbers: Sequence[int], splits: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the objects of the given numbers, in that order, in batches."""
        positions = [draw_position(self.seed, number) for number in numbers]
        pixels = healpix_pixel([position.ra for position in positions], [position.dec for position in positions])
        names = split_of_pixel(pixels)
        wanted = [index for index in range(len(numbers)) if splits is None or names[index] in splits]
        for start in range(0, len(wanted), BATCH_ROWS):
            part = wanted[start : start + BATCH_ROWS]
            fixed = [
                {
                    "object_id": str(numbers[index]),
                    "ra": positions[index].ra,
                    "dec": positions[index].dec,
                    "healpix": int(pixels[index]),
                    "split": str(names[index]),
                    "hemisphere": positions[index].hemisphere,
                    "ebv": positions[index].ebv,
                }
                for index in part
            ]
            made = self._make([(numbers[index], positions[index]) for index in part])
            yield _batch([{**left, **right} for left, right in zip(fixed, made, strict=True)], self.schema)

    def _make(self, objects: list[tuple[int, Any]]) -> list[dict[str, Any]]:
        """Make galaxies with one BLAS thread: more would change last digits."""
        from threadpoolctl import threadpool_limits

        from dataset_builders.mock_survey.galaxy import make_galaxy

        with threadpool_limits(1):
            return [make_galaxy(self.seed, number, position) for number, position in objects]

    def build_record(self) -> Mapping[str, Any]:
        """Return the installed sources that the survey is built from."""
        from dataset_builders.mock_survey.basis import GRIDS
        from dataset_builders.mock_survey.cache import TABLES_VERSION, source_digests

        return {"tables_version": TABLES_VERSION, "sources": source_digests(GRIDS)}

    def card(self) -> Mapping[str, str]:
        """Return the sections of the data set card."""
        from dataset_builders.mock_survey.card import sections

        return sections(self)


def _batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Return rows as one record batch of `schema`."""
    arrays = []
    for column in schema:
        values = [row[column.name] for row in rows]
        if pa.types.is_fixed_size_list(column.type):
            arrays.append(_nested(np.stack(values), column.type))
        else:
            arrays.append(pa.array(values, column.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _nested(values: np.ndarray, dtype: pa.DataType) -> pa.Array:
    """Return an array (n, ...) as nested fixed-size lists, without copying."""
    if not pa.types.is_fixed_size_list(dtype):
        return pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(_nested(values, dtype.value_type), type=dtype)
