"""The named evaluation protocols: what is done to embeddings, and how labels are predicted or pairs found from them.

One of them, `direct`, uses no embeddings: it scores what a model predicts itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import TaskError

ROWS_AT_ONCE = 8_192


@dataclass(frozen=True)
class Protocol:
    """A way of scoring a model, its weights left as they are; a change of any part is a new version.

    Parameters
    ----------
    name, version
        Identity; results of different versions are never compared.
    k
        Neighbours that vote; None where ranks are taken instead.
    weights
        Weight of a neighbour: the inverse of its distance; None where there is no vote.
    scaling
        "l2": every vector divided by its length (a zero vector stays zero). "standardise": every dimension moved and
        scaled to mean 0 and variance 1 over the reference (a constant dimension becomes 0 there). None where no
        embeddings are used.
    distance
        "euclidean" (after "l2" the order is the cosine's) or "cosine"; None likewise.
    source
        Published evaluations that it stands for.
    uses
        "embeddings", or the model's own "predictions". These have no reference set: their scores name the modality
        that the model predicts from as both reference and query. "prompts": embeddings, and those that the model gives
        of the texts of a task, so that the model itself is needed. "labels" where no model is: what the noise of the
        labels allows.
    fits
        What is trained on the reference embeddings and their labels: a "ridge" regression or an "mlp". None where
        nothing is.
    curve
        Whether it is also scored on fewer labels, to show how many a model's embeddings need.
    """

    name: str
    version: int
    k: int | None
    weights: Literal["distance"] | None
    scaling: Literal["l2", "standardise"] | None
    distance: Literal["euclidean", "cosine"] | None
    source: str
    uses: Literal["embeddings", "predictions", "prompts", "labels"] = "embeddings"
    fits: Literal["ridge", "mlp"] | None = None
    curve: bool = False


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                "knn16", 1, 16, "distance", "l2", "euclidean", "Vrakkis; Siddiquei; AstroCLIP version 1", curve=True
            ),
            Protocol("knn64-std", 1, 64, "distance", "standardise", "euclidean", "AstroCLIP, released evaluation code"),
            Protocol("cosine", 1, None, None, "l2", "cosine", "retrieval by cosine similarity"),
            Protocol("direct", 1, None, None, None, None, "the model's own prediction; no neighbours", "predictions"),
            Protocol(
                "prompts",
                1,
                None,
                None,
                "l2",
                "cosine",
                "zero-shot classification: Radford et al. 2021, section 3.1",
                "prompts",
            ),
            Protocol(
                "label-noise", 1, None, None, None, None, "the truth, or draws from the labels' posteriors", "labels"
            ),
            Protocol(
                "linear",
                1,
                None,
                None,
                "standardise",
                None,
                "ridge regression, the usual linear probe",
                fits="ridge",
                curve=True,
            ),
            Protocol("mlp", 1, None, None, "standardise", None, "AstroCLIP, few-shot probe", fits="mlp", curve=True),
        )
    }
)


def get_protocol(name: str) -> Protocol:
    """Return the protocol called `name`.

    Raises
    ------
    TaskError
        If there is none of that name.
    """
    if name not in PROTOCOLS:
        raise TaskError(f"there is no protocol {name!r}", f"one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def scale(
    reference: NDArray[np.floating], query: NDArray[np.floating], protocol: Protocol
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale reference (n, d) and query (m, d) embeddings as `protocol` says; whatever is fitted sees the reference only.

    Arithmetic is in float64 and the result in float32.
    """
    if protocol.scaling == "l2":
        return l2_normalise(reference), l2_normalise(query)
    mean, deviation = moments(reference)
    return _standardise(reference, mean, deviation), _standardise(query, mean, deviation)


def moments(reference: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the standard deviation (n in the denominator; 1 if constant) of every dimension, each (d,)."""
    mean = reference.mean(axis=0, dtype=np.float64)
    variance = np.zeros_like(mean)
    for start in range(0, len(reference), ROWS_AT_ONCE):
        centred = reference[start : start + ROWS_AT_ONCE].astype(np.float64) - mean
        variance += np.einsum("ij,ij->j", centred, centred)
    deviation = np.sqrt(variance / len(reference))
    # A dimension whose spread is float32 rounding of its mean carries nothing: dividing by it would amplify noise.
    deviation[deviation <= np.finfo(np.float32).eps * np.abs(mean)] = 1.0
    return mean, deviation


def _standardise(
    vectors: NDArray[np.floating], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float32]:
    scaled = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        scaled[part] = (vectors[part].astype(np.float64) - mean) / deviation
    return scaled


def l2_normalise(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Divide every row of `vectors` (n, d) by its length; a zero row stays zero."""
    scaled = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        rows = vectors[part].astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        lengths[lengths == 0] = 1.0
        scaled[part] = rows / lengths[:, None]
    return scaled
