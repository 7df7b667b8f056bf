"""A DESI spectrum of the galaxy: kinematics, resolution, pixels, noise."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from astroclip_bench.records import N_WAVELENGTH, WAVELENGTH_START_ANGSTROM, WAVELENGTH_STEP_ANGSTROM
from dataset_builders.mock_survey.basis import PIXEL_KM_S, SPEED_OF_LIGHT_KM_S, Basis, pixel_edges
from dataset_builders.mock_survey.noise import REFERENCE_TIME_S, load_noise
from dataset_builders.mock_survey.population import Latents
from dataset_builders.mock_survey.sed import Sed

WAVE = WAVELENGTH_START_ANGSTROM + WAVELENGTH_STEP_ANGSTROM * np.arange(N_WAVELENGTH)
EDGES = pixel_edges(WAVE)
MILES_SIGMA_KM_S = 1.066 / 5000.0 * SPEED_OF_LIGHT_KM_S
"""Resolution of the stellar library, 2.51 A full width (Falcon-Barroso et al. 2011), at 5000 A."""
LSF_ANGSTROM = 0.66
FIBRE_CALIBRATION = 1.27
"""DESI scales fibre fluxes to a point source's total flux (Guy et al. 2023, section 4.9)."""
PADDING = 64
HALF_WINDOW = 14
"""Emission lines are integrated over so many pixels to each side, 6 sigma and more for all but the broadest."""
EFFECTIVE_TIME_S, EFFECTIVE_TIME_DEX = 300.0, 0.13
SOURCE_VARIANCE_AT = 4.0
"""Source flux (1e-17 cgs/A) whose photon noise equals the sky continuum's."""
MASKED_FRACTION = 0.0015
SMOOTH_WIDTH, SMOOTH_PASSES = 121, 3


@dataclass(frozen=True)
class Observation:
    """Flux and inverse variance (7781,) float64, before rounding."""

    flux: np.ndarray
    ivar: np.ndarray


def _stellar_sigma_km_s(latents: Latents) -> float:
    """Return what the templates have to be broadened by: kinematics and DESI's resolution less the library's."""
    redshift = float(latents.redshift[0])
    sin_inclination = np.sqrt(1 - latents.cos_inclination[0] ** 2)
    rotation = 0.35 * latents.rotation_velocity[0] * sin_inclination * (1 - latents.bulge_fraction[0])
    instrument = LSF_ANGSTROM / (5000.0 * (1 + redshift)) * SPEED_OF_LIGHT_KM_S
    square = latents.velocity_dispersion[0] ** 2 + rotation**2 + instrument**2 - MILES_SIGMA_KM_S**2
    return float(np.sqrt(max(square, 1.0)))


@functools.cache
def _fourier_grid(n_wave: int) -> tuple[int, np.ndarray]:
    import scipy.fft

    length = scipy.fft.next_fast_len(n_wave + 2 * PADDING, real=True)
    return length, (-0.5 * (2 * np.pi * np.fft.rfftfreq(length)) ** 2).astype(np.float32)


def broaden(spectrum: np.ndarray, sigma_km_s: float) -> np.ndarray:
    """Convolve a spectrum (n_wave,) float32 on the logarithmic grid with a Gaussian."""
    import scipy.fft

    length, half_square = _fourier_grid(len(spectrum))
    padded = np.pad(spectrum, (PADDING, length - len(spectrum) - PADDING), mode="edge")
    kernel = np.exp(half_square * np.float32((sigma_km_s / PIXEL_KM_S) ** 2))
    smooth = scipy.fft.irfft(scipy.fft.rfft(padded) * kernel, length)
    return np.asarray(smooth[PADDING : PADDING + len(spectrum)])


def _line_sigma_km_s(latents: Latents) -> float:
    if latents.quiescent[0]:
        return float(0.8 * latents.velocity_dispersion[0])
    sin_inclination = np.sqrt(1 - latents.cos_inclination[0] ** 2)
    return float(np.hypot(35.0, 0.5 * latents.rotation_velocity[0] * sin_inclination))


