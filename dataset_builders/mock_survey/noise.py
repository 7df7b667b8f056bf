"""The noise of DESI spectra: sky curve and line-spread function from the committed file `noise.npz`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from astroclip_bench.records import N_WAVELENGTH

REFERENCE_TIME_S = 1000.0
LSF_STRIDE = 16
PERCENTILE, PERCENTILE_WINDOW, SMOOTHING = 20, 201, 40
LINE_CONTRAST, MAX_LINE = 1.3, 8.0


@dataclass(frozen=True)
class NoiseCurves:
    """Arrays (7781,) at 1000 s of effective time, variances in (1e-17 erg/s/cm2/A)^2.

    Attributes
    ----------
    sky_variance : all of it
    continuum_variance : without the sky's emission lines, which measures the throughput
    line_strength : how far the sky line at a pixel stands above the continuum's noise, 0 between lines
    lsf_sigma : standard deviation of the line-spread function, angstrom
    """

    sky_variance: np.ndarray
    continuum_variance: np.ndarray
    line_strength: np.ndarray
    lsf_sigma: np.ndarray
    attribution: str


@functools.cache
def load_noise() -> NoiseCurves:
    """Read `noise.npz` (made by `derive_noise` from DESI EDR spectra, CC BY 4.0)."""
    from scipy.ndimage import gaussian_filter1d, percentile_filter

    with (
        files("dataset_builders.mock_survey").joinpath("noise.npz").open("rb") as handle,
        np.load(handle, allow_pickle=False) as stored,
    ):
        variance = stored["sky_sigma"].astype(float) ** 2
        pixel = np.arange(0, N_WAVELENGTH, LSF_STRIDE)
        lsf_sigma = np.interp(np.arange(N_WAVELENGTH), pixel, stored["lsf_sigma"])
        attribution = str(stored["attribution"])
    continuum = gaussian_filter1d(percentile_filter(variance, PERCENTILE, PERCENTILE_WINDOW), SMOOTHING)
    strength = np.clip(np.sqrt(variance / continuum) - LINE_CONTRAST, 0.0, MAX_LINE)
    return NoiseCurves(variance, continuum, strength, lsf_sigma, attribution)
