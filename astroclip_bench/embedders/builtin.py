"""Embedders that learn nothing: the floors that every score is shown beside.

`mean` is a model that has collapsed, `random-projection` one that has learnt nothing about its input, `photometry`
what magnitudes and colours alone give. Their constants are fixed here and are the same for every data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.embedders.protocol import ANY_MODALITY, Arrays, Embedder, EmbedderInfo, Vectors
from astroclip_bench.errors import EmbedderError

BAND_ORDER = ("FUV", "NUV", "u", "g", "r", "i", "z", "y", "J", "H", "Ks", "W1", "W2", "W3", "W4")
"""Bands known by name, from blue to red; a colour is the difference of two neighbours among those present."""

MAGNITUDE_BAND = "r"
ZERO_POINT_MAG = 22.5
"""AB magnitude of one nanomaggy."""

SOFTENING_NMGY = 0.1
"""Flux at which asinh magnitudes turn linear: magnitude 25, about the 1-sigma noise of a Legacy Survey source."""

REFERENCE_MAG, REFERENCE_COLOUR_MAG = 20.0, 0.7
"""A faint survey galaxy: the point that is mapped onto the axis of the constant component."""

COLOUR_SCALE = 0.3
"""Components a magnitude of colour. Small beside the constant component 1: see `Photometry`."""

MAGNITUDE_WEIGHT = 0.25
"""A survey spans several magnitudes in brightness and about one in colour; a quarter gives both the same reach."""


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class Photometry:
    """Magnitude and colours of total fluxes, whatever the bands.

    A vector is (1, magnitude, colours): asinh magnitudes (Lupton, Gunn and Szalay 1999, eq. 3), which stay finite for
    zero and negative fluxes. The magnitude is that in r, or in the middle band where there is no r. The colour between
    two neighbouring bands stands in the place of the bluer one; places of absent bands are 0. The leading 1 is much
    longer than the rest, so that dividing by the length (cosine distance) keeps the distances between the others,
    which it would destroy otherwise; standardising the components takes it out.
    """

    def __init__(self) -> None:
        self.info = EmbedderInfo(
            name="photometry",
            digest=_digest(
                "photometry",
                1,
                BAND_ORDER,
                SOFTENING_NMGY,
                REFERENCE_MAG,
                REFERENCE_COLOUR_MAG,
                COLOUR_SCALE,
                MAGNITUDE_WEIGHT,
            ),
            dimension=1 + len(BAND_ORDER),
            modalities=("photometry",),
            preprocessing=f"asinh magnitudes, softening {SOFTENING_NMGY} nmgy; r and the colours of neighbouring bands, fixed scales",
            parameters=0,
        )

    def embed(self, batch: Arrays, modality: str) -> Vectors:
        """Return (n, 16) from columns ``flux_<band>`` (n,) in nanomaggies.

        Raises
        ------
        EmbedderError
            If the modality is not photometry, or a column is no flux of a known band.
        """
        _require(self.info, modality)
        bands = _bands(batch)
        magnitude = {band: asinh_magnitude(batch[f"flux_{band}"]) for band in bands}
        vectors = np.zeros((len(magnitude[bands[0]]), self.info.dimension), np.float32)
        vectors[:, 0] = 1.0
        middle = MAGNITUDE_BAND if MAGNITUDE_BAND in bands else bands[len(bands) // 2]
        vectors[:, 1] = COLOUR_SCALE * MAGNITUDE_WEIGHT * (magnitude[middle] - REFERENCE_MAG)
        for blue, red in pairwise(bands):
            colour = magnitude[blue] - magnitude[red]
            vectors[:, 2 + BAND_ORDER.index(blue)] = COLOUR_SCALE * (colour - REFERENCE_COLOUR_MAG)
        return vectors


def asinh_magnitude(flux_nmgy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the asinh magnitude (AB) of fluxes in nanomaggies, any shape."""
    flux = np.asarray(flux_nmgy, np.float64)
    softened = np.arcsinh(flux / (2 * SOFTENING_NMGY)) + np.log(SOFTENING_NMGY)
    return np.asarray(ZERO_POINT_MAG - 2.5 / np.log(10) * softened)


def _bands(batch: Arrays) -> list[str]:
    """Return the bands of the batch's columns, from blue to red."""
    bands = [name.removeprefix("flux_") for name in batch if name.startswith("flux_")]
    unknown = [name for name in batch if name.removeprefix("flux_") not in BAND_ORDER or not name.startswith("flux_")]
    if unknown or not bands:
        raise EmbedderError(
            f"photometry has columns {', '.join(unknown) or 'none'}, which are no fluxes of a known band",
            f"flux_<band> with a band among {', '.join(BAND_ORDER)}",
        )
    return sorted(bands, key=BAND_ORDER.index)


PROJECTION_DIMENSION = 128
PROJECTION_SEED = 0
PROJECTION_BLOCK = 8192
"""Rows of the projection drawn from one seed: where in a column a value stands decides its numbers."""

PROJECTION_ROWS = 256
"""Objects projected at a time, which bounds the memory."""

