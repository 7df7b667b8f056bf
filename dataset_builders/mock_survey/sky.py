"""Where galaxies lie: twenty rosettes like those of DESI's one-percent survey (SV3), uniform within each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataset_builders.mock_survey.random import Stage, stream

ROSETTE_CENTRES_DEG = (
    (150.10, 2.18), (179.60, 0.00), (183.10, 0.00), (189.90, 61.80), (194.75, 28.20),
    (210.00, 5.00), (215.50, 52.50), (217.80, 34.40), (216.30, -0.60), (219.80, -0.60),
    (218.05, 2.43), (242.75, 54.98), (241.05, 43.45), (245.88, 43.45), (252.50, 34.50),
    (269.73, 66.02), (194.75, 24.70), (212.80, -0.60), (269.73, 62.52), (236.10, 43.45),
)  # fmt: skip
"""Right ascension and declination; after DESI Collaboration (2024, AJ 167, 62), table 2."""
ROSETTE_EBV = (
    0.017, 0.022, 0.024, 0.013, 0.009, 0.026, 0.010, 0.015, 0.036, 0.041,
    0.032, 0.009, 0.012, 0.010, 0.020, 0.041, 0.011, 0.040, 0.037, 0.018,
)  # fmt: skip
"""Typical Galactic reddening E(B-V) of each, magnitudes; of the right size, not measured."""
EBV_SCATTER_LN = 0.12
ROSETTE_RADIUS_DEG = 1.6
NORTH_ABOVE_DEC_DEG = 32.375
"""BASS and MzLS imaged the sky north of this declination (Dey et al. 2019)."""


@dataclass(frozen=True)
class Position:
    """Sky position in degrees, imaging survey, and reddening of one object."""

    ra: float
    dec: float
    hemisphere: str
    ebv: float


def draw_position(seed: int, object_number: int) -> Position:
    """Return where an object lies; independent of everything else about it."""
    rng = stream(seed, Stage.POSITION, object_number)
    uniform, normal = rng.random(3), rng.standard_normal()
    index = int(uniform[0] * len(ROSETTE_CENTRES_DEG))
    ra, dec = np.radians(ROSETTE_CENTRES_DEG[index])
    cos_distance = 1 - uniform[1] * (1 - np.cos(np.radians(ROSETTE_RADIUS_DEG)))
    sin_distance, bearing = np.sqrt(1 - cos_distance**2), 2 * np.pi * uniform[2]
    sin_dec = np.sin(dec) * cos_distance + np.cos(dec) * sin_distance * np.cos(bearing)
    east = np.sin(bearing) * sin_distance * np.cos(dec)
    ra += np.arctan2(east, cos_distance - np.sin(dec) * sin_dec)
    hemisphere = "north" if ROSETTE_CENTRES_DEG[index][1] > NORTH_ABOVE_DEC_DEG else "south"
    ebv = ROSETTE_EBV[index] * np.exp(EBV_SCATTER_LN * normal)
    return Position(float(np.degrees(ra)), float(np.degrees(np.arcsin(sin_dec))), hemisphere, float(ebv))
