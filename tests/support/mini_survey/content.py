"""What the spectra and images of the survey look like: functions of a serial number, so that nothing is kept.

Every spectrum and image is different from every other, and different under any flip, swap of bands or shift.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

ARMS = {"B": (3600.0, 2751), "R": (5760.0, 2326), "Z": (7520.0, 2881)}
"""Arm -> its first wavelength, angstrom, and its number of pixels."""
STEP_ANGSTROM = 0.8
N_GRID = 7781
FIRST_PIXEL = {arm: round((start - 3600.0) / STEP_ANGSTROM) for arm, (start, _) in ARMS.items()}
CALIBRATION = {"B": 1.0, "R": 1.03, "Z": 0.97}
"""The arms disagree in their overlaps, so that a wrong weight shows."""

BANDS = ("g", "r", "z")
IMAGE_SIZE = 152
BLOCK = 8
"""Images are made of blocks of equal pixels, which compress well."""

GOOD, ALL_ZERO, NO_IVAR, NOT_FINITE = "good", "all zero", "no ivar", "not finite"
BAND_ZERO = {band: f"{band} band zero" for band in BANDS}
BAND_MOSTLY_ZERO = {band: f"{band} band mostly zero" for band in BANDS}

HIGHEST_BIT = np.uint32(1 << 31)
"""Only unsigned numbers hold it."""


def wavelength(arm: str) -> np.ndarray:
    """Return the wavelengths of an arm, vacuum angstrom."""
    start, pixels = ARMS[arm]
    return start + STEP_ANGSTROM * np.arange(pixels)


@lru_cache
def _phases(arm: str) -> np.ndarray:
    return wavelength(arm) / 700.0


def arm_spectrum(
    arm: str, serial: int, redshift: float, snr: float, fault: str = GOOD
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return flux, ivar (float32) and mask (uint32) of one arm.

    The signal-to-noise ratio is `snr` in every good pixel. Some pixels are flagged, most of them without weight.
    """
    line_centre, amplitude = 6564.6 * (1 + redshift), 2.0 + 0.001 * serial
    flux = amplitude * (1.0 + 0.3 * np.sin(_phases(arm) + serial))
    flux += 3.0 * amplitude * np.exp(-0.5 * ((wavelength(arm) - line_centre) / 4.0) ** 2)
    flux *= CALIBRATION[arm]
    ivar = (snr / flux) ** 2
    mask = np.zeros(len(flux), np.uint32)
    for first, last, bits, weighted in _flagged(arm, serial):
        mask[first:last] = bits
        if not weighted:
            ivar[first:last] = 0.0
    if fault == ALL_ZERO:
        flux[:] = 0.0
    if fault == NO_IVAR:
        ivar[:] = 0.0
    return flux.astype(np.float32), ivar.astype(np.float32), mask


def _flagged(arm: str, serial: int) -> list[tuple[int, int, np.uint32, bool]]:
    """Return runs of flagged pixels of an arm: first, one past the last, bits, and whether they keep their weight.

    In the overlap of B and R pixel i of R is pixel 2700 + i of B, so the runs there meet; in that of R and Z pixel i
    of Z is pixel 2200 + i of R.
    """
    some = serial % 7
    return {
        "B": [(100 + some, 110 + some, np.uint32(2), False), (2720, 2723, np.uint32(4), False)],
        "R": [(20, 22, np.uint32(8), False), (40, 43, np.uint32(16), False), (900, 903, HIGHEST_BIT, False)],
        "Z": [(30, 33, np.uint32(32), True), (60 + some, 64 + some, np.uint32(64), False)],
    }[arm]


def combined_spectrum(
    serial: int, redshift: float, snr: float, fault: str = GOOD
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return flux, ivar and mask on the common grid, by the rule of desispec 0.70.

    Outside the overlaps pixels are copied as they are; inside, the flux is the mean weighted by ivar, ivar adds, and
    masks are or-ed; then the mask is cleared where ivar is positive.
    """
    arms = {arm: arm_spectrum(arm, serial, redshift, snr, fault) for arm in ARMS}
    flux, ivar, mask = np.zeros(N_GRID, np.float32), np.zeros(N_GRID, np.float32), np.zeros(N_GRID, np.uint32)
    for arm, (arm_flux, arm_ivar, arm_mask) in arms.items():
        covered = slice(FIRST_PIXEL[arm], FIRST_PIXEL[arm] + len(arm_flux))
        flux[covered], ivar[covered], mask[covered] = arm_flux, arm_ivar, arm_mask
    for left, right in (("B", "R"), ("R", "Z")):
        for pixel in range(FIRST_PIXEL[right], FIRST_PIXEL[left] + len(arms[left][0])):
            f1, i1, m1 = (values[pixel - FIRST_PIXEL[left]].item() for values in arms[left])
            f2, i2, m2 = (values[pixel - FIRST_PIXEL[right]].item() for values in arms[right])
            flux[pixel] = (f1 * i1 + f2 * i2) / (i1 + i2) if i1 + i2 else 0.0
            ivar[pixel], mask[pixel] = i1 + i2, m1 | m2
    mask[ivar > 0] = 0
    return flux, ivar, mask


@lru_cache
def _shape(band: str) -> np.ndarray:
    """Return a galaxy of coarse blocks, (152, 152), that looks different in each band and from each side; sum 1."""
    cells = IMAGE_SIZE // BLOCK
    y, x = np.mgrid[:cells, :cells] - (cells - 1) / 2
    size = {"g": 2.5, "r": 2.0, "z": 1.5}[band]
    galaxy = np.exp(-np.hypot(x, 1.4 * y) / size) + 1e-3 * (x - x.min()) + 2e-3 * (y - y.min()) + 1e-2
    plane = np.kron(galaxy, np.ones((BLOCK, BLOCK)))
    return np.asarray(plane / plane.sum())


def image(serial: int, flux: tuple[float, float, float], fault: str = GOOD) -> np.ndarray:
    """Return the image (3, 152, 152) float32 of a galaxy of fluxes g, r, z (nanomaggies); its corner tells `serial`."""
    planes = np.stack([_shape(band) * total for band, total in zip(BANDS, flux, strict=True)]).astype(np.float32)
    planes[:, 0, 0] = [0.01 + 1e-5 * serial, 0.02 + 1e-5 * serial, 0.03 + 1e-5 * serial]
    for number, band in enumerate(BANDS):
        if fault == BAND_ZERO[band]:
            planes[number] = 0.0
        if fault == BAND_MOSTLY_ZERO[band]:
            planes[number, : 3 * IMAGE_SIZE // 4] = 0.0
    if fault == NOT_FINITE:
        planes[serial % 3, 75, 70:80] = math.nan if serial % 2 else math.inf
    return planes
