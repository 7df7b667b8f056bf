"""What an embedder is: a description and one method, or two where it predicts labels itself. Nothing to subclass."""

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
"""One modality's columns of a batch, read-only: name -> (n, *shape) float32, or (n,) objects of str where it is text."""

Vectors = npt.NDArray[np.float32]
"""Embeddings (n, d)."""

Predictions = npt.NDArray[np.float32]
"""A model's own predictions (n, t): one column a target, in the order in which `EmbedderInfo.targets` names them."""

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
        Number of components of each vector, the same for every modality; 0 where it embeds none.
    modalities
        Names of the modalities it embeds; ``"*"`` (`ANY_MODALITY`) for any. Empty where it only predicts.
    preprocessing
        What it does to its input, in words; changing it must change this text.
    parameters
        Number of weights.
    architecture
        Registered name of the architecture, where there is one.
    details
        Further plain JSON values: `dtype`, `source`, and `shared_space` (False where vectors of different modalities
        cannot be compared).
    targets
        Modality -> names of the labels that it predicts from it by itself; nothing by default. What is named here is
        given by the method `predict` (`Predictor`).
    """

    name: str
    digest: str
    dimension: int
    modalities: tuple[str, ...]
    preprocessing: str
    parameters: int | None = None
    architecture: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def supports(self, modality: str) -> bool:
        """Say whether it embeds this modality."""
        return modality in self.modalities or ANY_MODALITY in self.modalities

    def predicts(self, modality: str) -> tuple[str, ...]:
        """Return the labels that it predicts from this modality."""
        return self.targets.get(modality, ())

    def takes(self, modality: str) -> bool:
        """Say whether it embeds this modality, or predicts a label from it."""
        return self.supports(modality) or bool(self.predicts(modality))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the modalities it embeds or predicts from."""
        return tuple(dict.fromkeys((*self.modalities, *self.targets)))

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


@runtime_checkable
class Predictor(Protocol):
    """An embedder that also predicts labels: those that its `info.targets` names."""

    def predict(self, batch: Arrays, modality: str) -> Mapping[str, npt.NDArray[np.floating]]:
        """Return target -> (n,) floats, in the unit of the label, for each of ``info.targets[modality]``.

        `batch` is what `embed` is given.
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
    if not is_targets(info.targets):
        raise EmbedderError(f"{where}: info.targets is {info.targets!r}", TARGETS_EXPECTED)
    if info.targets and not isinstance(found, Predictor):
        raise EmbedderError(
            f"{where}: info.targets names labels, and there is no way to them", "a method predict(batch, modality)"
        )
    least = {"dimension": 1 if info.modalities else 0, "modalities": 0 if info.targets else 1}
    rules: tuple[tuple[str, bool, str], ...] = (
        ("name", isinstance(info.name, str) and bool(info.name), "a name"),
        (
            "digest",
            isinstance(info.digest, str) and bool(_DIGEST.fullmatch(info.digest)),
            "32 to 128 lower-case hexadecimal digits",
        ),
        (
            "dimension",
            isinstance(info.dimension, int) and info.dimension >= least["dimension"],
            f"a whole number of at least {least['dimension']}",
        ),
        (
            "modalities",
            _is_names(info.modalities) and len(info.modalities) >= least["modalities"],
            f"a tuple of modality names, at least {least['modalities']}",
        ),
        ("preprocessing", isinstance(info.preprocessing, str), "a text"),
    )
    for name, good, expected in rules:
        if not good:
            raise EmbedderError(f"{where}: info.{name} is {getattr(info, name)!r}", expected)
    return found


TARGETS_EXPECTED = "modality -> a tuple of the labels predicted from it, at least one"


def is_targets(targets: object) -> bool:
    """Say whether an object names targets as `EmbedderInfo.targets` does."""
    return isinstance(targets, Mapping) and all(
        isinstance(modality, str) and modality and _is_names(labels) and labels for modality, labels in targets.items()
    )


def _is_names(names: object) -> bool:
    return isinstance(names, tuple) and all(isinstance(name, str) and name for name in names)


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
    _require_finite(vectors, where, object_ids)
    return vectors


def require_predictions(
    found: object, rows: int, info: EmbedderInfo, modality: str, object_ids: list[str] | None = None
) -> Predictions:
    """Return `found` as an array (rows, targets) if it is what `info` promises for `rows` objects.

    Raises
    ------
    EmbedderError
        If it is no mapping from each target to a float array (rows,), or not finite (naming the first object).
    """
    where, targets = f"{info.name!r} predicting from modality {modality!r}", info.predicts(modality)
    if not isinstance(found, Mapping) or set(found) != set(targets):
        gave = ", ".join(map(str, found)) if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise EmbedderError(f"{where} gave {gave or 'nothing'}", f"an array for each of {', '.join(targets)}")
    for target in targets:
        array = found[target]
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.shape != (rows,):
            kind = f"a {array.dtype} array of shape {array.shape}" if isinstance(array, np.ndarray) else type(array)
            raise EmbedderError(f"{where} gave {target!r} as {kind}", f"floats of shape ({rows},), one an object")
    values: Predictions = np.stack([found[target] for target in targets], axis=1).astype(np.float32)
    _require_finite(values, where, object_ids)
    return values


def _require_finite(values: npt.NDArray[np.float32], where: str, object_ids: list[str] | None) -> None:
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        which = f"object_id {object_ids[first]!r}" if object_ids else f"row {first}"
        raise EmbedderError(
            f"{where} gave NaN or infinity for {int(bad.sum())} of {len(values)} objects, first {which}",
            "finite values",
            "see what its preprocessing does with that object's input",
        )
