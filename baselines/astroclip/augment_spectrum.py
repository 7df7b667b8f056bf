"""Random changes to batches of spectra, on the device they lie on, before any standardisation.

Whatever happens to the flux happens to the inverse variance, so that an encoder that reads it is told the truth: added
noise lowers it, a pixel that holds no data has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from astroclip_bench.errors import UserError
from baselines.astroclip.draws import integers, normal, uniform, white_noise

CHUNKS = 6
CHUNK_TOKENS = 50


@dataclass(frozen=True)
class SpectrumAugmentation:
    """What is done to a spectrum; nothing by default.

    Parameters
    ----------
    shift
        Largest shift along wavelength, in whole pixels (5 in the first AstroCLIP, arXiv 2310.03024v1).
    noise
        Standard deviation of the noise that is added: a share of each pixel's own, of 1 / sqrt(ivar) (0.3 in
        Siddiquei's reproduction), or, where `noise_of` says so, of the spectrum's.
    noise_of
        ``pixel``, or ``spectrum`` for the standard deviation of the flux along wavelength, the same for every pixel
        (0.03 in the first AstroCLIP).
    noise_range
        Draw the share of each spectrum uniformly between 0 and `noise` instead.
    masked_chunks, chunk_pixels
        Runs of pixels that lose their data, and their length.
    tilt
        Standard deviation of the linear and of the quadratic term, over the whole range, of ln(flux calibration):
        what a flux calibration may get wrong; no line moves, so redshift is untouched.
    """

    shift: int = 0
    noise: float = 0.0
    noise_of: Literal["pixel", "spectrum"] = "pixel"
    noise_range: bool = False
    masked_chunks: int = 0
    chunk_pixels: int = 100
    tilt: float = 0.0


def augment_spectrum(
    flux: Tensor, ivar: Tensor | None, generator: Generator, settings: SpectrumAugmentation
) -> tuple[Tensor, Tensor | None]:
    """Return changed flux and ivar (n, pixels).

    Without ivar every pixel counts as valid, and what is masked is set to 0.

    Raises
    ------
    UserError
        If noise in proportion to each pixel's own is asked for without ivar.
    """
    if ivar is None and settings.noise and settings.noise_of == "pixel":
        raise UserError("noise of each pixel's own size, for spectra without ivar", todo="set noise_of = 'spectrum'")
    known, flux = ivar is not None, flux.float()
    ivar = torch.full_like(flux, torch.inf) if ivar is None else ivar.float()
    n = len(flux)
    if settings.shift:
        flux, ivar = shift(flux, ivar, integers(generator, -settings.shift, settings.shift, n))
    if settings.tilt:
        flux, ivar = tilt(flux, ivar, settings.tilt * normal(generator, n, 2))
    if settings.noise:
        share = settings.noise * (uniform(generator, n) if settings.noise_range else torch.ones(n))
        width = _own_noise(ivar) if settings.noise_of == "pixel" else _spread(flux, ivar)
        flux, ivar = add_noise(flux, ivar, share.to(flux.device)[:, None] * width, generator)
    if settings.masked_chunks:
        mask = chunk_mask(n, flux.shape[1], generator, settings.masked_chunks, settings.chunk_pixels).to(flux.device)
        flux, ivar = flux.masked_fill(mask, 0), ivar.masked_fill(mask, 0)
    return flux, ivar if known else None


def shift(flux: Tensor, ivar: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Move spectra (n, p) by whole numbers of pixels (n), to the red where positive.

    Pixels that nothing moved into repeat the last flux of that end, and have no inverse variance.
    """
    last = flux.shape[1] - 1
    place = torch.arange(flux.shape[1], device=flux.device) - pixels.to(flux.device)[:, None]
    inside = (place >= 0) & (place <= last)
    place = place.clamp(0, last)
    return flux.gather(1, place), ivar.gather(1, place).where(inside, 0.0)


def add_noise(flux: Tensor, ivar: Tensor, sigma: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Add Gaussian noise of the given standard deviation (n, p) to the pixels with data; variances add up."""
    sigma = torch.where(ivar > 0, sigma, 0.0).expand_as(flux)
    flux = flux + sigma * white_noise(generator, flux)
    return flux, torch.where(sigma > 0, 1 / (1 / ivar + sigma**2), ivar)


def tilt(flux: Tensor, ivar: Tensor, amplitude: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply spectra by exp(a x + b (x^2 - 1/3)), x from -1 to 1 along wavelength, with (a, b) of `amplitude` (n, 2)."""
    x = torch.linspace(-1, 1, flux.shape[1], device=flux.device)
    factor = (amplitude.to(flux.device, flux.dtype) @ torch.stack([x, x**2 - 1 / 3])).exp()
    return flux * factor, ivar / factor**2


def chunk_mask(n: int, length: int, generator: Generator, chunks: int = CHUNKS, width: int = CHUNK_TOKENS) -> Tensor:
    """Return (n, length), true in `chunks` runs of `width` places, one anywhere in each equal part of the length.

    Runs never overlap; as in the pre-training of SpecFormer (Parker et al. 2024, section 4.2), where places are tokens.

    Raises
    ------
    UserError
        If a part is shorter than a run.
    """
    if length // chunks < width:
        raise UserError(
            f"{chunks} masked runs of {width}", f"runs of at most {length // chunks}: the sequence has {length} places"
        )
    begin = torch.arange(chunks, device=generator.device) * length // chunks
    begin = (begin + integers(generator, 0, length // chunks - width, n, chunks))[..., None]
    place = torch.arange(length, device=generator.device)
    return ((place >= begin) & (place < begin + width)).any(1)


def _own_noise(ivar: Tensor) -> Tensor:
    return torch.where(ivar > 0, ivar, torch.inf).rsqrt()


def _spread(flux: Tensor, ivar: Tensor) -> Tensor:
    """Return the standard deviation (n, 1) of the flux over the pixels with data."""
    valid = ivar > 0
    count = valid.sum(1, keepdim=True).clamp(min=1)
    mean = flux.where(valid, 0.0).sum(1, keepdim=True) / count
    return ((flux - mean).where(valid, 0.0).square().sum(1, keepdim=True) / count).sqrt()
