"""Spender's decoder: from latents to a spectrum at rest, and from there to the pixels of an observed one.

Melchior et al. 2023, AJ 166, 74, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from astroclip_bench.records import WAVELENGTH_START_ANGSTROM, WAVELENGTH_STEP_ANGSTROM


class SpeculatorActivation(nn.Module):
    """x (g + (1 - g) sigmoid(b x)), g and b learned for each component (Alsing et al. 2020, ApJS 249, 5, equation 8).

    Parameters
    ----------
    width
        Number of components.
    offset
        Added to the result: 1 after the last layer, so that an untrained decoder gives a flat continuum.
    """

    def __init__(self, width: int, offset: float = 0.0) -> None:
        super().__init__()
        self.slope, self.floor = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(width))
        self.offset = offset

    def forward(self, values: Tensor) -> Tensor:
        """Return values (n, width) of values (n, width)."""
        gate = self.floor + (1 - self.floor) * torch.sigmoid(self.slope * values)
        return gate * values + self.offset


class SpectrumDecoder(nn.Module):
    """An MLP from latents to the flux density on an even grid of wavelengths at rest.

    Parameters
    ----------
    latents
        Components of its input.
    hidden
        Sizes of the hidden layers.
    z_max
        The grid begins where the first observed pixel lies at this redshift, and ends at the last observed pixel.
    bins
        Points of the grid.
    pixels
        Length of the observed spectra, which begin and go as those of the record.
    """

    def __init__(self, latents: int, hidden: Sequence[int], z_max: float, bins: int, pixels: int) -> None:
        super().__init__()
        self.start = WAVELENGTH_START_ANGSTROM / (1 + z_max)
        end = WAVELENGTH_START_ANGSTROM + WAVELENGTH_STEP_ANGSTROM * (pixels - 1)
        self.bins, self.step = bins, (end - self.start) / (bins - 1)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((latents, *hidden)):
            layers += [nn.Linear(inputs, outputs), SpeculatorActivation(outputs)]
        last = (latents, *hidden)[-1]
        self.layers = nn.Sequential(*layers, nn.Linear(last, bins), SpeculatorActivation(bins, offset=1.0))

    @property
    def wavelength(self) -> Tensor:
        """Wavelengths of the grid (bins,), Angstrom in vacuum, at rest."""
        return self.start + self.step * torch.arange(self.bins, dtype=torch.float64)

    def forward(self, latents: Tensor) -> Tensor:
        """Return spectra at rest (n, bins) of latents (n, latents)."""
        spectra: Tensor = self.layers(latents)
        return spectra

    def observe(self, rest: Tensor, redshift: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
        """Return spectra at rest (n, bins) as seen at redshifts (n,), and which pixels the grid covers, (n, pixels) both.

        A flux density keeps its value and moves to a wavelength 1 + z times as long, as in the published model, so that
        the flux of a line grows by 1 + z; what distance and bandwidth do to the level is left to the amplitude.
        """
        place = (observed_wavelength(pixels, rest.device) / (1 + redshift[:, None]) - self.start) / self.step
        return interpolate(rest, place), (place >= 0) & (place <= self.bins - 1)


def observed_wavelength(pixels: int, device: torch.device) -> Tensor:
    """Return the wavelengths (pixels,) of observed spectra, Angstrom in vacuum; in float32 they would be off by 5e-4."""
    return WAVELENGTH_START_ANGSTROM + WAVELENGTH_STEP_ANGSTROM * torch.arange(
        pixels, device=device, dtype=torch.float64
    )


def interpolate(values: Tensor, place: Tensor) -> Tensor:
    """Return values (n, m) at fractional places (n, m) of even grids (n, g), linearly; the ends go on for ever."""
    last = values.shape[1] - 1
    place = place.clamp(0, last)
    left = place.long().clamp(max=last - 1)
    share = (place - left).to(values)
    return torch.lerp(values.gather(1, left), values.gather(1, left + 1), share)
