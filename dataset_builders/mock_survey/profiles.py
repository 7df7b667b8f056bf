"""Surface-brightness profiles in Fourier space, where shear, shift and convolution are products.

A profile of unit flux is a real array (n, n//2 + 1) float32 on the half plane of `scipy.fft.rfft2`. Its shape on the
sky enters as a quadratic form of the wave vector, so any ellipse (or bar inside an inclined disc) costs the same.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from astroclip_bench.records import PIXEL_SCALE_ARCSEC
from dataset_builders.mock_survey.basis import (
    PROFILE_LOG_RANGE,
    PROFILE_POINTS,
    PROFILE_SOFTENING,
    SERSIC_INDEX,
    Basis,
)

EXPONENTIAL_HALF_LIGHT = 1.678347
"""Half-light radius of an exponential disc in scale lengths."""
MOFFAT_BETA = 3.2
FIBRE_RADIUS_ARCSEC = 0.75
FIBRE_SEEING_ARCSEC = 1.0
"""Full width at half maximum of the seeing that fibre magnitudes assume (Dey et al. 2019)."""
SIGMA_PER_FWHM = 1 / 2.354820045


@dataclass(frozen=True)
class Grid:
    """Wave vectors (radians an arcsecond) of an n x n image, and the weights of the fibre's aperture."""

    size: int
    kx: np.ndarray
    ky: np.ndarray
    kx_kx: np.ndarray
    ky_ky: np.ndarray
    kx_ky: np.ndarray
    square: np.ndarray
    aperture: np.ndarray
    pixel_window: np.ndarray

    def phase(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the factors exp(-i kx x), (m, n//2 + 1), and exp(-i ky y), (m, n), for positions (m,) in pixels."""
        scale = -1j * PIXEL_SCALE_ARCSEC
        along_x = np.exp(scale * np.multiply.outer(x, self.kx)).astype(np.complex64)
        return along_x, np.exp(scale * np.multiply.outer(y, self.ky)).astype(np.complex64)


@functools.cache
def fourier_grid(size: int) -> Grid:
    """Return the grid of an image of `size` pixels."""
    from scipy.special import j1

    kx = 2 * np.pi * np.fft.rfftfreq(size) / PIXEL_SCALE_ARCSEC
    ky = 2 * np.pi * np.fft.fftfreq(size) / PIXEL_SCALE_ARCSEC
    square = ky[:, None] ** 2 + kx[None] ** 2
    radius_k = FIBRE_RADIUS_ARCSEC * np.sqrt(square)
    disc = np.where(radius_k > 0, 2 * j1(radius_k) / np.where(radius_k > 0, radius_k, 1), 1.0)
    disc *= np.pi * FIBRE_RADIUS_ARCSEC**2
    seeing = np.exp(-0.5 * square * (FIBRE_SEEING_ARCSEC * SIGMA_PER_FWHM) ** 2)
    both_halves = np.where((kx > 0) & (np.arange(len(kx)) < size / 2), 2.0, 1.0)
    aperture = disc * seeing * both_halves / (size * PIXEL_SCALE_ARCSEC) ** 2
    window = np.sinc(kx * PIXEL_SCALE_ARCSEC / (2 * np.pi)) * np.sinc(ky * PIXEL_SCALE_ARCSEC / (2 * np.pi))[:, None]
    single = np.float32
    return Grid(
        size,
        kx,
        ky,
        (kx**2)[None].astype(single),
        (ky**2)[:, None].astype(single),
        np.multiply.outer(ky, kx).astype(single),
        square.astype(single),
        aperture.astype(single),
        (window**2).astype(single),
    )


def ellipse(radius: float, axis_ratio: float, angle_deg: float) -> np.ndarray:
    """Return the map (2, 2) from the unit circle to an ellipse of semi-major axis `radius`."""
    angle = np.radians(angle_deg)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(radius * rotation * np.array([1.0, axis_ratio]))


def scaled_square(grid: Grid, shape: np.ndarray) -> np.ndarray:
    """Return |shape^T k|^2 for the map `shape` (2, 2) from the unit circle to the sky."""
    form = (shape @ shape.T).astype(np.float32)
    return np.asarray(grid.kx_kx * form[0, 0] + grid.ky_ky * form[1, 1] + grid.kx_ky * np.float32(2 * form[0, 1]))


def lookup(table: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Interpolate a profile tabulated uniformly in log(square + softening^2)."""
    low, high = PROFILE_LOG_RANGE
    scale = np.float32((PROFILE_POINTS - 1) / (high - low))
    position = (np.log(square + np.float32(PROFILE_SOFTENING**2)) - np.float32(low)) * scale
    np.clip(position, 0, PROFILE_POINTS - 2, out=position)
    node = position.astype(np.int32)
    position -= node
    value = table[node]
    return np.asarray(value + position * (table[node + 1] - value))


def exponential(grid: Grid, shape: np.ndarray) -> np.ndarray:
    """Return an exponential disc; `shape` maps the unit circle to the half-light ellipse."""
    base = 1 + scaled_square(grid, shape / EXPONENTIAL_HALF_LIGHT)
    return np.asarray(1 / (base * np.sqrt(base)))


def sersic(basis: Basis, grid: Grid, shape: np.ndarray, index: float) -> np.ndarray:
    """Return a Sersic profile of the nearest tabulated index; `shape` maps to the half-light ellipse."""
    row = int(np.abs(SERSIC_INDEX - index).argmin())
    return lookup(basis.sersic[row], scaled_square(grid, shape))


@functools.cache
def _moffat_table() -> np.ndarray:
    """Return the transform of a Moffat profile: 2 (x/2)^(b-1) K_{b-1}(x) / Gamma(b-1), x = k times scale radius."""
    from scipy.special import gamma, kv

    order = MOFFAT_BETA - 1
    log_square = np.linspace(*PROFILE_LOG_RANGE, PROFILE_POINTS)
    x = np.sqrt(np.clip(np.exp(log_square) - PROFILE_SOFTENING**2, 1e-12, None))
    return np.asarray(2 * (x / 2) ** order * kv(order, x) / gamma(order), dtype=np.float32)


def moffat(grid: Grid, fwhm_arcsec: float) -> np.ndarray:
    """Return a Moffat point spread function (Moffat 1969), pixel included."""
    radius = fwhm_arcsec / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    return lookup(_moffat_table(), grid.square * np.float32(radius**2))


def points(grid: Grid, x: np.ndarray, y: np.ndarray, weight: np.ndarray, blur_arcsec: float) -> np.ndarray:
    """Return the complex transform of points at (x, y) pixels, each blurred to a small round exponential.

    The points are shared among their four pixels; the transform of that sharing is divided out again.
    """
    import scipy.fft

    size = grid.size
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    dx, dy = x - column, y - row
    index = np.concatenate([(row + j) % size * size + (column + i) % size for j, i in ((0, 0), (0, 1), (1, 0), (1, 1))])
    share = np.concatenate([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx]) * np.tile(weight, 4)
    inside = (np.tile(x, 4) > -size / 8) & (np.tile(x, 4) < size) & (np.tile(y, 4) > -size / 8) & (np.tile(y, 4) < size)
    painted = np.bincount(index[inside], share[inside], minlength=size * size).reshape(size, size)
    base = 1 + grid.square * np.float32(blur_arcsec**2)
    return np.asarray(scipy.fft.rfft2(painted.astype(np.float32)) / (base * np.sqrt(base) * grid.pixel_window))
