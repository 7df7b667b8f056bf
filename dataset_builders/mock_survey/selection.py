"""Target selection: draw a galaxy of a magnitude-limited survey.

Masses and redshifts are proposed from mass function times volume, cut where even the brightest galaxy of that mass and
redshift would be too faint; a candidate is kept if its own r magnitude lies in the range of the class.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from astroclip_bench.errors import BenchError
from dataset_builders.mock_survey.basis import Basis, load_basis, pixel_edges
from dataset_builders.mock_survey.cache import cached_arrays, source_digests
from dataset_builders.mock_survey.dust import calzetti
from dataset_builders.mock_survey.population import (
    BRIGHT_FRACTION,
    LOG_MASS_RANGE,
    MAGNITUDE_RANGES,
    REDSHIFT_RANGE,
    Latents,
    draw,
)
from dataset_builders.mock_survey.sed import band_weights, flux_scale
from dataset_builders.mock_survey.stellar import Content, stellar_content

R_REST_ANGSTROM = 6400.0
PHOTOMETRY_Z = np.linspace(0.01, 0.62, 62)
MASS_GRID = np.linspace(*LOG_MASS_RANGE, 181)
REDSHIFT_GRID = np.linspace(0.01, 0.60, 237)
ENVELOPE_SEED, ENVELOPE_DRAWS = 777, 20_000
ENVELOPE_PERCENTILE = 0.5
BLOCK = 24
MAX_BLOCKS = 80


@dataclass(frozen=True)
class Selection:
    """Cumulative proposal densities over (mass, redshift) cells, and r fluxes of the stellar basis.

    Attributes
    ----------
    flux_r : (62, 7, n_age) nanomaggies a solar mass formed, at `PHOTOMETRY_Z`
    bright, faint : (181 * 237,) cumulative distributions
    """

    flux_r: np.ndarray
    bright: np.ndarray
    faint: np.ndarray


def _flux_table(basis: Basis) -> np.ndarray:
    """Return the r flux of each stellar population at each redshift of `PHOTOMETRY_Z` (south's filter)."""
    spectra = basis.stellar.reshape(-1, len(basis.wave))
    table = np.empty((len(PHOTOMETRY_Z), len(spectra)))
    for row, redshift in zip(table, PHOTOMETRY_Z, strict=True):
        window, weights = band_weights(basis, "south_r", redshift)
        row[:] = spectra[:, window] @ weights.astype(np.float32)
        row *= flux_scale(basis, redshift) / (1 + redshift)
    return table.reshape(len(PHOTOMETRY_Z), 7, -1)


def magnitude_r(flux_table: np.ndarray, latents: Latents, content: Content) -> np.ndarray:
    """Return the r magnitude (n,) of candidates: stars and attenuation only, no lines, no Milky Way."""
    position = np.clip((latents.redshift - PHOTOMETRY_Z[0]) / np.diff(PHOTOMETRY_Z[:2]), 0, len(PHOTOMETRY_Z) - 1.001)
    node = position.astype(int)
    fraction = (position - node)[:, None]
    attenuation = latents.attenuation * calzetti(R_REST_ANGSTROM / (1 + latents.redshift))
    row = np.arange(len(node))
    flux = np.zeros(len(node))
    for mass, weights, share in (
        (content.bulge, content.bulge_weights, 0.5),
        (content.disc, content.disc_weights, 1.0),
    ):
        metal = np.minimum(np.argmax(weights > 0, axis=1), 5)
        part = np.zeros(len(node))
        for index in (metal, metal + 1):
            per_mass = flux_table[node, index] * (1 - fraction) + flux_table[node + 1, index] * fraction
            part += weights[row, index] * (per_mass * mass).sum(axis=1)
        flux += part * 10 ** (-0.4 * share * attenuation)
    return 22.5 - 2.5 * np.log10(flux)


def mass_function(log_mass: np.ndarray) -> np.ndarray:
    """Return galaxies a Mpc3 and dex: the double Schechter function of Baldry et al. (2012), table 1."""
    ratio = 10 ** (log_mass - 10.66)
    return np.asarray(np.log(10) * np.exp(-ratio) * (3.96e-3 * ratio**0.65 + 0.79e-3 * ratio**-0.47))


def _distance_term(basis: Basis, redshift: np.ndarray) -> np.ndarray:
    return np.asarray(5 * np.log10(np.interp(redshift, basis.z_grid, basis.luminosity_distance) * 1e5))


def _build(basis: Basis) -> dict[str, np.ndarray]:
    """Find the bright envelope of r at each mass and redshift by Monte Carlo with a fixed seed, and the proposals."""
    from scipy.interpolate import RegularGridInterpolator

    table = _flux_table(basis)
    rng = np.random.Generator(np.random.Philox(key=ENVELOPE_SEED))
    log_mass = rng.uniform(*LOG_MASS_RANGE, ENVELOPE_DRAWS)
    redshift = rng.uniform(0.01, 0.6, ENVELOPE_DRAWS)
    latents = draw(basis, rng, log_mass, redshift)
    magnitude = magnitude_r(table, latents, stellar_content(basis, latents))
    residual = magnitude + 2.5 * log_mass - _distance_term(basis, redshift)
    mass_edges, z_edges = np.linspace(*LOG_MASS_RANGE, 19), np.linspace(0, 0.6, 7)
    envelope = np.empty((18, 6))
    for i, j in np.ndindex(18, 6):
        inside = (np.digitize(log_mass, mass_edges) == i + 1) & (np.digitize(redshift, z_edges) == j + 1)
        envelope[i, j] = np.percentile(residual[inside], ENVELOPE_PERCENTILE)
    centres = pixel_edges(mass_edges)[1:-1], pixel_edges(z_edges)[1:-1]
    smooth = RegularGridInterpolator(centres, envelope, bounds_error=False, fill_value=None)
    mass, z = np.meshgrid(MASS_GRID, REDSHIFT_GRID, indexing="ij")
    brightest = -2.5 * mass + _distance_term(basis, z) + smooth((mass, z))
    density = mass_function(mass) * np.interp(z, basis.z_grid, basis.volume)
    out = {"flux_r": table}
    for name, (_, limit) in MAGNITUDE_RANGES.items():
        cumulative = np.cumsum((density * (brightest < limit)).ravel())
        out[name] = cumulative / cumulative[-1]
    return out


@functools.cache
def load_selection() -> Selection:
    """Return the selection tables, built into the cache on first use."""
    basis = load_basis()
    return Selection(**cached_arrays("selection", source_digests(()), lambda: _build(basis)))


def sample_galaxy(rng: np.random.Generator) -> Latents:
    """Draw one galaxy of the survey; its fields are arrays of length one.

    Raises
    ------
    BenchError
        If no candidate is accepted in very many, which means the tables are wrong.
    """
    basis, selection = load_basis(), load_selection()
    target = "bright" if rng.random() < BRIGHT_FRACTION else "faint"
    low, high = MAGNITUDE_RANGES[target]
    cumulative = getattr(selection, target)
    for _ in range(MAX_BLOCKS):
        uniform = rng.random((3, BLOCK))
        mass_cell, z_cell = np.divmod(np.searchsorted(cumulative, uniform[0]), len(REDSHIFT_GRID))
        log_mass = MASS_GRID[mass_cell] + (uniform[1] - 0.5) * (MASS_GRID[1] - MASS_GRID[0])
        redshift = REDSHIFT_GRID[z_cell] + (uniform[2] - 0.5) * (REDSHIFT_GRID[1] - REDSHIFT_GRID[0])
        candidates = draw(basis, rng, log_mass, np.clip(redshift, *REDSHIFT_RANGE))
        magnitude = magnitude_r(selection.flux_r, candidates, stellar_content(basis, candidates))
        accepted = np.flatnonzero((magnitude > low) & (magnitude < high))
        if len(accepted):
            return candidates[accepted[:1]]
    raise BenchError(f"no galaxy of class {target!r} in {MAX_BLOCKS * BLOCK} candidates", todo="rebuild the tables")