def add_lines(flux: np.ndarray, centre: np.ndarray, strength: np.ndarray, sigma_km_s: float) -> None:
    """Add Gaussian emission lines, integrated over each pixel, to `flux` (7781,) in place.

    Parameters
    ----------
    centre, strength
        Observed wavelength in angstrom and flux in 1e-17 erg/s/cm2, (n_line,).
    """
    from scipy.special import erf

    reach = HALF_WINDOW * WAVELENGTH_STEP_ANGSTROM
    used = (centre > WAVE[0] - reach) & (centre < WAVE[-1] + reach) & (strength > 1e-4)
    centre, strength = centre[used], strength[used]
    sigma = np.hypot(sigma_km_s / SPEED_OF_LIGHT_KM_S * centre, np.interp(centre, WAVE, load_noise().lsf_sigma))
    first = np.round((centre - WAVE[0]) / WAVELENGTH_STEP_ANGSTROM).astype(int) - HALF_WINDOW
    edges = WAVE[0] + WAVELENGTH_STEP_ANGSTROM * (first[:, None] - 0.5 + np.arange(2 * HALF_WINDOW + 2))
    share = np.diff(0.5 * erf((edges - centre[:, None]) / (sigma[:, None] * np.sqrt(2))), axis=1)
    pixel = first[:, None] + np.arange(2 * HALF_WINDOW + 1)
    inside = (pixel >= 0) & (pixel < N_WAVELENGTH)
    density = strength[:, None] * share / WAVELENGTH_STEP_ANGSTROM
    flux += np.bincount(pixel[inside], density[inside], minlength=N_WAVELENGTH)


def noiseless_spectrum(basis: Basis, latents: Latents, sed: Sed, fractions: np.ndarray) -> np.ndarray:
    """Return the flux density (7781,) that a perfect DESI would record.

    Parameters
    ----------
    fractions
        Share of each component's light inside the fibre, (4,).
    """
    redshift = float(latents.redshift[0])
    rest = broaden(fractions.astype(np.float32) @ sed.continuum, _stellar_sigma_km_s(latents))
    edges = basis.wave_edges * (1 + redshift)
    cumulative = np.concatenate([[0.0], np.cumsum(rest.astype(float) * np.diff(edges))])
    flux = np.diff(np.interp(EDGES, edges, cumulative)) / WAVELENGTH_STEP_ANGSTROM
    add_lines(flux, basis.line_wave * (1 + redshift), fractions @ sed.lines, _line_sigma_km_s(latents))
    return np.asarray(flux * FIBRE_CALIBRATION)


def smooth_flux(flux: np.ndarray) -> np.ndarray:
    """Return `flux` after three running means of 97 A, close to a Gaussian of 55 A."""
    from scipy.ndimage import uniform_filter1d

    for _ in range(SMOOTH_PASSES):
        flux = uniform_filter1d(flux, SMOOTH_WIDTH, mode="nearest")
    return flux


def observe(model: np.ndarray, rng: np.random.Generator) -> Observation:
    """Add the noise of a bright-time DESI exposure to a noiseless spectrum (7781,).

    Pixels are independent, as in real coadded spectra. The inverse variance is estimated from the smoothed *observed*
    flux: one computed from the model would show the noiseless spectrum, and its redshift, to whoever reads it.
    """
    curves = load_noise()
    scale = REFERENCE_TIME_S / (EFFECTIVE_TIME_S * 10 ** (EFFECTIVE_TIME_DEX * rng.standard_normal()))
    moon = 0.8 * rng.random()
    sky = curves.sky_variance * scale * (1 + moon * (WAVE / 5000.0) ** -2)
    per_flux = curves.continuum_variance * (scale / SOURCE_VARIANCE_AT)
    tilt_draws, common = rng.standard_normal(3), rng.standard_normal()
    offset = (WAVE - 6700.0) / 3100.0
    calibration = np.exp(0.04 * tilt_draws[0] + 0.02 * tilt_draws[1] * offset + 0.01 * tilt_draws[2] * offset**2)
    noise = rng.standard_normal(N_WAVELENGTH) * np.sqrt(sky + per_flux * np.clip(model, 0.0, None))
    texture = 0.25 * common + 0.15 * rng.standard_normal(N_WAVELENGTH)
    residual = curves.line_strength * np.sqrt(curves.continuum_variance * scale) * texture
    flux = model * calibration + noise + residual
    ivar = 1 / (sky + per_flux * np.clip(smooth_flux(flux), 0.0, None))
    masked = rng.random(N_WAVELENGTH) < MASKED_FRACTION
    flux[masked] = 0.0
    ivar[masked] = 0.0
    return Observation(flux, ivar)
