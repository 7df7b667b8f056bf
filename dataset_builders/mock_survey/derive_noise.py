"""Derive `noise.npz`, the sky noise and line-spread curves of DESI, from real coadded spectra.

Run once by a developer (the result is committed), on DESI EDR coadd files::

    python -m dataset_builders.mock_survey.derive_noise coadd-a.fits coadd-b.fits --out noise.npz
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from astroclip_bench.errors import DataError
from astroclip_bench.files import atomic_path
from astroclip_bench.records import N_WAVELENGTH, WAVELENGTH_START_ANGSTROM, WAVELENGTH_STEP_ANGSTROM

ARMS = "BRZ"
DEFAULT_OUT = Path(__file__).with_name("noise.npz")
REFERENCE_TIME_S = 1000.0
"""Effective exposure time that the sky curve is scaled to."""
EFFTIME_PER_TSNR2_S = 0.14
"""Effective time of the bright programme for one unit of TSNR2_BGS (Guy et al. 2023, section 4.14)."""
LSF_STRIDE = 16
"""The line-spread curve is smooth: one value every so many pixels is kept."""
ATTRIBUTION = (
    "Median sky noise and line-spread function of DESI Early Data Release spectra (DESI Collaboration 2024, "
    "AJ 168, 58; https://data.desi.lbl.gov), scaled to 1000 s of effective time, CC BY 4.0. Changed: combined over "
    "arms and spectra, smoothed."
)


def good_rows(hdus: Any) -> list[int]:
    """Return the rows whose three arms all carry data in nearly every pixel."""
    used = np.min([(hdus[f"{arm}_IVAR"].data > 0).mean(axis=1) for arm in ARMS], axis=0)
    return [int(row) for row in np.flatnonzero(used > 0.9)]


def lsf_sigma_angstrom(resolution: np.ndarray) -> np.ndarray:
    """Return the standard deviation (n_wavelength,) of the resolution-matrix rows (11, n_wavelength)."""
    offset = np.arange(5, -6, -1)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        total = resolution.sum(axis=0)
        mean = (resolution * offset).sum(axis=0) / total
        variance = (resolution * offset**2).sum(axis=0) / total - mean**2
        return np.asarray(np.sqrt(variance) * WAVELENGTH_STEP_ANGSTROM)


def read_arms(paths: list[Path]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return, for each arm, the pixel numbers, the median inverse variance at 1000 s, and the median LSF sigma."""
    from astropy.io import fits

    ivar, lsf, pixels = defaultdict(list), defaultdict(list), {}
    for path in paths:
        with fits.open(path) as hdus:
            for row in good_rows(hdus):
                scale = REFERENCE_TIME_S / (EFFTIME_PER_TSNR2_S * float(hdus["SCORES"].data["TSNR2_BGS"][row]))
                for arm in ARMS:
                    values = hdus[f"{arm}_IVAR"].data[row].astype(float)
                    ivar[arm].append(np.where(values > 0, values * scale, np.nan))
                    lsf[arm].append(lsf_sigma_angstrom(hdus[f"{arm}_RESOLUTION"].data[row].astype(float)))
            for arm in ARMS:
                wave = hdus[f"{arm}_WAVELENGTH"].data
                pixels[arm] = np.round((wave - WAVELENGTH_START_ANGSTROM) / WAVELENGTH_STEP_ANGSTROM).astype(int)
    if not ivar:
        raise DataError("no spectrum with data in its three arms", "at least one", "give other coadd files")
    medians = [{arm: np.nanmedian(stack[arm], axis=0) for arm in ARMS} for stack in (ivar, lsf)]
    return pixels, medians[0], medians[1]


def combine(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Return sky sigma (N_WAVELENGTH,) in 1e-17 erg/s/cm2/A and LSF sigma (N_WAVELENGTH,) in angstrom."""
    from scipy.ndimage import gaussian_filter1d, median_filter

    pixels, ivar, lsf = read_arms(paths)
    weight, weighted_lsf = np.zeros(N_WAVELENGTH), np.zeros(N_WAVELENGTH)
    for arm in ARMS:
        arm_ivar = np.where(np.isfinite(ivar[arm]), ivar[arm], np.nanmedian(ivar[arm]))
        usable = np.isfinite(lsf[arm]) & (lsf[arm] > 0.3)
        arm_lsf = np.where(usable, lsf[arm], np.median(lsf[arm][usable]))
        weight[pixels[arm]] += arm_ivar
        weighted_lsf[pixels[arm]] += arm_ivar * arm_lsf
    lsf_sigma = gaussian_filter1d(median_filter(weighted_lsf / weight, 101), 30)
    # One pixel of smoothing: enough to lose the single spectra's own noise, not the width of the sky lines.
    return gaussian_filter1d(1 / np.sqrt(weight), 1.0), lsf_sigma


def main(
    coadds: Annotated[list[Path], typer.Argument(help="DESI coadd files, each with at least one good spectrum")],
    out: Annotated[Path, typer.Option(help="file to write")] = DEFAULT_OUT,
) -> None:
    """Write the sky noise and line-spread curves derived from DESI coadd files."""
    sky_sigma, lsf_sigma = combine(coadds)
    with atomic_path(out) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(
            handle,
            sky_sigma=sky_sigma.astype(np.float32),
            lsf_sigma=lsf_sigma[::LSF_STRIDE].astype(np.float32),
            attribution=np.array(ATTRIBUTION),
        )


if __name__ == "__main__":
    typer.run(main)
