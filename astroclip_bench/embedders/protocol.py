"""What an embedder is: a description and one method. Nothing to subclass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import Modality

ANY_MODALITY = "*"
"""In `EmbedderInfo.modalities`: takes whatever modality a data set declares."""

Arrays = Mapping[str, npt.NDArray[Any]]
"""One modality's columns of a batch: name -> (n, *shape), float32, read-only."""

Vectors = npt.NDArray[np.float32]
"""Embeddings (n, d)."""

_DIGEST = re.compile(r"[0-9a-f]{32,128}")


@dataclass(frozen=True)
class EmbedderInfo:
    """What a result says about the embedder that made it.

    Parameters
    ----------
    name
        What tables show.
    digest
        32 to 128 hexadecimal digits of a hash of everything learnt: two embedders of equal digest and preprocessing
        give equal vectors.
    dimension
        Number of components of each vector, the same for every modality.
    modalities
        Names of the modalities it takes; ``"*"`` (`ANY_MODALITY`) for any.
    preprocessing
        What it does to its input, in words; changing it must change this text.
    parameters
        Number of weights.
    architecture
        Registered name of the architecture, where there is one.
    details
        Further plain JSON values: `dtype`, `source`, and `shared_space` (False where vectors of different modalities
        cannot be compared).
    """

    name: str
    digest: str
    dimension: int
    modalities: tuple[str, ...]
    preprocessing: str
    parameters: int | None = None
    architecture: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def supports(self, modality: str) -> bool:
        """Say whether it takes this modality."""
        return modality in self.modalities or ANY_MODALITY in self.modalities

    @property
    def shared_space(self) -> bool:
        """Whether vectors of different modalities may be compared with each other."""
        return bool(self.details.get("shared_space", True))


@runtime_checkable
class Embedder(Protocol):
    """Anything with an `info` and an `embed`."""

    @property
    def info(self) -> EmbedderInfo:
        """What it is."""

    def embed(self, batch: Arrays, modality: str) -> Vectors:
        """Return the embeddings (n, d), float32, of the n objects of `batch`.

        `batch` holds the columns of `modality` alone, in the order in which the data set declares them.
        """


def require_embedder(found: object, where: str) -> Embedder:
    """Return `found` if it is an embedder with a usable description.

    Raises
    ------
    EmbedderError
        Naming `where` it came from and what it lacks.
    """
    if not isinstance(found, Embedder) or not callable(found.embed):
        raise EmbedderError(
            f"{where}: an object of type {type(found).__name__} is no embedder",
            "an object with the attribute info (an EmbedderInfo) and the method embed(batch, modality)",
        )
    info = found.info
    if not isinstance(info, EmbedderInfo):
        raise EmbedderError(f"{where}: info is a {type(info).__name__}", "an astroclip_bench.embedders.EmbedderInfo")
    rules: tuple[tuple[str, bool, str], ...] = (
        ("name", isinstance(info.name, str) and bool(info.name), "a name"),
        (
            "digest",
            isinstance(info.digest, str) and bool(_DIGEST.fullmatch(info.digest)),
            "32 to 128 lower-case hexadecimal digits",
        ),
        ("dimension", isinstance(info.dimension, int) and info.dimension >= 1, "a whole number of at least 1"),
        ("modalities", _is_names(info.modalities), "a tuple of modality names, at least one"),
        ("preprocessing", isinstance(info.preprocessing, str), "a text"),
    )
    for name, good, expected in rules:
        if not good:
            raise EmbedderError(f"{where}: info.{name} is {getattr(info, name)!r}", expected)
    return found


def _is_names(names: object) -> bool:
    return isinstance(names, tuple) and len(names) > 0 and all(isinstance(name, str) and name for name in names)


def select_columns(arrays: Arrays, modality: Modality) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of one modality, in its order: labels, ids and positions never pass.

    Raises
    ------
    EmbedderError
        If a column is missing or has another shape than the modality declares.
    """
    chosen = {}
    for name in modality.columns:
        if name not in arrays:
            raise EmbedderError(
                f"the batch has no column {name!r}", f"the columns of {modality.name!r}: {', '.join(modality.columns)}"
            )
        if arrays[name].shape[1:] != modality.shape:
            raise EmbedderError(
                f"column {name!r} has objects of shape {arrays[name].shape[1:]}",
                f"{modality.shape}, as modality {modality.name!r} declares",
            )
        chosen[name] = arrays[name]
    return chosen


def require_vectors(
    vectors: object, rows: int, info: EmbedderInfo, modality: str, object_ids: list[str] | None = None
) -> Vectors:
    """Return `vectors` if they are what `info` promises for `rows` objects.

    Raises
    ------
    EmbedderError
        If they are no float32 array of shape (rows, info.dimension), or not finite (naming the first object).
    """
    where = f"{info.name!r} on modality {modality!r}"
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        found = f"a {vectors.dtype} array" if isinstance(vectors, np.ndarray) else f"a {type(vectors).__name__}"
        raise EmbedderError(f"{where} gave {found}", "a float32 numpy array")
    if vectors.shape != (rows, info.dimension):
        raise EmbedderError(
            f"{where} gave shape {vectors.shape} for {rows} objects",
            f"({rows}, {info.dimension}): one row an object, info.dimension = {info.dimension} columns",
        )
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        which = f"object_id {object_ids[first]!r}" if object_ids else f"row {first}"
        raise EmbedderError(
            f"{where} gave NaN or infinity for {int(bad.sum())} of {rows} objects, first {which}",
            "finite values",
            "see what its preprocessing does with that object's input",
        )
    return vectors
