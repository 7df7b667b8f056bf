"""The published recipe holds the published numbers, and its augmentations have the published distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from baselines.astroclip import augment_image
from baselines.astroclip.config import read_recipe
from baselines.astroclip.encoders import build_encoder
from baselines.astroclip.train import kind_settings

PSF = {"g": (0.211, 1.081, 1.315), "r": (0.301, 1.239, 0.916), "z": (0.347, 1.193, 0.823)}
NOISE = {"g": (0.226, -0.0007, 0.0038), "r": (0.243, -0.0024, 0.0067), "z": (0.133, -0.0143, 0.0261)}
EXPONENTS = {"g": -1.2856, "r": -0.866, "z": -0.4844}


def stage_of(name):
    [stage] = read_recipe(name).stages
    return stage, kind_settings(stage)


def test_momentum_contrast_is_the_published_one():
    stage, settings = stage_of("stein")
    assert (settings.hidden, settings.dimension, settings.queue) == (2048, 128, 65536)
    assert (settings.momentum, settings.temperature) == (0.996, 0.2)
    assert (stage.train.optimiser, stage.train.learning_rate, stage.train.epochs) == ("sgd", 0.24, 1500)
    encoder = build_encoder(settings.encoder["name"], {})
    assert encoder.dimension == 2048
    assert encoder.input.crop == 96
    assert encoder.input.transform == "stein_rgb"


@pytest.mark.parametrize("name", ["stein", "stein-mini", "astroclip-v1-mini"])
def test_augmentations_are_the_published_ones(name):
    settings = kind_settings(read_recipe(name).stages[0]).augmentation
    assert (settings.size, settings.jitter, settings.rotation, settings.flip) == (96, 7, "any", True)
    assert settings.size_range == (0.9, 1.1)
    assert (settings.reddening, settings.blur, settings.noise) == (1.0, 1.0, 1.0)


def test_laws_of_the_survey_are_the_published_ones():
    assert tuple(augment_image.PSF_SIGMA_PIXELS) == tuple(PSF.values())
    assert tuple(augment_image.NOISE_NMGY) == tuple(NOISE.values())
    assert tuple(EXPONENTS.values()) == augment_image.EXTINCTION_EXPONENT


def test_reddening_of_one_magnitude_dims_by_the_published_exponents():
    image = torch.ones(1, 3, 4, 4)
    dimmed = augment_image.redden(image, torch.tensor([1.0]))[0, :, 0, 0]
    expected = [10**exponent for exponent in EXPONENTS.values()]
    np.testing.assert_allclose(dimmed.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("law", [PSF, NOISE])
def test_excess_has_the_published_distribution(law):
    image = torch.zeros(20_000, 3, 1, 1)
    found = augment_image._excess(image, tuple(law.values()), 1.0, torch.Generator().manual_seed(3)).double().numpy()
    random = np.random.default_rng(4)
    for band, (shape, location, scale) in enumerate(law.values()):
        own, other = stats.lognorm(shape, location, scale).rvs((2, 20_000), random_state=random)
        widened = found[:, band] > 0
        assert widened.mean() == pytest.approx(0.5, abs=0.02)  # half of the other places are the worse ones
        expected = np.sqrt((other**2 - own**2)[other > own])
        assert stats.ks_2samp(found[widened, band], expected).pvalue > 1e-3


def test_median_seeing_is_that_of_the_survey():
    factor = augment_image.FWHM_PER_SIGMA * augment_image.PIXEL_SCALE_ARCSEC
    medians = [factor * (location + scale) for _, location, scale in PSF.values()]
    assert medians == pytest.approx([1.48, 1.33, 1.24], abs=0.01)
    assert factor == pytest.approx(2 * math.sqrt(2 * math.log(2)) * 0.262)
