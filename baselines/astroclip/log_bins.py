"""Spectra on a logarithmic wavelength grid, where a redshift moves every line by the same number of bins."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from astroclip_bench.errors import EmbedderError
from astroclip_bench.records import N_WAVELENGTH, WAVELENGTH_START_ANGSTROM, WAVELENGTH_STEP_ANGSTROM
from baselines.astroclip.inputs import good_pixels

LOG_STEP = 5e-4
"""Width of a bin in ln(wavelength): 150 km/s."""
BAND_BINS = 100
"""Bins of a broad band; the grid is a whole number of bands."""
BLOCK_BINS = 10
CONTINUUM_BLOCKS = 11
"""The continuum is smoothed over 11 blocks of 10 bins: 16,500 km/s, wider than any line."""
BAND_SOFTENING = 0.3
"""Softening of the band fluxes, 1e-17 erg/s/cm2/Angstrom."""
MINIMUM_SCALE = 0.02
"""Floor of a spectrum's own scale, in the same unit: a spectrum of zeros divides by this."""
CHANNELS = 4


class LogBins(nn.Module):
    """Inverse-variance means in bins of equal width in ln(wavelength), and what a network sees of them.

    Parameters
    ----------
    pixels
        Length of the spectra, which begin at the first wavelength of the record and go in its steps.

    Attributes
    ----------
    bins, features
        Length of the channels, and number of the scalars, that `forward` gives.
    description
        What is done, in words.
    """

    index: Tensor
    weight: Tensor

    def __init__(self, pixels: int = N_WAVELENGTH) -> None:
        super().__init__()
        start = WAVELENGTH_START_ANGSTROM - WAVELENGTH_STEP_ANGSTROM / 2
        span = math.log1p(pixels * WAVELENGTH_STEP_ANGSTROM / start)
        self.pixels = pixels
        self.bins = int(span / LOG_STEP) // BAND_BINS * BAND_BINS
        self.features = self.bins // BAND_BINS + 1
        self.description = (
            f"inverse-variance mean in {self.bins} bins of 150 km/s (ivar 0 masked), continuum taken off by a running "
            f"mean, in units of the noise and of the spectrum's scale, and asinh of {self.features - 1} band fluxes"
        )
        angstrom = start * torch.exp(LOG_STEP * torch.arange(self.bins + 1, dtype=torch.float64))
        edges = (angstrom - start) / WAVELENGTH_STEP_ANGSTROM  # in pixels: pixel i covers [i, i + 1)
        lower, upper = edges[:-1, None], edges[1:, None]
        widest = start * math.exp(LOG_STEP * self.bins) * -math.expm1(-LOG_STEP) / WAVELENGTH_STEP_ANGSTROM
        places = math.ceil(widest) + 1
        pixel = lower.floor().long() + torch.arange(places)
        weight = (torch.minimum(pixel + 1, upper) - torch.maximum(pixel, lower)).clamp(min=0)
        self.register_buffer("index", pixel.clamp(max=pixels - 1), persistent=False)
        self.register_buffer("weight", weight.float(), persistent=False)

    def rebin(self, flux: Tensor, ivar: Tensor) -> tuple[Tensor, Tensor]:
        """Return flux and ivar (n, bins) of spectra (n, pixels); both 0 where a bin holds no good pixel.

        Each bin's ivar is the sum over its share of pixels.
        """
        good = good_pixels(flux, ivar)
        weights = torch.where(good, ivar.float(), 0.0)
        weighted = torch.where(good, flux.float(), 0.0) * weights
        total = (weights[:, self.index] * self.weight).sum(-1)
        return (weighted[:, self.index] * self.weight).sum(-1) / total.clamp_min(1e-12), total

    def forward(self, flux: Tensor, ivar: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channels of a network and a few scalars that keep the absolute flux.

        The channels are: lines in units of the noise, lines in units of the spectrum's own scale (both after the
        continuum is taken off), the spectrum in units of its scale, and which bins are good.

        Parameters
        ----------
        flux, ivar
            (n, pixels).

        Returns
        -------
        channels, features
            (n, CHANNELS, bins) and (n, features) float32; one feature a band, and the scale.

        Raises
        ------
        EmbedderError
            If the spectra are of another length.
        """
        if flux.shape[1] != self.pixels:
            raise EmbedderError(f"spectra of {flux.shape[1]} pixels", f"{self.pixels}")
        with torch.autocast(flux.device.type, enabled=False):  # lines are a small part of the flux
            return self._stretched(*self.rebin(flux, ivar))

    def _stretched(self, flux: Tensor, ivar: Tensor) -> tuple[Tensor, Tensor]:
        bands = _weighted_mean(flux, ivar, BAND_BINS)
        scale = bands.abs().mean(-1, keepdim=True).clamp_min(MINIMUM_SCALE)
        good = (ivar > 0).to(flux.dtype)
        lines = (flux - continuum(flux, ivar)) * good
        channels = [
            torch.asinh(lines * ivar.sqrt()),
            torch.asinh(4.0 * lines / scale),
            torch.asinh(flux * good / scale),
            good,
        ]
        return torch.stack(channels, 1), torch.cat([torch.asinh(bands / BAND_SOFTENING), scale.log()], 1)


def continuum(flux: Tensor, ivar: Tensor) -> Tensor:
    """Return the smooth part of binned spectra (n, bins): running means of CONTINUUM_BLOCKS blocks, taken twice."""

    def smooth(values: Tensor) -> Tensor:
        blocks = values.reshape(len(values), -1, BLOCK_BINS).mean(-1)
        for _ in range(2):
            blocks = functional.avg_pool1d(blocks, CONTINUUM_BLOCKS, 1, CONTINUUM_BLOCKS // 2, count_include_pad=False)
        return blocks

    coarse = smooth(flux * ivar) / smooth(ivar).clamp_min(1e-12)
    return functional.interpolate(coarse[:, None], size=flux.shape[1], mode="linear")[:, 0]


def _weighted_mean(flux: Tensor, ivar: Tensor, width: int) -> Tensor:
    """Return the inverse-variance weighted mean in blocks of `width` bins, (n, bins // width)."""
    weight = ivar.reshape(len(ivar), -1, width)
    total: Tensor = (flux.reshape(weight.shape) * weight).sum(-1)
    return total / weight.sum(-1).clamp_min(1e-12)