COLUMN_SCALE = {"image": 0.02, "flux": 1.0}
"""Value at which the asinh stretch turns logarithmic, by column: about the noise of a Legacy Survey pixel (nmgy) and of
a DESI spectral pixel (1e-17 erg/s/cm2/angstrom). Total fluxes take `SOFTENING_NMGY`, anything else 1."""

TEXT_FEATURES = 4_096
"""Hashes of words: texts are counted before they are projected."""

OBSERVATION_COLUMNS = ("ivar",)
"""Left out: they tell about the observation, not about the galaxy."""


class RandomProjection:
    """A fixed Gaussian projection of each modality's asinh-stretched values to 128 components.

    Distances between inputs are kept (Johnson and Lindenstrauss 1984), so this is nearest neighbours in pixels. Each
    column has a projection of its own: vectors of different modalities have nothing to do with each other.
    """

    def __init__(self) -> None:
        self.info = EmbedderInfo(
            name="random-projection",
            digest=_digest(
                "random-projection",
                1,
                PROJECTION_SEED,
                PROJECTION_BLOCK,
                COLUMN_SCALE,
                SOFTENING_NMGY,
                OBSERVATION_COLUMNS,
            ),
            dimension=PROJECTION_DIMENSION,
            modalities=(ANY_MODALITY,),
            preprocessing="asinh of every value in units of its noise, flattened; inverse variances left out",
            parameters=0,
            details={"shared_space": False},
        )
        self._projections: dict[tuple[str, int], npt.NDArray[np.float32]] = {}

    def embed(self, batch: Arrays, modality: str) -> Vectors:
        """Return (n, 128) from columns (n, ...) of any shape."""
        import torch

        columns = [name for name in batch if name not in OBSERVATION_COLUMNS] or list(batch)
        values = sum(TEXT_FEATURES if batch[name].dtype == object else batch[name][0:1].size for name in columns)
        total = np.zeros((_rows(batch), PROJECTION_DIMENSION), np.float32)
        for name in columns:
            flat = _numbers(batch[name]).reshape(len(total), -1)
            scale = np.float32(COLUMN_SCALE.get(name, SOFTENING_NMGY if name.startswith("flux_") else 1.0))
            projection = torch.from_numpy(self._projection(name, flat.shape[1]))
            for start in range(0, len(flat), PROJECTION_ROWS):
                rows = slice(start, start + PROJECTION_ROWS)
                # torch's product: numpy's loses a hundredfold to its own waiting threads on a busy machine
                total[rows] += (torch.from_numpy(np.arcsinh(flat[rows] / scale)) @ projection).numpy()
        return np.asarray(total / np.float32(np.sqrt(max(values, 1))), np.float32)

    def _projection(self, column: str, length: int) -> npt.NDArray[np.float32]:
        """Return the projection (length, 128) of a column; a longer one begins with every shorter one."""
        if (column, length) not in self._projections:
            blocks = [_projection_block(column, start) for start in range(0, length, PROJECTION_BLOCK)]
            self._projections[column, length] = np.concatenate(blocks)[:length].copy()
        return self._projections[column, length]


def _numbers(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return numbers as they are, and texts as how often each has the words of each hash, (n, `TEXT_FEATURES`)."""
    if values.dtype != object:
        return values
    from sklearn.feature_extraction.text import HashingVectorizer

    counts = HashingVectorizer(n_features=TEXT_FEATURES, norm=None, alternate_sign=False, dtype=np.float32)
    return np.asarray(counts.transform(values).toarray())


def _projection_block(column: str, start: int) -> npt.NDArray[np.float32]:
    """Return rows `start` to `start + PROJECTION_BLOCK` of a column's projection, which depend on nothing else."""
    seed = hashlib.blake2b(f"{PROJECTION_SEED}/{column}/{start}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(int.from_bytes(seed, "little")))
    return generator.standard_normal((PROJECTION_BLOCK, PROJECTION_DIMENSION), np.float32)


class Mean:
    """The same vector for every object and modality: a model that has collapsed."""

    def __init__(self) -> None:
        self.info = EmbedderInfo(
            name="mean",
            digest=_digest("mean", 1),
            dimension=8,
            modalities=(ANY_MODALITY,),
            preprocessing="none: the input is not looked at",
            parameters=0,
        )

    def embed(self, batch: Arrays, modality: str) -> Vectors:
        """Return (n, 8), all ones."""
        return np.ones((_rows(batch), self.info.dimension), np.float32)


BUILTIN: dict[str, Callable[[], Embedder]] = {
    "photometry": Photometry,
    "random-projection": RandomProjection,
    "mean": Mean,
}
"""Built-in embedders by name."""


def _rows(batch: Arrays) -> int:
    array: npt.NDArray[Any] = next(iter(batch.values()))
    return len(array)


def _require(info: EmbedderInfo, modality: str) -> None:
    if not info.supports(modality):
        raise EmbedderError(f"{info.name!r} takes no modality {modality!r}", ", ".join(info.modalities))
