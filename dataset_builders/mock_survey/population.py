"""The population: what each galaxy is, before anything is observed.

Candidates are drawn from mass function times volume and kept if their r magnitude falls into the target class, as in
the DESI Bright Galaxy Survey (Hahn et al. 2023b): bright, 13.5 < r < 19.5, and faint, 19.5 < r < 20.175.
The relations are simple forms with scatter, shaped on the papers named beside them; their constants were set by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from dataset_builders.mock_survey.basis import Basis

BRIGHT_FRACTION = 0.62
MAGNITUDE_RANGES = {"bright": (13.5, 19.5), "faint": (19.5, 20.175)}
LOG_MASS_RANGE = (7.6, 12.1)
REDSHIFT_RANGE = (0.008, 0.61)
N_NORMAL, N_UNIFORM = 23, 14
"""Random numbers that one candidate takes."""


@dataclass(frozen=True)
class Latents:
    """The properties of candidates, each an array (n,), or of one galaxy, each a scalar.

    Times are in Gyr, radii in kpc along the major axis, velocities in km/s, `log_z` in log10 solar metallicities.
    """

    log_mass: np.ndarray
    redshift: np.ndarray
    cosmic_age: np.ndarray
    quiescent: np.ndarray
    green: np.ndarray
    elliptical: np.ndarray
    bulge_fraction: np.ndarray
    bulge_start: np.ndarray
    bulge_tau: np.ndarray
    disc_start: np.ndarray
    disc_tau: np.ndarray
    quench_lookback: np.ndarray
    quench_tau: np.ndarray
    recent_boost: np.ndarray
    burst_fraction: np.ndarray
    burst_duration: np.ndarray
    residual_rate: np.ndarray
    log_z_disc: np.ndarray
    log_z_bulge: np.ndarray
    log_u: np.ndarray
    cos_inclination: np.ndarray
    disc_axis_ratio: np.ndarray
    attenuation: np.ndarray
    birth_cloud: np.ndarray
    dust_slope: np.ndarray
    velocity_dispersion: np.ndarray
    rotation_velocity: np.ndarray
    disc_radius: np.ndarray
    bulge_radius: np.ndarray
    bulge_index: np.ndarray
    bulge_axis_ratio: np.ndarray
    activity: np.ndarray

    def __getitem__(self, index: int | np.ndarray) -> Latents:
        """Return the candidate (or candidates) of `index`."""
        return Latents(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def log_uniform(uniform: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map uniform numbers onto 10^low ... 10^high, uniform in the logarithm."""
    return 10 ** (low + (high - low) * uniform)


def draw(basis: Basis, rng: np.random.Generator, log_mass: np.ndarray, redshift: np.ndarray) -> Latents:
    """Draw everything else for candidates of given log10 mass (n,) and redshift (n,)."""
    count = len(log_mass)
    normal = iter(rng.standard_normal((N_NORMAL, count)))
    uniform = iter(rng.random((N_UNIFORM, count)))
    cosmic_age = np.interp(redshift, basis.z_grid, basis.cosmic_age) / 1e9
    mass10, mass105, mass107 = log_mass - 10.0, log_mass - 10.5, log_mass - 10.7

    # Quiescent fraction: a logistic in mass that moves with redshift (Peng et al. 2010; Moustakas et al. 2013).
    quenched = 0.04 + 0.94 / (1 + 10 ** (-(log_mass - 10.32 - 0.45 * redshift) / 0.38))
    fate = next(uniform)
    quiescent = fate < 0.90 * quenched
    green = ~quiescent & (fate < 0.90 * quenched + 0.08)
    structure = _structure(mass10, mass107, redshift, quiescent, green, normal, uniform)
    history = _history(mass10, mass105, cosmic_age, quiescent, green, normal, uniform)

    # Stellar mass-metallicity relation (Gallazzi et al. 2005), quiescent galaxies a little richer (Peng et al. 2015).
    knots = [8, 9, 9.5, 10, 10.5, 11, 11.5, 12.2], [-1.05, -0.62, -0.42, -0.20, 0.02, 0.11, 0.15, 0.16]
    log_z = np.interp(log_mass, *knots) + np.where(quiescent, 0.06, -0.04) + 0.12 * next(normal)
    log_z_disc = np.clip(log_z, -1.7, 0.39)
    log_z_bulge = np.clip(log_z_disc + 0.08 + 0.05 * next(normal), -1.7, 0.39)
    # Ionisation falls with metallicity (Dopita et al. 2006; Kaasinen et al. 2018).
    log_u = np.clip(-2.95 - 0.35 * log_z_disc + 0.2 * next(normal), -3.9, -1.6)

    # Attenuation grows with mass (Garn & Best 2010) and inclination (Wild et al. 2011); birth clouds as Charlot & Fall
    # (2000); the slope scatters about that of Calzetti et al. (2000) (Salim et al. 2018).
    attenuation = 10 ** (-0.56 + 0.30 * np.clip(mass10, -1.5, 1.2) + 0.17 * next(normal))
    dust_quiescent = 10 ** (-1.3 + 0.25 * next(normal))
    attenuation = np.where(quiescent, dust_quiescent, np.where(green, 0.6 * attenuation, attenuation))
    attenuation = np.clip(attenuation * structure["disc_axis_ratio"] ** -0.32, 0.0, 3.0)

    # Faber & Jackson (1976) and Tully & Fisher (1977) in terms of stellar mass (Gallazzi et al. 2006; Reyes et al. 2011).
    dispersion = 10 ** (2.23 + 0.30 * mass107 + 0.07 * next(normal)) * np.where(quiescent, 1.0, 0.85)
    return Latents(
        log_mass=log_mass,
        redshift=redshift,
        cosmic_age=cosmic_age,
        quiescent=quiescent,
        green=green,
        log_z_disc=log_z_disc,
        log_z_bulge=log_z_bulge,
        log_u=log_u,
        attenuation=attenuation,
        birth_cloud=0.6 + next(uniform),
        dust_slope=-0.1 + 0.10 * next(normal),
        velocity_dispersion=np.clip(dispersion, 35, 380),
        rotation_velocity=10 ** (2.14 + 0.27 * mass10 + 0.05 * next(normal)),
        activity=next(uniform),
        **structure,
        **history,
    )


