"""Templates and redshifts: against least squares done one by one, and on spectra whose redshift is known."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.errors import DataError
from baselines.astroclip.log_bins import LOG_STEP
from baselines.classical.templates import (
    Spectra,
    Templates,
    TemplateSettings,
    explained_squares,
    fit_redshift,
    make_templates,
    weighted_components,
)

SPEED_OF_LIGHT_KM_S = 299_792.458
BINS, SHIFTS = 600, 200
SMALL = TemplateSettings(templates=3, iterations=10, redshift_bins=4, galaxies_a_bin=40)


def galaxies(n: int, seed: int = 0) -> tuple[Spectra, np.ndarray]:
    """Return spectra of a slope, a break and lines in mixed strengths, with noise and missing bins, and redshifts."""
    random = np.random.default_rng(seed)
    redshift = np.expm1(LOG_STEP * random.uniform(0, SHIFTS - 1, n))
    rest = np.arange(BINS) - (np.log1p(redshift) / LOG_STEP)[:, None]
    lines = sum(np.exp(-0.5 * ((rest - place) / 2.5) ** 2) for place in (50, 180, 260, 410, 431))
    parts = [np.ones_like(rest), np.tanh((rest - 150) / 5), lines]
    strength = random.uniform(0.5, 2, (3, n, 1))
    error = random.uniform(0.1, 0.4, (n, 1))
    flux = sum(one * part for one, part in zip(strength, parts, strict=True)) + error * random.normal(size=rest.shape)
    ivar = np.where(random.random(rest.shape) < 0.1, 0, 1 / error**2 * np.ones_like(rest))
    return Spectra(np.where(ivar > 0, flux, 0), ivar), redshift


def test_redshifts_are_found_to_a_fraction_of_a_bin():
    train, redshift = galaxies(160)
    templates = make_templates(train, redshift, SMALL)
    test, truth = galaxies(40, seed=1)
    inside = (truth > redshift.min()) & (truth < redshift.max())
    speed = (fit_redshift(test, templates) - truth) / (1 + truth) * SPEED_OF_LIGHT_KM_S
    assert np.median(np.abs(speed[inside])) < 75  # half a bin
    assert np.mean(np.abs(speed[inside]) < 300) > 0.9


def test_explained_squares_are_those_of_weighted_least_squares():
    random = np.random.default_rng(3)
    templates = Templates(random.normal(size=(3, 24)), first_shift=2, shifts=5)
    flux, ivar = random.normal(size=(2, 20)), random.uniform(0, 2, (2, 20))
    ivar[0, 5:9] = 0
    found = explained_squares(flux, ivar, templates)
    for row in range(2):
        for shift in range(5):
            basis = templates.components[:, 4 - shift : 24 - shift].T  # a larger shift: bluer at rest
            root = np.sqrt(ivar[row])
            left = np.linalg.lstsq(basis * root[:, None], flux[row] * root, rcond=None)[1][0]
            assert found[row, shift] == pytest.approx((root * flux[row]) @ (root * flux[row]) - left, rel=1e-6)


def test_components_span_what_made_the_values_though_a_third_is_missing():
    random = np.random.default_rng(5)
    true = random.normal(size=(2, 50)) + 1
    values = random.normal(1, 0.5, (80, 2)) @ true
    weight = (random.random(values.shape) > 1 / 3).astype(float)
    spoiled = np.where(weight > 0, values, 1e3)
    found = weighted_components(spoiled, weight, 2, 100)
    np.testing.assert_allclose(found @ found.T, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(true @ found.T @ found, true, atol=1e-3)


def test_no_known_redshift_is_named():
    train, redshift = galaxies(10)
    with pytest.raises(DataError, match="make templates of"):
        make_templates(train, np.full_like(redshift, np.nan), SMALL)
    # Galaxies without redshift, or without a spectrum, change nothing.
    more = Spectra(np.concatenate([train.flux, train.flux * 0]), np.concatenate([train.ivar, train.ivar * 0]))
    templates = make_templates(more, np.concatenate([redshift, redshift]), SMALL)
    np.testing.assert_allclose(templates.components, make_templates(train, redshift, SMALL).components)
