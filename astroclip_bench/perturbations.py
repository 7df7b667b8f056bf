"""What can be wrong with an observation, as changes of its arrays: noise, seeing, dust, missing pixels and bands, tilt.

A perturbation is an entry of a table. It names what it does to a modality by what the modality declares on its axes:
a wavelength grid, a pixel scale, bands. Level 0 changes nothing. Random numbers belong to an object, not to a place in
a batch: they come from a counter-based generator keyed by the object's id, and are the same at every level, so that a
curve over levels is of one and the same perturbation growing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import TaskError
from astroclip_bench.records import Modality, wavelength_angstrom

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
Effect = Callable[[Arrays, Modality, Sequence[str], float], Arrays]
"""From the columns (n, *shape) of a modality, the ids of the n objects and a level to the changed columns."""

SEED = 0
SPECTRUM, IMAGE, BANDS = "wavelength_start_angstrom", "pixel_scale_arcsec", "bands"
"""Entries of a modality's axes that make it a spectrum, an image, or a thing of bands."""
IVAR = "ivar"

FRAME_PIXELS = 10
"""Width of an image's outer frame, which is mostly sky."""
FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))
TILE_ARCSEC, TILE_ANGSTROM = 2.0, 40.0
"""Sides of what goes missing at once: about a star's mask, and a strong sky line's."""

EXTINCTION_PER_EBV = {
    "u": 3.995, "g": 3.214, "r": 2.165, "i": 1.592, "z": 1.211, "Y": 1.064,
    "W1": 0.184, "W2": 0.113, "W3": 0.0241, "W4": 0.00910,
}  # fmt: skip
"""A / E(B-V) of the Legacy Surveys (DR9 description), for E(B-V) of Schlegel, Finkbeiner and Davis (1998)."""
FITZPATRICK_KNOTS = (
    (0.000, 0.377, 0.820, 1.667, 1.828, 2.141, 2.433, 3.704, 3.846),
    (0.000, 0.265, 0.829, 2.688, 3.055, 3.806, 4.315, 6.265, 6.591),
)
"""Inverse micrometres and A / E(B-V) at R_V = 3.1: Fitzpatrick 1999, PASP 111, 63, table 3."""
RECALIBRATION = 0.86
"""True E(B-V) over that of Schlegel, Finkbeiner and Davis (Schlafly and Finkbeiner 2011, ApJ 737, 103)."""


@dataclass(frozen=True)
class Perturbation:
    """One thing that goes wrong, more and more.

    Parameters
    ----------
    name, description
        As on the command line and in tables.
    unit
        Of the levels.
    levels
        Rising from 0, which is the clean observation.
    effects
        Entry of a modality's axes -> what is done to such a modality; the first that it has counts.
    bands
        Bands that a modality must have to be touched.
    """

    name: str
    description: str
    unit: str
    levels: tuple[float, ...]
    effects: Mapping[str, Effect]
    bands: tuple[str, ...] = ()

    def effect_on(self, modality: Modality) -> Effect | None:
        """Return what it does to a modality, or None if it does not touch it."""
        if not set(self.bands) <= set(modality.axes.get(BANDS, ())):
            return None
        return next((effect for axis, effect in self.effects.items() if axis in modality.axes), None)

    def apply(self, arrays: Mapping[str, NDArray[Any]], modality: Modality, ids: Sequence[str], level: float) -> Arrays:
        """Return the columns of a modality with the perturbation at a level; at 0, the columns themselves."""
        effect = self.effect_on(modality)
        if effect is None or level == 0:
            return dict(arrays)
        changed = effect({name: np.array(array) for name, array in arrays.items()}, modality, ids, level)
        return {name: array.astype(arrays[name].dtype, copy=False) for name, array in changed.items()}


def perturbations(modalities: Iterable[Modality]) -> dict[str, Perturbation]:
    """Return the perturbations that touch any of these modalities, by name; one for each band that can be missing."""
    modalities = list(modalities)
    bands = list(dict.fromkeys(band for modality in modalities for band in modality.axes.get(BANDS, ())))
    every = [*GENERAL, *(_missing_band(band) for band in bands)]
    return {item.name: item for item in every if any(item.effect_on(modality) for modality in modalities)}


