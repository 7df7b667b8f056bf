"""Spectral energy distribution: four components, each with its own dust, that image and spectrum share.

Components: bulge; disc older than 300 Myr; disc of 10 to 300 Myr; disc younger than 10 Myr with nebular emission.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataset_builders.mock_survey.basis import (
    LOG_U,
    N_YOUNG_AGES,
    PIXEL_KM_S,
    SPEED_OF_LIGHT_KM_S,
    Basis,
    vacuum_wavelength,
)
from dataset_builders.mock_survey.population import Latents
from dataset_builders.mock_survey.stellar import Content, metallicity_weights

BULGE, DISC_OLD, DISC_MID, DISC_YOUNG = range(4)
N_COMPONENT = 4
LOG_AGE_YOUNG, LOG_AGE_OLD = 7.05, 8.45
SOLAR_LUMINOSITY_ERG_S = 3.826e33
MPC_CM = 3.0857e24
LIGHT_ANGSTROM_S = 2.99792458e18
AB_ZERO_CGS_HZ = 3.631e-20
FLUX_UNIT_CGS = 1e-17
NANOMAGGIES = 1e9
BULGE_ATTENUATION = 0.5
GAS_ENRICHMENT_DEX = 0.12
"""Gas is richer than the mass-weighted stars (Gallazzi et al. 2005, section 4)."""
COARSE = 16
"""The Milky Way's extinction is smooth: computed at every 16th pixel."""
SEYFERT_FRACTION, SEYFERT_MIN_LOG_MASS, LIER_MIN_LOG_MASS = 0.035, 10.2, 9.8
AIR_LINES = (6562.8, 6583.45, 6548.05, 4861.32, 4958.91, 5006.84, 3726.03, 3728.81, 6716.44, 6730.82, 6300.3, 3868.76)
LIER_RATIOS = (1.0, 1.15, 0.38, 0.33, 0.22, 0.66, 0.55, 0.65, 0.45, 0.38, 0.18, 0.0)
SEYFERT_RATIOS = (1.0, 0.95, 0.32, 0.33, 0.90, 2.70, 0.50, 0.50, 0.25, 0.25, 0.12, 0.25)
"""Lines relative to H-alpha (Kewley et al. 2006; Belfiore et al. 2016)."""


@dataclass(frozen=True)
class Sed:
    """What reaches the telescope, component by component.

    Attributes
    ----------
    continuum : (4, n_wave) float32, 1e-17 erg/s/cm2/A in the observed frame, on the grid wave * (1 + z)
    lines : (4, n_line), 1e-17 erg/s/cm2
    """

    continuum: np.ndarray
    lines: np.ndarray


def flux_scale(basis: Basis, redshift: float) -> float:
    """Return flux in 1e-17 erg/s/cm2 of one solar luminosity."""
    distance = np.interp(redshift, basis.z_grid, basis.luminosity_distance) * MPC_CM
    return float(SOLAR_LUMINOSITY_ERG_S / (4 * np.pi * distance**2) / FLUX_UNIT_CGS)


def band_weights(basis: Basis, filter_name: str, redshift: float) -> tuple[slice, np.ndarray]:
    """Return the pixels a filter covers and the weights that turn their flux densities into nanomaggies."""
    wave, response = basis.filters[filter_name]
    observed_low, observed_high = wave[[0, -1]] / (1 + redshift)
    window = slice(*np.searchsorted(basis.wave, (observed_low, observed_high)))
    observed = basis.wave[window] * (1 + redshift)
    weights = np.interp(observed, wave, response) * observed**2 * (PIXEL_KM_S / SPEED_OF_LIGHT_KM_S)
    return window, weights * (NANOMAGGIES / ab_zero(wave, response))


def ab_zero(wave: np.ndarray, response: np.ndarray) -> float:
    """Return the integral of flux density times response times wavelength of an AB magnitude 0 source."""
    integral = np.trapezoid(response / wave, wave)
    return float(integral * LIGHT_ANGSTROM_S * AB_ZERO_CGS_HZ / FLUX_UNIT_CGS)


def photometry(basis: Basis, sed: Sed, hemisphere: str, redshift: float) -> np.ndarray:
    """Return the flux (4, 3) of each component in g, r, z, nanomaggies."""
    flux = np.empty((N_COMPONENT, 3))
    observed_lines = basis.line_wave * (1 + redshift)
    for index, band in enumerate("grz"):
        name = f"{hemisphere}_{band}"
        window, weights = band_weights(basis, name, redshift)
        wave, response = basis.filters[name]
        line_weights = np.interp(observed_lines, wave, response, left=0, right=0) * observed_lines
        flux[:, index] = sed.continuum[:, window] @ weights.astype(np.float32)
        flux[:, index] += sed.lines @ (line_weights * (NANOMAGGIES / ab_zero(wave, response)))
    return flux


