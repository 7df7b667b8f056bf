"""Random changes made to the training batches, and to nothing else.

They say what an embedding should not depend on: orientation, noise, centring, flux calibration, and a few masked
pixels. Every function draws from the generator it is given, so that a resumed run repeats the interrupted one.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from baselines.contrastive_mini.preprocess import N_BINS, SOFTENING_NMGY

APERTURE_SCATTER = 0.02
MAXIMUM_SHIFT_BINS = 2
CALIBRATION_SCATTER = (0.04, 0.05, 0.03)
"""Scatter of the constant, linear and quadratic term of ln(flux calibration)."""
MAXIMUM_EXTRA_VARIANCE = 1.0
MASKED_BLOCKS = 3
MAXIMUM_BLOCK_BINS = 80


def augment_image(pixels: Tensor, apertures: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Turn and mirror each image, shift the batch by a pixel, and add noise of half the softening.

    Parameters
    ----------
    pixels, apertures
        Outputs of `preprocess.reduce_image`.
    """
    n = len(pixels)
    choices = torch.rand(3, n, 1, 1, 1, generator=generator) < 0.5
    pixels = torch.where(choices[0], pixels.flip(-1), pixels)
    pixels = torch.where(choices[1], pixels.flip(-2), pixels)
    pixels = torch.where(choices[2], pixels.transpose(-1, -2), pixels)
    down, right = torch.randint(-1, 2, (2,), generator=generator).tolist()
    pixels = pixels.roll((down, right), (-2, -1))
    softening = pixels.new_tensor(SOFTENING_NMGY)[:, None, None]
    amplitude = 0.5 * softening * torch.rand(n, 1, 1, 1, generator=generator)
    pixels = pixels + amplitude * torch.randn(pixels.shape, generator=generator)
    return pixels, apertures * (1 + APERTURE_SCATTER * torch.randn(apertures.shape, generator=generator))


def augment_spectrum(flux: Tensor, ivar: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Shift, re-calibrate, degrade and mask spectra.

    Parameters
    ----------
    flux, ivar
        (n, N_BINS) from `preprocess.rebin_spectrum`.
    """
    n = len(flux)
    bins = torch.arange(N_BINS)
    shift = torch.randint(-MAXIMUM_SHIFT_BINS, MAXIMUM_SHIFT_BINS + 1, (n, 1), generator=generator)
    source = (bins - shift).clamp(0, N_BINS - 1)
    flux, ivar = flux.gather(1, source), ivar.gather(1, source)

    place = torch.linspace(-1, 1, N_BINS)
    shapes = torch.stack([torch.ones(N_BINS), place, place**2 - 1 / 3])
    amplitudes = flux.new_tensor(CALIBRATION_SCATTER) * torch.randn(n, 3, generator=generator)
    calibration = (amplitudes @ shapes).exp()
    flux, ivar = flux * calibration, ivar / calibration**2

    extra = MAXIMUM_EXTRA_VARIANCE * torch.rand(n, 1, generator=generator) ** 2
    sigma = torch.where(ivar > 0, ivar, torch.inf).rsqrt()
    flux = flux + extra.sqrt() * sigma * torch.randn(flux.shape, generator=generator)
    ivar = ivar / (1 + extra)

    for _ in range(MASKED_BLOCKS):
        first = torch.randint(0, N_BINS, (n, 1), generator=generator)
        width = torch.randint(0, MAXIMUM_BLOCK_BINS, (n, 1), generator=generator)
        ivar = torch.where((bins >= first) & (bins < first + width), 0.0, ivar)
    return torch.where(ivar > 0, flux, 0.0), ivar
