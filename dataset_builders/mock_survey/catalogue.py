"""What a catalogue would hold: fluxes with noise, and labels as inferred from noisy data."""

from __future__ import annotations

import numpy as np

from astroclip_bench.records import PIXEL_SCALE_ARCSEC
from dataset_builders.mock_survey.image import Observing
from dataset_builders.mock_survey.population import Latents
from dataset_builders.mock_survey.profiles import SIGMA_PER_FWHM

CALIBRATION_ERROR = 0.01
"""Relative error of a flux from photometric calibration and model mismatch."""
REDSHIFT_ERROR = 3e-5
"""Redshift error over 1 + z, some 10 km/s (Hahn et al. 2023b, section 5)."""
LABEL_STD = {
    "log_stellar_mass": (0.12, 0.10, 0.08),
    "age": (1.5, 1.3, 1.1),
    "log_metallicity": (0.22, 0.20, 0.16),
    "log_ssfr": (0.25, 0.45, 0.70),
}
"""Posterior widths of star-forming, green and quiescent galaxies at a signal-to-noise ratio of 3 (dex; Gyr for age).

Of the size PROVABGS reports (Hahn et al. 2023a, figures 8 and 9): a low star formation rate is the hardest to infer.
"""
REFERENCE_SNR, SNR_POWER, STD_RANGE = 3.0, -0.2, (0.7, 1.4)
MIN_AGE_GYR = 0.3
METALLICITY_RANGE = (4.5e-5, 4.5e-2)
"""PROVABGS' prior on the mass fraction of metals (Hahn et al. 2023a, table 1)."""
MIN_LOG_SSFR = -14.5


def observed_fluxes(
    flux: np.ndarray, half_light_arcsec: float, observing: Observing, rng: np.random.Generator
) -> np.ndarray:
    """Return total fluxes (3,) in nanomaggies with the noise of the area a galaxy of this size covers."""
    psf_area = 4 * np.pi * (observing.psf_fwhm * SIGMA_PER_FWHM / PIXEL_SCALE_ARCSEC) ** 2
    area = psf_area + 4 * np.pi * (half_light_arcsec / PIXEL_SCALE_ARCSEC) ** 2
    variance = area * observing.pixel_sigma**2 + observing.gain * flux + (CALIBRATION_ERROR * flux) ** 2
    return np.asarray(flux + np.sqrt(variance) * rng.standard_normal(3))


def inferred_labels(
    truth: dict[str, float], latents: Latents, snr: float, rng: np.random.Generator
) -> dict[str, float]:
    """Return each label as an analysis of the data would give it, and its posterior width as `<label>_std`."""
    normal = rng.standard_normal(5)
    kind = 2 if latents.quiescent[0] else 1 if latents.green[0] else 0
    factor = np.clip((max(snr, 0.1) / REFERENCE_SNR) ** SNR_POWER, *STD_RANGE)
    std = {name: float(values[kind] * factor) for name, values in LABEL_STD.items()}
    redshift = float(latents.redshift[0])
    scattered = truth["metallicity"] * 10 ** (std["log_metallicity"] * normal[2])
    metallicity = np.clip(scattered, *METALLICITY_RANGE)
    age_limit = float(latents.cosmic_age[0])
    ssfr = truth["log_ssfr"] + std["log_ssfr"] * normal[3]
    return {
        "redshift": redshift + REDSHIFT_ERROR * (1 + redshift) * normal[4],
        "log_stellar_mass": truth["log_stellar_mass"] + std["log_stellar_mass"] * normal[0],
        "age": float(np.clip(truth["age"] + std["age"] * normal[1], MIN_AGE_GYR, age_limit)),
        "metallicity": float(metallicity),
        "log_ssfr": max(float(ssfr), MIN_LOG_SSFR),
        "log_stellar_mass_std": std["log_stellar_mass"],
        "age_std": std["age"],
        "metallicity_std": float(np.log(10) * std["log_metallicity"] * metallicity),
        "log_ssfr_std": std["log_ssfr"],
    }
