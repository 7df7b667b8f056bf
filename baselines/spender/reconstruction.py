"""How well spectra are reconstructed, by the autoencoder and by what it must beat.

Every reconstruction is given the amplitude that fits the data best, so that only the shape is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.astroclip.data import Tensors, to_tensors
from baselines.astroclip.inputs import good_pixels
from baselines.astroclip.log_bins import LOG_STEP
from baselines.spender.autoencoder import best_amplitude
from baselines.spender.decoder import interpolate, observed_wavelength
from baselines.spender.losses import at_redshift

if TYPE_CHECKING:
    from astroclip_bench.datasets import SplitView
    from astroclip_bench.progress import Progress
    from baselines.classical.pca import PcaEmbedding
    from baselines.spender.autoencoder import SpenderAutoencoder

BATCH_ROWS = 64
COLUMNS = ("flux", "ivar", "redshift")
REDSHIFT_STEP = 0.1
"""How far spectra are moved to see whether their latents stay."""

Float64 = NDArray[np.float64]
Shape = Callable[[Tensors], Tensor]
"""From a batch to reconstructions (n, pixels), of any amplitude."""


@dataclass(frozen=True)
class Model:
    """A reconstruction, and how many numbers of each galaxy it takes, amplitude included."""

    shape: Shape
    parameters: int


@dataclass(frozen=True)
class Fits:
    """What `measure` finds of n galaxies: model -> reduced chi^2, and the median signal to noise of a pixel, (n,)."""

    reduced_chi2: Mapping[str, Float64]
    signal_to_noise: Float64


def constant(batch: Tensors) -> Tensor:
    """Return ones."""
    return torch.ones_like(batch["flux"])


def principal_components(module: PcaEmbedding) -> Shape:
    """Return the reconstruction by principal components of binned spectra in the observed frame."""

    def shape(batch: Tensors) -> Tensor:
        whitened = module.embed(batch, "spectrum")
        # The bins hold asinh(flux / scale); the scale is left to the amplitude.
        binned = torch.sinh(whitened * module.deviation @ module.components + module.mean)
        wave = observed_wavelength(batch["flux"].shape[1], binned.device)
        first = wave[0] - (wave[1] - wave[0]) / 2
        place = (wave / first).log() / LOG_STEP - 0.5
        return interpolate(binned, place.expand(len(binned), -1))

    return shape


def autoencoded(encoder: SpenderAutoencoder) -> Shape:
    """Return the reconstruction by the autoencoder, given the redshift."""
    return lambda batch: encoder.reconstruct(batch)[0]


def batches(view: SplitView) -> Iterator[Tensors]:
    """Yield what reconstructions read of a split, in order."""
    for batch in view.batches(COLUMNS, BATCH_ROWS):
        yield to_tensors(batch)


def measure(view: SplitView, models: Mapping[str, Model], progress: Progress) -> Fits:
    """Measure the reduced chi^2 of reconstructions, over the pixels with data; NaN for spectra without any.

    Parameters
    ----------
    models
        Name -> reconstruction.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in models}
    signal: list[Tensor] = []
    with torch.inference_mode():
        for batch in batches(view):
            weight = torch.where(good_pixels(batch["flux"], batch["ivar"]), batch["ivar"], 0.0)
            for name, model in models.items():
                found[name].append(reduced_chi2(batch["flux"], weight, model.shape(batch), model.parameters))
            signal.append(median_signal(batch["flux"], weight))
            progress(sum(map(len, signal)), view.rows)
    return Fits({name: _array(parts) for name, parts in found.items()}, _array(signal))


def reduced_chi2(flux: Tensor, weight: Tensor, shape: Tensor, parameters: int) -> Tensor:
    """Return chi^2 a degree of freedom (n,) of models (n, p) at their best amplitude; NaN where there is none."""
    model = best_amplitude(shape, flux, weight)[:, None] * shape
    chi2 = (weight * torch.where(weight > 0, flux - model, 0.0).square()).sum(1)
    freedom = (weight > 0).sum(1) - parameters
    return torch.where(freedom > 0, chi2 / freedom.clamp_min(1), torch.nan)


def median_signal(flux: Tensor, weight: Tensor) -> Tensor:
    """Return the median of flux over noise, of the pixels with data (n,)."""
    return torch.where(weight > 0, flux * weight.sqrt(), torch.nan).nanmedian(dim=1).values


def redshift_drift(view: SplitView, encoder: SpenderAutoencoder, progress: Progress) -> float:
    """Return how far latents move when the spectrum is seen `REDSHIFT_STEP` further, over how far galaxies lie apart.

    Both are medians of distances between latents; 0 is the invariance that Liang et al. 2023 ask for.
    """
    at, moved = [], []
    with torch.inference_mode():
        for batch in batches(view):
            at.append(encoder(batch))
            moved.append(encoder(at_redshift(batch, batch["redshift"] + REDSHIFT_STEP)))
            progress(sum(map(len, at)), view.rows)
    one, two = torch.cat(at).double(), torch.cat(moved).double()
    apart = torch.nn.functional.pdist(one).median()
    return float((two - one).norm(dim=1).median() / apart)


def _array(parts: list[Tensor]) -> Float64:
    return np.asarray(torch.cat(parts).double().numpy())
