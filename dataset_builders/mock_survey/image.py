"""A Legacy-like image of the galaxy: parts and neighbours painted in Fourier space, one transform back for each band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroclip_bench.records import IMAGE_SIZE, PIXEL_SCALE_ARCSEC
from dataset_builders.mock_survey.basis import Basis
from dataset_builders.mock_survey.morphology import Appearance, Part, choose_grid, galaxy_parts
from dataset_builders.mock_survey.population import Latents
from dataset_builders.mock_survey.profiles import SIGMA_PER_FWHM, Grid, moffat
from dataset_builders.mock_survey.scene import Sources, add_bleeding, draw_sources, paint_sources
from dataset_builders.mock_survey.sed import N_COMPONENT

PSF_FWHM_ARCSEC = {"south": (1.33, 1.20, 1.12), "north": (1.62, 1.48, 1.03)}
PSF_SCATTER = 0.08
DEPTH_MAG = {"south": (24.65, 24.0, 23.0), "north": (24.3, 23.75, 23.15)}
"""5 sigma point-source depth in g, r, z of DR9 (Dey et al. 2019; Schlegel et al. 2021)."""
DEPTH_SCATTER_MAG = 0.15
SKY_MAG_ARCSEC2 = (22.0, 21.1, 19.2)
CENTRE_WEIGHT, NEIGHBOUR_WEIGHT = 0.93, 0.18
"""Noise is mixed with that of the four adjacent pixels, as resampling onto the sky does."""


@dataclass(frozen=True)
class Observing:
    """Conditions in g, r, z: PSF width (arcsec), noise of a sky pixel (nanomaggies), nanomaggies an electron pair."""

    psf_fwhm: np.ndarray
    pixel_sigma: np.ndarray
    gain: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A noiseless image (3, n, n) in nanomaggies, and the share of each spectral component in the fibre (4,)."""

    image: np.ndarray
    fibre_fractions: np.ndarray


def draw_observing(hemisphere: str, rng: np.random.Generator) -> Observing:
    """Draw seeing and depth of the three bands."""
    scatter = rng.standard_normal((2, 3))
    fwhm = np.array(PSF_FWHM_ARCSEC[hemisphere]) * np.exp(PSF_SCATTER * scatter[0])
    depth = np.array(DEPTH_MAG[hemisphere]) + DEPTH_SCATTER_MAG * scatter[1]
    effective_pixels = 4 * np.pi * (fwhm * SIGMA_PER_FWHM / PIXEL_SCALE_ARCSEC) ** 2
    sigma = 10 ** (-0.4 * (depth - 22.5)) / 5 / np.sqrt(effective_pixels)
    sky = 10 ** (-0.4 * (np.array(SKY_MAG_ARCSEC2) - 22.5)) * PIXEL_SCALE_ARCSEC**2
    return Observing(fwhm, sigma, sigma**2 / sky)


def _paint_galaxy(grid: Grid, shape: Appearance, parts: list[Part], flux: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the transform (3, n, n//2 + 1) of the galaxy, and the fibre share (n_part,) of each part."""
    centred = np.zeros((3, *grid.square.shape), np.float32)
    scattered = np.zeros((3, *grid.square.shape), np.complex64)
    along_x, along_y = grid.phase(np.array([shape.x]), np.array([shape.y]))
    phase = along_y[0][:, None] * along_x[0]
    inside = np.empty(len(parts))
    for index, part in enumerate(parts):
        band_flux = ((part.share @ flux) * part.colour).astype(np.float32)
        if np.iscomplexobj(part.profile):
            scattered += band_flux[:, None, None] * part.profile
            inside[index] = np.vdot(phase, part.profile * grid.aperture).real
        else:
            centred += band_flux[:, None, None] * part.profile
            inside[index] = np.vdot(part.profile, grid.aperture)
    return centred * phase + scattered, inside


def _fibre_fractions(parts: list[Part], inside: np.ndarray) -> np.ndarray:
    """Return the share of each spectral component inside the fibre, dust lanes as in the r band."""
    fractions = np.zeros(N_COMPONENT)
    for part, share in zip(parts, inside, strict=True):
        fractions += part.share * part.colour[1] * share
    return fractions


def render(
    basis: Basis, latents: Latents, shape: Appearance, flux: np.ndarray, observing: Observing, rng: np.random.Generator
) -> Scene:
    """Paint a galaxy whose components have the given flux (4, 3) in nanomaggies, and what surrounds it."""
    import scipy.fft

    grid = choose_grid(latents, shape)
    parts = galaxy_parts(basis, latents, shape, grid, rng)
    transform, inside = _paint_galaxy(grid, shape, parts, flux)
    sources: Sources = draw_sources(rng, latents, shape, flux.sum(axis=0))
    if len(sources.x):
        transform += paint_sources(grid, sources)
    for band in range(3):
        transform[band] *= moffat(grid, float(observing.psf_fwhm[band]))
    image = scipy.fft.irfft2(transform, (grid.size, grid.size), axes=(1, 2), overwrite_x=True)
    image = np.ascontiguousarray(image[:, :IMAGE_SIZE, :IMAGE_SIZE])
    add_bleeding(image, sources)
    return Scene(image, _fibre_fractions(parts, inside))


def add_noise(image: np.ndarray, observing: Observing, rng: np.random.Generator) -> np.ndarray:
    """Return the image (3, n, n) with sky and photon noise, float32."""
    white = rng.standard_normal((3, IMAGE_SIZE + 2, IMAGE_SIZE + 2), dtype=np.float32)
    mixed = white[:, :-2, 1:-1] + white[:, 2:, 1:-1]
    mixed += white[:, 1:-1, :-2]
    mixed += white[:, 1:-1, 2:]
    norm = np.sqrt(CENTRE_WEIGHT**2 + 4 * NEIGHBOUR_WEIGHT**2)
    mixed *= np.float32(NEIGHBOUR_WEIGHT / norm)
    mixed += np.float32(CENTRE_WEIGHT / norm) * white[:, 1:-1, 1:-1]
    variance = np.clip(image, 0.0, None)
    variance *= observing.gain.astype(np.float32)[:, None, None]
    variance += (observing.pixel_sigma.astype(np.float32) ** 2)[:, None, None]
    mixed *= np.sqrt(variance, out=variance)
    mixed += image
    return mixed
