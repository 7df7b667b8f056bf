"""Image, spectrum and labels of one object tell the same story."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.records import MORPHOLOGY_QUESTIONS, morphology_label
from dataset_builders.mock_survey.basis import SPEED_OF_LIGHT_KM_S, load_basis, vacuum_wavelength
from dataset_builders.mock_survey.dust import calzetti
from dataset_builders.mock_survey.image import draw_observing, render
from dataset_builders.mock_survey.morphology import draw_appearance, morphology_labels
from dataset_builders.mock_survey.profiles import ellipse, exponential, fourier_grid, moffat, points, sersic
from dataset_builders.mock_survey.random import Stage, stream
from dataset_builders.mock_survey.sed import ab_zero, galaxy_sed, photometry
from dataset_builders.mock_survey.selection import sample_galaxy
from dataset_builders.mock_survey.spectrum import FIBRE_CALIBRATION, WAVE, add_lines, noiseless_spectrum, observe
from dataset_builders.mock_survey.stellar import stellar_content, true_labels

SEED = 21


@pytest.fixture(scope="module")
def basis():
    return load_basis()


@pytest.fixture(scope="module")
def galaxies(basis):
    """Twenty galaxies as (latents, content, component fluxes, scene, noiseless spectrum, appearance)."""
    out = []
    for number in range(20):
        latents = sample_galaxy(stream(SEED, Stage.POPULATION, number))
        content = stellar_content(basis, latents)
        sed = galaxy_sed(basis, latents, content, 0.02)
        flux = photometry(basis, sed, "south", float(latents.redshift[0]))
        rng = stream(SEED, Stage.IMAGE, number)
        observing = draw_observing("south", rng)
        shape = draw_appearance(basis, latents, rng)
        scene = render(basis, latents, shape, flux, observing, rng)
        model = noiseless_spectrum(basis, latents, sed, scene.fibre_fractions)
        out.append((latents, content, flux, scene, model, shape))
    return out


def test_fibre_magnitude_from_the_spectrum_equals_that_from_the_image(basis, galaxies):
    wave, response = basis.filters["south_r"]
    weights = np.interp(WAVE, wave, response) * WAVE * 0.8 * 1e9 / ab_zero(wave, response)
    differences = []
    for _, _, flux, scene, model, _ in galaxies:
        from_image = scene.fibre_fractions @ flux[:, 1]
        differences.append(-2.5 * np.log10((model @ weights) / FIBRE_CALIBRATION / from_image))
    assert abs(np.median(differences)) < 0.002
    assert np.max(np.abs(differences)) < 0.02


def test_fibre_holds_part_of_the_light(galaxies):
    for _, _, flux, scene, _, _ in galaxies:
        share = scene.fibre_fractions @ flux[:, 1] / flux[:, 1].sum()
        assert 0.005 < share < 0.75


def test_living_mass_is_the_label(basis, galaxies):
    for latents, content, *_ in galaxies:
        alive = (content.bulge * (content.bulge_weights @ basis.alive)).sum()
        alive += (content.disc * (content.disc_weights @ basis.alive)).sum()
        assert np.log10(alive) == pytest.approx(float(latents.log_mass[0]), abs=1e-9)
        truth = true_labels(basis, latents, content)
        assert 0.2 < truth["age"] < float(latents.cosmic_age[0])


def test_profiles_have_unit_flux_and_their_half_light_radius(basis):
    grid = fourier_grid(384)
    radius_pixels = 2.0 / 0.262
    rows, columns = np.mgrid[:384, :384] - 192
    inside = np.hypot(rows, columns) < radius_pixels
    centre = 192.0
    along_x, along_y = grid.phase(np.array([centre]), np.array([centre]))
    phase = along_y[0][:, None] * along_x[0]
    soft = moffat(grid, 0.6)
    for profile in (exponential(grid, ellipse(2.0, 1.0, 0.0)), sersic(basis, grid, ellipse(2.0, 1.0, 0.0), 2.0)):
        assert profile[0, 0] == pytest.approx(1.0, abs=2e-3)
        image = np.fft.irfft2(profile * phase * soft)
        assert image[inside].sum() == pytest.approx(0.5, abs=0.03)


def test_points_fall_where_they_are_put():
    grid = fourier_grid(192)
    image = np.fft.irfft2(points(grid, np.array([50.3]), np.array([70.8]), np.array([2.0]), 0.3) * moffat(grid, 1.2))
    rows, columns = np.mgrid[:192, :192]
    assert image.sum() == pytest.approx(2.0, rel=1e-4)
    assert (image * columns).sum() / 2 == pytest.approx(50.3, abs=0.05)
    assert (image * rows).sum() / 2 == pytest.approx(70.8, abs=0.05)


def test_image_holds_the_flux(galaxies):
    compact = [
        (flux, scene) for _, _, flux, scene, _, shape in galaxies if shape.disc_radius < 3 and shape.bulge_radius < 2
    ]
    assert len(compact) >= 5
    for flux, scene in compact:
        assert (scene.image.sum(axis=(1, 2)) > 0.93 * flux.sum(axis=0)).all()


def test_lines_keep_their_flux_and_place():
    flux = np.zeros(len(WAVE))
    add_lines(flux, np.array([5000.0, 9000.0]), np.array([10.0, 5.0]), 100.0)
    near = np.abs(WAVE - 5000) < 15
    assert flux[near].sum() * 0.8 == pytest.approx(10.0, rel=1e-6)
    assert (flux * WAVE)[near].sum() / flux[near].sum() == pytest.approx(5000.0, abs=0.05)
    width = np.sqrt((flux * (WAVE - 5000) ** 2)[near].sum() / flux[near].sum())
    assert width == pytest.approx(np.hypot(5000 * 100 / SPEED_OF_LIGHT_KM_S, 0.68), rel=0.08)


def test_noise_is_that_of_the_inverse_variance(galaxies):
    model = galaxies[0][4]
    pulls = []
    for number in range(10):
        seen = observe(model, stream(SEED, Stage.SPECTRUM, number))
        quiet = (seen.ivar > 0) & (WAVE > 4000) & (WAVE < 7000)
        local = np.diff(seen.flux[quiet]) * np.sqrt(seen.ivar[quiet][1:] / 2)
        pulls.append(1.4826 * np.median(np.abs(local)))
    assert np.mean(pulls) == pytest.approx(1.0, abs=0.06)


def test_inverse_variance_does_not_know_the_model(galaxies):
    """A line changes it broadly, by its smoothed flux, and shows no trace at its own place."""
    model = galaxies[0][4]
    first = observe(model, stream(SEED, Stage.SPECTRUM, 5))
    spike = np.zeros_like(model)
    spike[4000] = 50 * np.median(first.flux)
    with_line = observe(model + spike, stream(SEED, Stage.SPECTRUM, 5))
    assert np.array_equal(first.ivar == 0, with_line.ivar == 0)
    ratio = with_line.ivar[3990:4011] / first.ivar[3990:4011]
    good = np.isfinite(ratio)
    assert np.ptp(ratio[good]) < 0.02


def test_air_and_dust():
    assert vacuum_wavelength(np.array([6562.8]))[0] == pytest.approx(6564.61, abs=0.05)
    assert calzetti(np.array([5500.0]))[0] == pytest.approx(1.0, abs=0.02)
    assert calzetti(np.array([2500.0]))[0] > calzetti(np.array([9000.0]))[0] > 0


def test_questions_follow_the_tree(galaxies):
    for latents, _, _, _, _, shape in galaxies:
        answers = morphology_labels(latents, shape)
        for question, possible in MORPHOLOGY_QUESTIONS.items():
            assert answers.get(morphology_label(question)) in (None, *possible)
        featured = answers["morphology_smooth_or_featured"] == "featured-or-disk"
        edge_on = answers["morphology_disk_edge_on"]
        spiral = answers["morphology_has_spiral_arms"]
        assert (edge_on is not None) == featured
        assert (spiral is not None) == (answers["morphology_bar"] is not None) == (edge_on == "no")
        assert (answers["morphology_spiral_arm_count"] is not None) == (spiral == "yes")