def _structure(
    mass10: np.ndarray,
    mass107: np.ndarray,
    redshift: np.ndarray,
    quiescent: np.ndarray,
    green: np.ndarray,
    normal: Iterator[np.ndarray],
    uniform: Iterator[np.ndarray],
) -> dict[str, np.ndarray]:
    """Draw bulge, disc and inclination; sizes follow Shen et al. (2003) and van der Wel et al. (2014)."""
    has_bulge = next(uniform) > np.clip(0.55 - 0.35 * (mass10 + 0.5), 0.05, 0.9)
    bulge_star_forming = np.clip(0.22 + 0.16 * (mass10 - 0.3) + 0.14 * next(normal), 0, 0.8) * has_bulge
    elliptical = quiescent & (next(uniform) < np.clip(0.35 + 0.4 * (mass10 - 0.3), 0.1, 0.9))
    bulge_quiescent = np.where(elliptical, 1.0, np.clip(0.5 + 0.2 * next(normal), 0.15, 0.95))
    bulge_green = np.clip(bulge_star_forming + 0.15, 0, 0.85)
    thickness = 0.18 + 0.08 * next(uniform)
    cos_inclination = next(uniform)
    disc_axis_ratio = np.sqrt(cos_inclination**2 * (1 - thickness**2) + thickness**2)
    log_bulge_radius = np.where(
        elliptical, np.clip(0.62 + 0.62 * mass107, 0.15, None), np.clip(0.15 + 0.45 * mass107, -0.5, None)
    )
    index_scatter, axis_scatter = next(normal), next(normal)
    bulge_index = np.where(elliptical, 4.2 + index_scatter + 0.6 * (mass10 - 1.0), 2.4 + index_scatter)
    return {
        "elliptical": elliptical,
        "bulge_fraction": np.where(quiescent, bulge_quiescent, np.where(green, bulge_green, bulge_star_forming)),
        "cos_inclination": cos_inclination,
        "disc_axis_ratio": disc_axis_ratio,
        "disc_radius": 10 ** (0.80 + 0.23 * mass107 + 0.17 * next(normal)) * (1 + redshift) ** -0.6,
        "bulge_radius": 10 ** (log_bulge_radius + 0.12 * next(normal)) * (1 + redshift) ** -0.8,
        "bulge_index": np.clip(bulge_index, 0.8, 6.0),
        "bulge_axis_ratio": np.where(
            elliptical,
            np.clip(1 - np.abs(0.28 * axis_scatter), 0.35, 1),
            np.clip(0.85 * disc_axis_ratio**0.3 + 0.08 * axis_scatter, 0.4, 1),
        ),
    }


def _history(
    mass10: np.ndarray,
    mass105: np.ndarray,
    cosmic_age: np.ndarray,
    quiescent: np.ndarray,
    green: np.ndarray,
    normal: Iterator[np.ndarray],
    uniform: Iterator[np.ndarray],
) -> dict[str, np.ndarray]:
    """Draw star formation histories: delayed exponentials, earlier and shorter with mass (Thomas et al. 2010)."""
    bulge_start = np.clip(1.0 + 0.9 * np.abs(next(normal)) - 0.5 * mass105, 0.4, None)
    disc_start = np.clip(1.3 - 0.4 * mass10 + 0.9 * np.abs(next(normal)), 0.4, 7.0)
    tau_scatter = next(normal)
    disc_tau = np.where(
        quiescent, 10 ** (-0.05 + 0.12 * tau_scatter), 10 ** (0.55 - 0.13 * mass10 + 0.17 * tau_scatter)
    )
    late, when = next(uniform) < 0.15, next(uniform)
    lookback = np.where(late, log_uniform(when, 0.0, 0.3), log_uniform(when, 0.4, 0.85))
    lookback = np.where(green, log_uniform(when, -0.5, 0.4), np.where(quiescent, lookback, 0.0))
    speed = next(uniform)
    bursting = ~quiescent & ~green & (next(uniform) < 0.12)
    return {
        "bulge_start": np.minimum(bulge_start, cosmic_age - 1.5),
        "bulge_tau": 10 ** (-0.15 + 0.2 * next(normal) - 0.15 * mass105),
        "disc_start": np.minimum(np.where(quiescent, np.minimum(disc_start, 2.0), disc_start), cosmic_age - 1.0),
        "disc_tau": disc_tau,
        "quench_lookback": lookback,
        "quench_tau": np.where(green, 0.3 + 0.3 * speed, 0.1 + 0.2 * speed),
        # The main sequence's scatter (Speagle et al. 2014), correlated over some 300 Myr.
        "recent_boost": 10 ** (0.24 * next(normal)),
        "burst_fraction": np.where(bursting, log_uniform(next(uniform), -2.0, -0.8), 0.0),
        "burst_duration": log_uniform(next(uniform), -1.7, 0.0),
        "residual_rate": 10 ** (-3.4 + 0.4 * next(normal)),
    }