def object_random(object_id: str, what: str) -> np.random.Generator:
    """Return an object's own random numbers for one purpose: the same wherever and whenever it is met."""
    key = hashlib.blake2b(f"{SEED}/{what}/{object_id}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def dust_per_ebv(wave_angstrom: NDArray[np.floating]) -> Float64:
    """Return A(lambda) / E(B-V), in magnitudes, of the mean Milky Way (R_V = 3.1), E(B-V) as in the survey's maps."""
    from scipy.interpolate import CubicSpline

    curve = CubicSpline(*FITZPATRICK_KNOTS)
    return np.asarray(RECALIBRATION * curve(1e4 / np.asarray(wave_angstrom, np.float64)))


def frame_noise(image: NDArray[np.floating]) -> Float64:
    """Return the noise of a pixel in each plane of images (n, bands, H, W): (n, bands), from their outer frame."""
    height, width = (min(FRAME_PIXELS, side // 2) for side in image.shape[-2:])
    flat = (*image.shape[:2], -1)
    parts = [image[..., :height, :], image[..., -height:, :], image[..., :width], image[..., -width:]]
    frame = np.concatenate([part.reshape(flat) for part in parts], axis=-1).astype(np.float64)
    middle = np.median(frame, axis=-1, keepdims=True)
    return np.asarray(1.4826 * np.median(np.abs(frame - middle), axis=-1))


def spectrum_noise(arrays: Arrays, modality: Modality) -> Float64:
    """Return the noise of each pixel of spectra, (n, pixels): 0 where masked.

    Where the modality has no ivar, it is one number a spectrum, from the differences of neighbouring pixels.
    """
    if IVAR in arrays:
        ivar = arrays[IVAR].astype(np.float64)
        return np.divide(1.0, np.sqrt(ivar, where=ivar > 0, out=np.ones_like(ivar)), where=ivar > 0, out=0 * ivar)
    steps = np.diff(arrays[modality.columns[0]].astype(np.float64), axis=-1)
    spread = 1.4826 * np.median(np.abs(steps - np.median(steps, axis=-1, keepdims=True)), axis=-1) / np.sqrt(2)
    return np.repeat(spread[:, None], steps.shape[-1] + 1, axis=-1)


def _grains(ids: Sequence[str], shape: tuple[int, ...], what: str) -> Float32:
    """Return white noise of standard deviation 1, (n, *shape)."""
    return np.stack([object_random(name, what).standard_normal(shape, np.float32) for name in ids])


def _noise_image(arrays: Arrays, modality: Modality, ids: Sequence[str], level: float) -> Arrays:
    column = modality.columns[0]
    sigma = level * frame_noise(arrays[column])
    return {column: arrays[column] + sigma[..., None, None] * _grains(ids, modality.shape, "noise image")}


def _noise_spectrum(arrays: Arrays, modality: Modality, ids: Sequence[str], level: float) -> Arrays:
    flux = modality.columns[0]
    sigma = level * spectrum_noise(arrays, modality)
    arrays[flux] = arrays[flux] + sigma * _grains(ids, modality.shape, "noise spectrum")
    if IVAR in arrays:
        arrays[IVAR] = arrays[IVAR] / (1 + level**2)
    return arrays


def _blur(arrays: Arrays, modality: Modality, ids: Sequence[str], fwhm_arcsec: float) -> Arrays:
    """Convolve with a Gaussian, and add white noise until a pixel is as noisy as before: worse seeing, same depth."""
    from scipy.ndimage import gaussian_filter

    column = modality.columns[0]
    sigma = fwhm_arcsec / FWHM_PER_SIGMA / modality.axes[IMAGE]
    noise = frame_noise(arrays[column])
    blurred = gaussian_filter(arrays[column], sigma, axes=(-2, -1), mode="reflect")
    lost = np.sqrt(np.maximum(noise**2 - frame_noise(blurred) ** 2, 0))
    return {column: blurred + lost[..., None, None] * _grains(ids, modality.shape, "blur")}


def _dust_bands(arrays: Arrays, modality: Modality, ids: Sequence[str], ebv: float) -> Arrays:
    """Dim each band; to images, whose noise is the sky's, give the noise back that dimming took from the pixels."""
    transmission = 10 ** (-0.4 * ebv * _extinction_per_ebv(modality))
    if IMAGE in modality.axes:
        noise = np.sqrt(1 - transmission**2) * frame_noise(arrays[modality.columns[0]])
        given_back = noise[..., None, None] * _grains(ids, modality.shape, "dust image")
    for place, factor in enumerate(transmission):
        _plane(arrays, modality, place)[...] *= factor
    return {name: array + given_back for name, array in arrays.items()} if IMAGE in modality.axes else arrays


def _extinction_per_ebv(modality: Modality) -> Float64:
    unknown = [band for band in modality.axes[BANDS] if band not in EXTINCTION_PER_EBV]
    if unknown:
        raise TaskError(f"no extinction is known for band {unknown[0]!r}", f"bands of {', '.join(EXTINCTION_PER_EBV)}")
    return np.array([EXTINCTION_PER_EBV[band] for band in modality.axes[BANDS]])


def _dust_spectrum(arrays: Arrays, modality: Modality, ids: Sequence[str], ebv: float) -> Arrays:
    """Dim each wavelength, and give the noise back, which is the sky's and not the galaxy's."""
    transmission = 10 ** (-0.4 * dust_per_ebv(wavelength_angstrom(modality)) * ebv)
    noise = np.sqrt(1 - transmission**2) * spectrum_noise(arrays, modality)
    flux = modality.columns[0]
    arrays[flux] = transmission * arrays[flux] + noise * _grains(ids, modality.shape, "dust spectrum")
    return arrays


def _mask_image(arrays: Arrays, modality: Modality, ids: Sequence[str], share: float) -> Arrays:
    """Put square tiles to 0 in all bands, each with the chance `share`."""
    side = max(1, round(TILE_ARCSEC / modality.axes[IMAGE]))
    height, width = modality.shape[-2:]
    tiles = (-(-height // side), -(-width // side))
    lost = np.stack([object_random(name, "mask image").random(tiles) < share for name in ids])
    lost = lost.repeat(side, axis=1).repeat(side, axis=2)[:, None, :height, :width]
    return {name: np.where(lost, 0.0, array) for name, array in arrays.items()}


def _mask_spectrum(arrays: Arrays, modality: Modality, ids: Sequence[str], share: float) -> Arrays:
    """Put stretches to 0, flux and inverse variance, each with the chance `share`."""
    length = max(1, round(TILE_ANGSTROM / modality.axes["wavelength_step_angstrom"]))
    (pixels,) = modality.shape
    lost = np.stack([object_random(name, "mask spectrum").random(-(-pixels // length)) < share for name in ids])
    lost = lost.repeat(length, axis=1)[:, :pixels]
    return {name: np.where(lost, 0.0, array) for name, array in arrays.items()}


def _tilt_spectrum(arrays: Arrays, modality: Modality, ids: Sequence[str], level: float) -> Arrays:
    """Make the blue end fainter and the red end brighter by the fraction `level`, as a wrong flux calibration does."""
    factor = 1 + level * np.linspace(-1.0, 1.0, modality.shape[0])
    arrays[modality.columns[0]] = arrays[modality.columns[0]] * factor
    if IVAR in arrays:
        arrays[IVAR] = arrays[IVAR] / factor**2
    return arrays


def _missing_band(band: str) -> Perturbation:
    def remove(arrays: Arrays, modality: Modality, ids: Sequence[str], level: float) -> Arrays:
        _plane(arrays, modality, list(modality.axes[BANDS]).index(band))[...] = 0
        return arrays

    description = f"no {band} band: its flux is 0"
    return Perturbation(f"missing-{band}", description, "bands", (0.0, 1.0), {BANDS: remove}, (band,))


def _plane(arrays: Arrays, modality: Modality, place: int) -> NDArray[Any]:
    """Return, to be changed in place, one band of a modality: a plane of its array, or one of its columns."""
    return arrays[modality.columns[0]][:, place] if modality.shape else arrays[modality.columns[place]]


GENERAL: tuple[Perturbation, ...] = (
    Perturbation(
        "noise",
        "added white noise, in units of the pixel's own; the ivar of a spectrum tells of it",
        "sigma",
        (0.0, 1.0, 2.0, 4.0),
        {IMAGE: _noise_image, SPECTRUM: _noise_spectrum},
    ),
    Perturbation(
        "psf",
        "Gaussian blur added to the seeing, at the same depth",
        "arcsec FWHM",
        (0.0, 1.0, 2.0, 4.0),
        {IMAGE: _blur},
    ),
    Perturbation(
        "dust",
        "Milky Way dust in front, E(B-V); the noise stays",
        "mag",
        (0.0, 0.1, 0.3, 1.0),
        {SPECTRUM: _dust_spectrum, BANDS: _dust_bands},
    ),
    Perturbation(
        "missing-pixels",
        "share of an image lost in tiles of 2 arcsec, of a spectrum in stretches of 40 angstrom; 0 there, ivar too",
        "fraction",
        (0.0, 0.1, 0.3, 0.6),
        {IMAGE: _mask_image, SPECTRUM: _mask_spectrum},
    ),
    Perturbation(
        "tilt",
        "flux calibration of a spectrum wrong by minus this fraction at the blue end and plus at the red",
        "fraction",
        (0.0, 0.05, 0.2, 0.5),
        {SPECTRUM: _tilt_spectrum},
    ),
)
"""Those that need no band's name."""
