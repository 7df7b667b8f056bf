"""The fixed, deterministic steps from calibrated pixels to what the networks see.

Every step acts on one galaxy at a time, so an embedding never depends on what else is in the batch, and none draws a
random number. Images stay in nanomaggies and spectra in flux density until the last step, because the absolute flux
is what ties a galaxy's image to its spectrum.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from astroclip_bench.records import (
    N_WAVELENGTH,
    PIXEL_SCALE_ARCSEC,
    WAVELENGTH_START_ANGSTROM,
    WAVELENGTH_STEP_ANGSTROM,
)

CROP_PIXELS = 96
IMAGE_PIXELS = CROP_PIXELS // 2
"""Side of the image handed to the network: 0.524 arcsec a pixel, still two pixels per full width of the seeing."""
SOFTENING_NMGY = (0.005, 0.010, 0.020)
"""Flux a pixel at which the asinh stretch turns from linear to logarithmic: about the noise in g, r, z."""
APERTURE_RADII_ARCSEC = (0.75, 1.5, 3.0, 5.0, 8.0, 12.0)
"""Apertures on the image; the first is the DESI fibre."""
APERTURE_SOFTENING_NMGY = 0.3
N_APERTURE_FEATURES = 3 * len(APERTURE_RADII_ARCSEC)

LOG_STEP = 5e-4
"""Width of a spectral bin in ln(wavelength): 150 km/s, so that a redshift is a shift by whole bins."""
N_BINS = 2000
BLOCK_BINS = 10
CONTINUUM_BLOCKS = 11
"""The continuum is smoothed over 11 blocks of 10 bins: 16,500 km/s, wider than any line."""
BAND_BINS = 100
N_BANDS = N_BINS // BAND_BINS
BAND_SOFTENING = 0.3
"""Softening of the band fluxes, 1e-17 erg/s/cm2/Angstrom."""
MINIMUM_SCALE = 0.02
"""Floor of a spectrum's own scale, in the same unit: a spectrum of zeros divides by this."""
N_SPECTRUM_CHANNELS = 4
N_SPECTRUM_FEATURES = N_BANDS + 1


def bin_overlaps() -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels of the DESI grid fall into each bin of the logarithmic grid, and by what fraction.

    Returns
    -------
    index, weight
        Arrays (N_BINS, k) of pixel numbers (int64) and of the fraction of each pixel inside the bin (float32);
        unused places hold weight 0.
    """
    start = WAVELENGTH_START_ANGSTROM - WAVELENGTH_STEP_ANGSTROM / 2
    edges_angstrom = start * np.exp(LOG_STEP * np.arange(N_BINS + 1))
    edges = (edges_angstrom - start) / WAVELENGTH_STEP_ANGSTROM  # in pixels: pixel i covers [i, i + 1)
    lower, upper = edges[:-1, None], edges[1:, None]
    places = int(np.ceil(np.diff(edges).max())) + 1
    pixel = np.floor(lower).astype(np.int64) + np.arange(places)
    weight = np.clip(np.minimum(pixel + 1, upper) - np.maximum(pixel, lower), 0.0, None)
    return np.minimum(pixel, N_WAVELENGTH - 1), weight.astype(np.float32)


def aperture_masks() -> np.ndarray:
    """Return the fraction of each cropped pixel inside each aperture, (n_apertures, CROP_PIXELS, CROP_PIXELS) float32."""
    offset = (np.arange(CROP_PIXELS) - (CROP_PIXELS - 1) / 2) * PIXEL_SCALE_ARCSEC
    radius = np.hypot(offset[:, None], offset[None, :])
    edge = (np.asarray(APERTURE_RADII_ARCSEC)[:, None, None] - radius) / PIXEL_SCALE_ARCSEC
    return np.asarray(np.clip(edge + 0.5, 0.0, 1.0), np.float32)


def reduce_image(image: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Crop, average 2 x 2 pixels, and measure aperture fluxes.

    Parameters
    ----------
    image
        (n, 3, H, W) nanomaggies a pixel, H and W at least CROP_PIXELS; non-finite pixels count as zero.
    masks
        From `aperture_masks`.

    Returns
    -------
    pixels, apertures
        (n, 3, IMAGE_PIXELS, IMAGE_PIXELS) mean nanomaggies a native pixel, and (n, 3, n_apertures) nanomaggies.
    """
    top, left = (image.shape[-2] - CROP_PIXELS) // 2, (image.shape[-1] - CROP_PIXELS) // 2
    crop = image[..., top : top + CROP_PIXELS, left : left + CROP_PIXELS].float()
    crop = torch.nan_to_num(crop, nan=0.0, posinf=0.0, neginf=0.0)
    with torch.autocast(crop.device.type, enabled=False):  # fluxes summed over 9216 pixels need float32
        apertures = crop.flatten(2) @ masks.float().flatten(1).T
    return functional.avg_pool2d(crop, 2), apertures