def _stellar_continuum(basis: Basis, content: Content) -> np.ndarray:
    """Return (4, n_wave) float32 in solar luminosities an angstrom, without dust."""
    young, old = basis.log_age < LOG_AGE_YOUNG, basis.log_age >= LOG_AGE_OLD
    disc = content.disc[0] * np.array([old, ~young & ~old, young])
    continuum = np.zeros((N_COMPONENT, len(basis.wave)), np.float32)
    for metal in range(basis.stellar.shape[0]):
        if content.bulge_weights[0, metal] > 0 and content.bulge.any():
            weights = content.bulge[0] * content.bulge_weights[0, metal]
            continuum[BULGE] += weights.astype(np.float32) @ basis.stellar[metal]
        if content.disc_weights[0, metal] > 0 and content.disc.any():
            weights = disc * content.disc_weights[0, metal]
            continuum[DISC_OLD:] += weights.astype(np.float32) @ basis.stellar[metal]
    return continuum


def _add_nebular(basis: Basis, latents: Latents, content: Content, continuum: np.ndarray, lines: np.ndarray) -> None:
    """Add the emission of gas around young stars, at the galaxy's own ionisation (Byler et al. 2017)."""
    young = (content.disc[0] * (basis.log_age < LOG_AGE_YOUNG))[:N_YOUNG_AGES]
    gas = metallicity_weights(np.clip(latents.log_z_disc + GAS_ENRICHMENT_DEX, -1.7, 0.39))[0]
    position = np.clip((latents.log_u[0] - LOG_U[0]) / (LOG_U[1] - LOG_U[0]), 0.0, len(LOG_U) - 1.001)
    node = int(position)
    for metal in np.flatnonzero(gas):
        weights = young * gas[metal]
        continuum[DISC_YOUNG] += weights.astype(np.float32) @ basis.nebular[metal]
        low, high = basis.line_luminosity[node, metal], basis.line_luminosity[node + 1, metal]
        lines[DISC_YOUNG] += weights @ (low + (high - low) * (position - node))


def _add_nucleus(basis: Basis, latents: Latents, continuum: np.ndarray, lines: np.ndarray) -> None:
    """Add LIER or Seyfert lines to the bulge, by equivalent width of H-alpha."""
    centre = int(np.searchsorted(basis.wave, 6500.0))
    density = float(continuum[BULGE, centre - 60 : centre + 60].mean())
    activity, log_mass = latents.activity[0], latents.log_mass[0]
    seyfert = activity < SEYFERT_FRACTION and log_mass > SEYFERT_MIN_LOG_MASS
    if seyfert:
        ratios, width = SEYFERT_RATIOS, 3 + 12 * activity / SEYFERT_FRACTION
    else:
        ratios, width = LIER_RATIOS, 10 ** (-0.1 + 0.9 * (activity - 0.5)) if log_mass > LIER_MIN_LOG_MASS else 0.1
    nearest = np.abs(basis.line_wave - vacuum_wavelength(np.array(AIR_LINES))[:, None]).argmin(axis=1)
    np.add.at(lines[BULGE], nearest, np.array(ratios) * width * density)


def _attenuate(curves: tuple[np.ndarray, np.ndarray], latents: Latents, spectra: np.ndarray) -> None:
    """Attenuate the components of `spectra` (4, n), each by its own optical depth, given curve and tilt (n,)."""
    curve = (-0.4 * np.log(10) * curves[0]).astype(np.float32)
    curve *= np.exp(np.float32(latents.dust_slope[0]) * curves[1].astype(np.float32))
    depth = latents.attenuation[0]
    disc = np.exp(np.float32(depth) * curve)
    spectra[BULGE] *= np.exp(np.float32(BULGE_ATTENUATION * depth) * curve)
    spectra[DISC_OLD:] *= disc
    spectra[DISC_YOUNG] *= np.exp(np.float32(depth * latents.birth_cloud[0]) * curve)


def _galactic_transmission(basis: Basis, observed: np.ndarray, ebv: float) -> np.ndarray:
    return np.asarray(10 ** (-0.4 * ebv * np.interp(observed, basis.extinction_wave, basis.extinction_curve)))


def galaxy_sed(basis: Basis, latents: Latents, content: Content, ebv: float) -> Sed:
    """Return the components of one galaxy (latents of length one), behind its own dust and the Milky Way's."""
    redshift = float(latents.redshift[0])
    continuum = _stellar_continuum(basis, content)
    lines = np.zeros((N_COMPONENT, len(basis.line_wave)))
    _add_nebular(basis, latents, content, continuum, lines)
    _add_nucleus(basis, latents, continuum, lines)
    _attenuate(basis.dust, latents, continuum)
    _attenuate(basis.line_dust, latents, lines)
    scale = flux_scale(basis, redshift)
    coarse = np.append(basis.wave[::COARSE], basis.wave[-1])
    transmission = _galactic_transmission(basis, coarse * (1 + redshift), ebv) * (scale / (1 + redshift))
    continuum *= np.interp(basis.wave, coarse, transmission).astype(np.float32)
    lines *= scale * _galactic_transmission(basis, basis.line_wave * (1 + redshift), ebv)
    return Sed(continuum, lines)
