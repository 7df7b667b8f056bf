"""Dust: attenuation inside the galaxy, extinction by the Milky Way."""

from __future__ import annotations

import numpy as np

PIVOT_ANGSTROM = 5500.0
CALZETTI_RV = 4.05


def calzetti(wave_angstrom: np.ndarray) -> np.ndarray:
    """Return A_lambda / A_V of Calzetti et al. (2000), equation 4, never negative."""
    micron = wave_angstrom / 1e4
    blue = 2.659 * (-2.156 + 1.509 / micron - 0.198 / micron**2 + 0.011 / micron**3)
    red = 2.659 * (-1.857 + 1.040 / micron)
    return np.clip(np.where(micron < 0.63, blue, red) + CALZETTI_RV, 0.0, None) / CALZETTI_RV


def tilt(wave_angstrom: np.ndarray) -> np.ndarray:
    """Return ln(lambda / 5500 A): attenuation is multiplied by exp(slope * tilt), as in Noll et al. (2009)."""
    return np.log(wave_angstrom / PIVOT_ANGSTROM)