def stretch_image(pixels: Tensor, apertures: Tensor) -> tuple[Tensor, Tensor]:
    """Compress the range of both outputs of `reduce_image` by asinh; the apertures become (n, N_APERTURE_FEATURES)."""
    softening = pixels.new_tensor(SOFTENING_NMGY)[:, None, None]
    return 0.5 * torch.asinh(pixels / softening), torch.asinh(apertures / APERTURE_SOFTENING_NMGY).flatten(1)


def rebin_spectrum(flux: Tensor, ivar: Tensor, index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Average a spectrum into the bins of the logarithmic grid, weighted by inverse variance.

    Parameters
    ----------
    flux, ivar
        (n, N_WAVELENGTH); pixels with `ivar` 0, or not finite in either, are left out.
    index, weight
        From `bin_overlaps`.

    Returns
    -------
    flux, ivar
        (n, N_BINS) each; both 0 where a bin holds no good pixel.
    """
    flux, ivar = flux.float(), ivar.float()
    good = torch.isfinite(flux) & torch.isfinite(ivar) & (ivar > 0)
    ivar = torch.where(good, ivar, 0.0)
    flux = torch.where(good, flux, 0.0)
    total = (ivar[:, index] * weight.float()).sum(-1)
    mean = ((flux * ivar)[:, index] * weight.float()).sum(-1) / total.clamp_min(1e-12)
    return mean, total


def _weighted_mean(flux: Tensor, ivar: Tensor, width: int) -> Tensor:
    """Return the inverse-variance weighted mean in blocks of `width` bins, (n, N_BINS // width)."""
    weight = ivar.reshape(len(ivar), -1, width)
    total: Tensor = (flux.reshape(weight.shape) * weight).sum(-1)
    return total / weight.sum(-1).clamp_min(1e-12)


def _continuum(flux: Tensor, ivar: Tensor) -> Tensor:
    """Return the smooth part of a spectrum, (n, N_BINS): running means of CONTINUUM_BLOCKS blocks, taken twice."""

    def smooth(values: Tensor) -> Tensor:
        blocks = values.reshape(len(values), -1, BLOCK_BINS).mean(-1)
        for _ in range(2):
            blocks = functional.avg_pool1d(blocks, CONTINUUM_BLOCKS, 1, CONTINUUM_BLOCKS // 2, count_include_pad=False)
        return blocks

    coarse: Tensor = smooth(flux * ivar) / smooth(ivar).clamp_min(1e-12)
    return functional.interpolate(coarse[:, None], size=N_BINS, mode="linear")[:, 0]


def stretch_spectrum(flux: Tensor, ivar: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a rebinned spectrum into the channels of the network and a few numbers that keep its absolute flux.

    The channels are: lines in units of the noise, lines in units of the spectrum's own scale (both after the
    continuum is taken off), the spectrum in units of its scale, and which bins are good.

    Parameters
    ----------
    flux, ivar
        (n, N_BINS) from `rebin_spectrum`.

    Returns
    -------
    channels, features
        (n, N_SPECTRUM_CHANNELS, N_BINS) and (n, N_SPECTRUM_FEATURES).
    """
    bands = _weighted_mean(flux, ivar, BAND_BINS)
    scale = bands.abs().mean(-1, keepdim=True).clamp_min(MINIMUM_SCALE)
    good = (ivar > 0).to(flux.dtype)
    lines = (flux - _continuum(flux, ivar)) * good
    channels = torch.stack(
        [
            torch.asinh(lines * ivar.sqrt()),
            torch.asinh(4.0 * lines / scale),
            torch.asinh(flux * good / scale),
            good,
        ],
        dim=1,
    )
    return channels, torch.cat([torch.asinh(bands / BAND_SOFTENING), scale.log()], dim=1)
