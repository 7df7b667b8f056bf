"""One galaxy of the survey, from its number to everything that is stored about it."""

from __future__ import annotations

from typing import Any

import numpy as np

from dataset_builders.mock_survey.basis import load_basis
from dataset_builders.mock_survey.catalogue import inferred_labels, observed_fluxes
from dataset_builders.mock_survey.image import add_noise, draw_observing, render
from dataset_builders.mock_survey.morphology import draw_appearance, morphology_labels, structure
from dataset_builders.mock_survey.random import Stage, stream
from dataset_builders.mock_survey.scene import add_defect
from dataset_builders.mock_survey.sed import galaxy_sed, photometry
from dataset_builders.mock_survey.selection import sample_galaxy
from dataset_builders.mock_survey.sky import Position
from dataset_builders.mock_survey.spectrum import noiseless_spectrum, observe
from dataset_builders.mock_survey.stellar import stellar_content, true_labels

QUANTA_PER_SIGMA = 8.0
IVAR_MANTISSA_BITS = 9
EMPTY_SPECTRUM_FRACTION = 0.004
"""Share of rows whose spectrum is all zero, as in the published pairs (about one in a hundred there)."""


def quantum(sigma: float) -> np.float32:
    """Return the largest power of two that is at most an eighth of `sigma`."""
    return np.float32(2.0 ** np.floor(np.log2(sigma / QUANTA_PER_SIGMA)))


def quantise(values: np.ndarray, step: np.float32) -> np.ndarray:
    """Round to multiples of `step`, a power of two: compresses well, and hides last-digit differences of processors."""
    scaled = np.divide(values, step, dtype=np.float32, casting="same_kind")
    np.rint(scaled, out=scaled)
    scaled *= step
    scaled += np.float32(0)  # turns negative zeros into zeros
    return np.asarray(scaled)


def round_mantissa(values: np.ndarray, bits: int = IVAR_MANTISSA_BITS) -> np.ndarray:
    """Round float32 values to `bits` bits after the leading one."""
    mantissa, exponent = np.frexp(values.astype(np.float32))
    return np.asarray(np.ldexp(np.rint(mantissa * np.float32(2 ** (bits + 1))), exponent - (bits + 1)), np.float32)


def make_galaxy(seed: int, object_number: int, position: Position) -> dict[str, Any]:
    """Return image (3, 152, 152), flux and ivar (7781,), labels and properties of one object.

    Each step draws from its own random stream, so the object depends on the survey's seed and its number alone.
    """
    basis = load_basis()

    def streams(stage: Stage) -> np.random.Generator:
        return stream(seed, stage, object_number)

    latents = sample_galaxy(streams(Stage.POPULATION))
    content = stellar_content(basis, latents)
    truth = true_labels(basis, latents, content)
    sed = galaxy_sed(basis, latents, content, position.ebv)
    flux = photometry(basis, sed, position.hemisphere, float(latents.redshift[0]))

    image_rng = streams(Stage.IMAGE)
    observing = draw_observing(position.hemisphere, image_rng)
    shape = draw_appearance(basis, latents, image_rng)
    scene = render(basis, latents, shape, flux, observing, image_rng)
    image = add_noise(scene.image, observing, streams(Stage.IMAGE_NOISE))
    defect = add_defect(image, streams(Stage.ARTEFACT))
    for band in range(3):
        image[band] = quantise(image[band], quantum(float(observing.pixel_sigma[band])))

    model = noiseless_spectrum(basis, latents, sed, scene.fibre_fractions)
    spectrum, ivar, snr, empty = _observed_spectrum(model, streams(Stage.SPECTRUM))

    light = structure(latents, shape, flux[:, 1])
    catalogue_rng = streams(Stage.CATALOGUE)
    observed = observed_fluxes(flux.sum(axis=0), light["half_light_radius"], observing, catalogue_rng)
    return {
        "image": image,
        "flux": spectrum,
        "ivar": ivar,
        **{f"flux_{band}": float(value) for band, value in zip("grz", observed, strict=True)},
        **inferred_labels(truth, latents, snr, catalogue_rng),
        **{f"{name}_true": value for name, value in truth.items()},
        "redshift_true": float(latents.redshift[0]),
        **morphology_labels(latents, shape),
        **light,
        "mag_r": float(22.5 - 2.5 * np.log10(observed[1])) if observed[1] > 0 else None,
        "snr": snr,
        "spectrum_empty": int(empty),
        "image_defect": defect,
    }


def _observed_spectrum(model: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float, bool]:
    """Return rounded flux and inverse variance (7781,), the median signal-to-noise ratio, and whether the row is empty."""
    empty = rng.random() < EMPTY_SPECTRUM_FRACTION
    observation = observe(model, rng)
    if empty:
        return np.zeros(len(model), np.float32), np.zeros(len(model), np.float32), 0.0, True
    good = observation.ivar > 0
    flux = quantise(observation.flux, quantum(float(np.median(observation.ivar[good])) ** -0.5))
    ivar = round_mantissa(observation.ivar)
    snr = float(np.median(flux[good] * np.sqrt(ivar[good])))
    return flux, ivar, snr, False
