"""Star formation histories on the basis' age bins: the mass formed by bulge and disc, and the labels it implies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataset_builders.mock_survey.basis import RELATIVE_METALLICITY, SOLAR_METALLICITY, Basis
from dataset_builders.mock_survey.population import Latents

LOG_RELATIVE_METALLICITY = np.log10(RELATIVE_METALLICITY)
RECENT_GYR = 0.3
SFR_WINDOW_GYR = 1.0
"""Window of the average star formation rate, as PROVABGS takes it (Hahn et al. 2023a)."""
LOG_SSFR_FLOOR = -14.0


@dataclass(frozen=True)
class Content:
    """Solar masses formed in each age bin (n, n_age) by bulge and disc, and metallicity weights (n, 7)."""

    bulge: np.ndarray
    disc: np.ndarray
    bulge_weights: np.ndarray
    disc_weights: np.ndarray


def delayed_tau(cosmic_time: np.ndarray, start: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Return the share (n, n_age) formed in each age bin by SFR ~ t exp(-t/tau) that began at `start`.

    Parameters
    ----------
    cosmic_time
        Time at the edges of the age bins, Gyr, (n, n_age + 1), falling.
    start, tau
        Gyr, (n,).
    """
    since, scale = np.clip(cosmic_time - start[:, None], 0.0, None), tau[:, None]
    formed = scale**2 - scale * (since + scale) * np.exp(-since / scale)
    share = np.clip(formed[:, :-1] - formed[:, 1:], 0.0, None)
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def metallicity_weights(log_z: np.ndarray) -> np.ndarray:
    """Return linear interpolation weights (n, 7) on the metallicity grid."""
    node = np.clip(np.searchsorted(LOG_RELATIVE_METALLICITY, log_z) - 1, 0, 5)
    step = LOG_RELATIVE_METALLICITY[node + 1] - LOG_RELATIVE_METALLICITY[node]
    fraction = (log_z - LOG_RELATIVE_METALLICITY[node]) / step
    weights, row = np.zeros((len(log_z), 7)), np.arange(len(log_z))
    weights[row, node], weights[row, node + 1] = 1 - fraction, fraction
    return weights


def stellar_content(basis: Basis, latents: Latents) -> Content:
    """Return what bulge and disc have formed, scaled so that the living mass is `log_mass`."""
    edges_gyr = basis.age_edges / 1e9
    middle = 0.5 * (edges_gyr[1:] + edges_gyr[:-1])
    cosmic_time = np.clip(latents.cosmic_age[:, None] - edges_gyr, 0.0, None)
    bulge = delayed_tau(cosmic_time, latents.bulge_start, latents.bulge_tau)
    disc = delayed_tau(cosmic_time, latents.disc_start, latents.disc_tau)
    after = np.clip(latents.quench_lookback[:, None] - middle, 0.0, None)
    disc = disc * np.exp(-after / latents.quench_tau[:, None])
    disc = disc * np.where(middle < RECENT_GYR, latents.recent_boost[:, None], 1.0)
    disc = disc / disc.sum(axis=1, keepdims=True)

    overlap = np.clip(np.minimum(edges_gyr[1:], latents.burst_duration[:, None]) - edges_gyr[:-1], 0.0, None)
    burst = overlap / overlap.sum(axis=1, keepdims=True)
    disc = disc + (burst - disc) * latents.burst_fraction[:, None]
    # No galaxy is quite dead: a trickle over the last Gyr, log sSFR near -12.4.
    trickle = np.clip(np.minimum(edges_gyr[1:], 1.0) - edges_gyr[:-1], 0.0, None) * latents.residual_rate[:, None]
    bulge, disc = bulge + trickle, disc + trickle

    bulge_weights, disc_weights = metallicity_weights(latents.log_z_bulge), metallicity_weights(latents.log_z_disc)
    mass = 10**latents.log_mass
    bulge_alive = ((bulge_weights @ basis.alive) * bulge).sum(axis=1)
    disc_alive = ((disc_weights @ basis.alive) * disc).sum(axis=1)
    return Content(
        bulge * (mass * latents.bulge_fraction / bulge_alive)[:, None],
        disc * (mass * (1 - latents.bulge_fraction) / disc_alive)[:, None],
        bulge_weights,
        disc_weights,
    )


def true_labels(basis: Basis, latents: Latents, content: Content) -> dict[str, float]:
    """Return the labels of one galaxy (arrays of length one): mass, mass-weighted age and metallicity, sSFR.

    Notes
    -----
    Age and metallicity are weighted by the mass formed; log_ssfr is the mean rate over the last Gyr over the mass.
    """
    edges_gyr = basis.age_edges / 1e9
    middle = 0.5 * (edges_gyr[1:] + edges_gyr[:-1])
    bulge, disc = content.bulge[0], content.disc[0]
    formed = bulge + disc
    total = formed.sum()
    log_mass = float(latents.log_mass[0])
    metals = 10 ** latents.log_z_bulge[0] * bulge.sum() + 10 ** latents.log_z_disc[0] * disc.sum()
    inside = np.clip((SFR_WINDOW_GYR - edges_gyr[:-1]) / np.diff(edges_gyr), 0.0, 1.0)
    rate = (formed * inside).sum() / (SFR_WINDOW_GYR * 1e9)
    return {
        "log_stellar_mass": log_mass,
        "age": float((formed * middle).sum() / total),
        "metallicity": float(SOLAR_METALLICITY * metals / total),
        "log_ssfr": max(float(np.log10(rate)) - log_mass, LOG_SSFR_FLOOR),
    }
