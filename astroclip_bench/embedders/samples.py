"""Sample inputs for checks, and the description of what an embedder is handed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from astroclip_bench.embedders.embed import Split
from astroclip_bench.errors import DataError
from astroclip_bench.records import SPLITS, Modality, image_modality, photometry_modality, spectrum_modality

SAMPLE_ROWS = 8
SAMPLE_WORDS, SAMPLE_LENGTH = ("a", "bright", "red", "spiral", "galaxy", "with", "emission", "lines"), 6
"""Of which synthetic texts are made, and how many."""
NOISE_SCALE = {"nmgy": 0.02}
"""Standard deviation of the noise in synthetic samples, by unit; 1 for any other."""


class Dataset(Protocol):
    """What this module needs of a data set."""

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """Its modalities by name."""

    @property
    def splits(self) -> Mapping[str, Split]:
        """Its splits by name."""


Inputs = Dataset | Iterable[Modality] | None
"""A data set; or modalities to make synthetic inputs for; or None for those of the mock survey."""


@dataclass(frozen=True)
class Sample:
    """A few objects' columns (n, *shape) of one modality, and their ids."""

    modality: Modality
    object_ids: list[str]
    arrays: dict[str, npt.NDArray[Any]]


def list_modalities(inputs: Inputs) -> dict[str, Modality]:
    """Return the modalities by name."""
    if inputs is None:
        return list_modalities((image_modality(), spectrum_modality(), photometry_modality(("g", "r", "z"))))
    if isinstance(inputs, Iterable):
        return {modality.name: modality for modality in inputs}
    return dict(inputs.modalities)


def take_samples(inputs: Inputs, names: Sequence[str], rows: int = SAMPLE_ROWS) -> Iterator[Sample]:
    """Yield the first objects of the first split that has any (train before all), or synthetic ones, by modality.

    Raises
    ------
    DataError
        If the data set has no rows.
    """
    modalities = list_modalities(inputs)
    for name in names:
        modality = modalities[name]
        if inputs is None or isinstance(inputs, Iterable):
            yield synthetic_sample(modality, rows)
        else:
            yield _first_rows(inputs, modality, rows)


def synthetic_sample(modality: Modality, rows: int = SAMPLE_ROWS) -> Sample:
    """Return made-up objects: a bright centre (or a flat level) and noise, or words; the same ones every time."""
    generator = np.random.default_rng(zlib.crc32(modality.name.encode()))
    ids = [f"sample-{row}" for row in range(rows)]
    if modality.dtype == "string":
        words = generator.choice(SAMPLE_WORDS, (len(modality.columns), rows, SAMPLE_LENGTH))
        texts = [np.array([" ".join(text) for text in column], object) for column in words]
        return Sample(modality, ids, dict(zip(modality.columns, map(_read_only, texts), strict=True)))
    scale = NOISE_SCALE.get(modality.unit, 1.0)
    arrays = {}
    for column in modality.columns:
        noise = generator.normal(0.0, scale, (rows, *modality.shape))
        brightness = generator.lognormal(3.0, 1.0, (rows, *(1 for _ in modality.shape)))
        values = np.abs(noise) if column == "ivar" else noise + scale * brightness * _profile(modality.shape)
        arrays[column] = _read_only(values.astype(np.float32))
    return Sample(modality, ids, arrays)


def input_format(inputs: Inputs = None) -> dict[str, dict[str, Any]]:
    """Return what an embedder is handed for each modality, as plain JSON values."""
    return {
        name: {
            "columns": {column: ["n", *modality.shape] for column in modality.columns},
            "dtype": modality.dtype,
            "unit": modality.unit,
            "description": modality.description,
            **modality.axes,
        }
        for name, modality in list_modalities(inputs).items()
    }


def describe_inputs(inputs: Inputs = None) -> str:
    """Return `input_format` as text: names, shapes, units, bands, pixel scale and wavelength grid of each modality."""
    lines = ["embed(batch, modality) -> float32 (n, dimension); batch holds read-only arrays, float32 unless told:"]
    for name, entry in input_format(inputs).items():
        lines.append(f"  {name}: {entry['description']}")
        for place, (column, shape) in enumerate(entry["columns"].items()):
            unit = f", {entry['unit']}" if place == 0 or shape == ["n"] else ""
            unit = unit if entry["dtype"] == "float32" else f", {entry['dtype']}"
            lines.append(f"    batch[{column!r}]  ({', '.join(map(str, shape))}{',' * (shape == ['n'])}){unit}")
        axes = {key: value for key, value in entry.items() if key not in ("columns", "dtype", "unit", "description")}
        lines += [f"    {key.replace('_', ' ')}: {_plain(value)}" for key, value in axes.items()]
    return "\n".join(lines)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _profile(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return 1 at the centre, falling off along the last two axes of an image; 1 everywhere for anything else."""
    if len(shape) < 3:
        return np.ones(shape)
    height, width = (np.arange(length) - (length - 1) / 2 for length in shape[-2:])
    return np.broadcast_to(np.exp(-np.hypot(height[:, None], width) / 8.0), shape)


def _first_rows(dataset: Dataset, modality: Modality, rows: int) -> Sample:
    splits = [dataset.splits[name] for name in SPLITS if name in dataset.splits]
    batches = (next(iter(split.batches(list(modality.columns), rows)), None) for split in splits)
    batch = next((batch for batch in batches if batch is not None and batch.object_ids), None)
    if batch is None:
        raise DataError("the data set has no rows", "at least one")
    arrays = {name: _read_only(np.array(array)) for name, array in batch.arrays.items()}
    return Sample(modality, list(batch.object_ids), arrays)


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array
