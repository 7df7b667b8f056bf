"""What Spender is trained by: fidelity to the data (Melchior et al. 2023), and latents that do not know the redshift.

The two further losses and their numbers are those of Liang et al. 2023, AJ 166, 75, section 2.3, and of the code they
published. All are means over galaxies.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from baselines.astroclip.data import Tensors
from baselines.astroclip.draws import uniform
from baselines.astroclip.inputs import good_pixels
from baselines.spender.decoder import interpolate, observed_wavelength

NO_PENALTY = 2.5
"""k0: half the width of the range in which two dissimilarities count as equal."""
LEVEL_RANGE_ANGSTROM = (4000.0, 7000.0)
"""Spectra at rest are compared over their median in this range,"""
WINDOW_ANGSTROM = (5000.0, 1000.0)
"""under a weight of this centre and width."""
MINIMUM_LEVEL = 0.1


def fidelity_loss(flux: Tensor, model: Tensor, weight: Tensor) -> Tensor:
    """Return half the squared deviation in units of the variance, a pixel; pixels of weight 0 count as fitted."""
    deviation = torch.where(weight > 0, flux - model, 0.0)
    return 0.5 * (weight * deviation.square()).mean()


def similarity_loss(latents: Tensor, rest: Tensor, wavelength: Tensor, slope: float, data_scale: float) -> Tensor:
    """Punish pairs whose latents are much nearer, or much further, than their spectra at rest.

    Parameters
    ----------
    latents, rest
        (n, latents) and (n, bins).
    wavelength
        (bins,) of `rest`, Angstrom.
    slope
        k1: how steeply the loss rises; 0 gives a constant.
    data_scale
        What the dissimilarity of the spectra is multiplied by.
    """
    low, high = LEVEL_RANGE_ANGSTROM
    level = rest[:, (wavelength > low) & (wavelength < high)].median(dim=1, keepdim=True).values
    centre, width = WINDOW_ANGSTROM
    window = torch.exp(-((0.5 * (wavelength - centre) / width) ** 2)).to(rest)
    spectra = rest / level.clamp_min(MINIMUM_LEVEL) * (window / rest.shape[1]).sqrt()
    apart = squared_distances(latents) / latents.shape[1] - data_scale * squared_distances(spectra)
    loss = torch.sigmoid(slope * apart - NO_PENALTY) + torch.sigmoid(-slope * apart - NO_PENALTY)
    return (loss.sum() - loss.diagonal().sum()) / len(latents) ** 2


def consistency_loss(latents: Tensor, moved: Tensor, tolerance: float) -> Tensor:
    """Punish latents (n, d) that change, to `moved`, with the redshift; 0 where they are the same, below 0.5."""
    change = (moved - latents).square().mean(1) / tolerance**2
    return (torch.sigmoid(change) - 0.5).mean()


def squared_distances(vectors: Tensor) -> Tensor:
    """Return the squared distance of each vector to each, (n, n) of (n, d)."""
    norms = vectors.square().sum(1)
    return (norms[:, None] + norms - 2 * vectors @ vectors.T).clamp_min(0.0)


def other_redshift(redshift: Tensor, generator: Generator, width: float, z_max: float) -> Tensor:
    """Draw redshifts (n,) evenly from a range of `width` that ends at the galaxy's own, or from 0 to `width`."""
    drawn = uniform(generator, len(redshift)).to(redshift)
    return ((redshift - width).clamp_min(0.0) + width * drawn).clamp_max(z_max)


def at_redshift(batch: Tensors, redshift: Tensor) -> Tensors:
    """Return spectra as they would be seen at other redshifts (n,), by linear interpolation.

    A pixel that lies beyond the ends of what was observed, or between pixels of which one is not good, has no inverse
    variance.
    """
    flux, ivar = batch["flux"], batch["ivar"]
    good = good_pixels(flux, ivar)
    wave = observed_wavelength(flux.shape[1], flux.device)
    factor = (1 + batch["redshift"].double()) / (1 + redshift.double())
    place = (wave * factor[:, None] - wave[0]) / (wave[1] - wave[0])
    inside = (place >= 0) & (place <= flux.shape[1] - 1)
    known = inside & (interpolate(good.to(flux), place) > 1 - 1e-6)
    moved = interpolate(torch.where(good, flux, 0.0), place)
    weight = torch.where(known, interpolate(torch.where(good, ivar, 0.0), place), 0.0)
    return {**batch, "flux": moved, "ivar": weight, "redshift": redshift}
