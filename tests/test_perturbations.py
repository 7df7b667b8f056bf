"""Perturbations of arrays: what each does, that nothing else happens, and that an object keeps its own noise."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.errors import TaskError
from astroclip_bench.perturbations import (
    EXTINCTION_PER_EBV,
    GENERAL,
    RECALIBRATION,
    dust_per_ebv,
    frame_noise,
    perturbations,
    spectrum_noise,
)
from astroclip_bench.records import Modality, image_modality, photometry_modality, spectrum_modality

IMAGE, SPECTRUM, PHOTOMETRY = image_modality(size=64), spectrum_modality(), photometry_modality("gr")
EVERY = perturbations([IMAGE, SPECTRUM, PHOTOMETRY])
IDS = ["a", "39633", "b c"]
NOISE_NMGY = (0.01, 0.02, 0.05)
EFFECTIVE_ANGSTROM = {"g": 4850.0, "r": 6430.0, "z": 9170.0}
"""Of the bands, on the spectrum of a galaxy."""


def arrays_of(modality):
    """Return columns of three objects: sky with a source in the middle, a sloping spectrum, fluxes."""
    random = np.random.default_rng(7)
    if modality is PHOTOMETRY:
        return {"flux_g": np.array([1.0, 2.0, 3.0], np.float32), "flux_r": np.array([4.0, 5.0, 6.0], np.float32)}
    if modality is SPECTRUM:
        ivar = random.uniform(0.5, 2.0, (3, 7781)).astype(np.float32)
        ivar[:, 500:600] = 0
        flux = np.linspace(1, 3, 7781) * np.ones((3, 1))
        return {"flux": flux.astype(np.float32), "ivar": ivar}
    image = random.normal(size=(3, 3, 64, 64)) * np.array(NOISE_NMGY)[:, None, None]
    image[..., 30:34, 30:34] += 5.0
    return {"image": image.astype(np.float32)}


CASES = [
    pytest.param(item, modality, id=f"{item.name}-{modality.name}")
    for item in EVERY.values()
    for modality in (IMAGE, SPECTRUM, PHOTOMETRY)
    if item.effect_on(modality)
]


def test_every_kind_of_modality_is_touched_by_what_can_befall_it():
    touched = {
        modality.name: {item.name for item in EVERY.values() if item.effect_on(modality)}
        for modality in (IMAGE, SPECTRUM, PHOTOMETRY)
    }
    assert touched["image"] == {"noise", "psf", "dust", "missing-pixels", "missing-g", "missing-r", "missing-z"}
    assert touched["spectrum"] == {"noise", "dust", "missing-pixels", "tilt"}
    assert touched["photometry"] == {"dust", "missing-g", "missing-r"}


def test_only_what_touches_the_data_set_is_offered():
    assert set(perturbations([PHOTOMETRY])) == {"dust", "missing-g", "missing-r"}
    text = Modality("text", ("caption",), (), "", "Words")
    assert perturbations([text]) == {}


@pytest.mark.parametrize(("item", "modality"), CASES)
def test_level_zero_changes_no_bit_and_other_levels_change_something(item, modality):
    arrays = arrays_of(modality)
    assert item.levels[0] == 0
    assert list(item.levels) == sorted(set(item.levels))
    clean = item.apply(arrays, modality, IDS, 0.0)
    assert all(np.array_equal(clean[name], array) for name, array in arrays.items())
    before = {name: array.copy() for name, array in arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False  # as a data set gives them
    changed = item.apply(arrays, modality, IDS, item.levels[-1])
    assert any((changed[name] != array).any() for name, array in arrays.items())
    assert {(name, array.dtype, array.shape) for name, array in changed.items()} == {
        (name, array.dtype, array.shape) for name, array in arrays.items()
    }
    assert all(np.isfinite(array).all() for array in changed.values())
    assert all(np.array_equal(arrays[name], before[name]) for name in arrays)


@pytest.mark.parametrize(("item", "modality"), CASES)
def test_an_object_is_perturbed_alike_in_any_company_and_place(item, modality):
    arrays, level = arrays_of(modality), item.levels[-1]
    together = item.apply(arrays, modality, IDS, level)
    turned = item.apply({name: array[::-1] for name, array in arrays.items()}, modality, IDS[::-1], level)
    for place, name in enumerate(IDS):
        alone = item.apply({key: array[[place]] for key, array in arrays.items()}, modality, [name], level)
        for key, array in together.items():
            assert np.array_equal(array[place], turned[key][-1 - place])
            assert np.array_equal(array[place], alone[key][0])


def test_two_objects_have_different_noise():
    arrays = {"image": np.repeat(arrays_of(IMAGE)["image"][:1], 2, axis=0)}
    first, second = EVERY["noise"].apply(arrays, IMAGE, ["a", "b"], 1.0)["image"]
    assert abs(np.corrcoef((first - arrays["image"][0]).ravel(), (second - arrays["image"][0]).ravel())[0, 1]) < 0.05


def test_noise_of_a_spectrum_is_as_told_and_the_ivar_tells_it():
    arrays = arrays_of(SPECTRUM)
    noisy = EVERY["noise"].apply(arrays, SPECTRUM, IDS, 2.0)
    good = arrays["ivar"] > 0
    added = (noisy["flux"] - arrays["flux"])[good] * np.sqrt(arrays["ivar"][good])
    assert added.std() == pytest.approx(2.0, rel=0.02)
    assert abs(added.mean()) < 0.05
    assert np.allclose(noisy["ivar"], arrays["ivar"] / 5)
    assert np.array_equal(noisy["flux"][~good], arrays["flux"][~good])


def test_noise_of_an_image_is_as_told_in_each_band():
    arrays = arrays_of(IMAGE)
    assert frame_noise(arrays["image"]) == pytest.approx(np.tile(NOISE_NMGY, (3, 1)), rel=0.1)
    noisy = EVERY["noise"].apply(arrays, IMAGE, IDS, 3.0)["image"]
    added = (noisy - arrays["image"]).std(axis=(0, 2, 3))
    assert added == pytest.approx(3 * np.array(NOISE_NMGY), rel=0.05)


def test_the_noise_grows_and_stays_the_same_noise():
    arrays = arrays_of(IMAGE)
    small, large = (EVERY["noise"].apply(arrays, IMAGE, IDS, level)["image"] - arrays["image"] for level in (1.0, 4.0))
    assert np.allclose(4 * small, large, atol=1e-5)


def test_noise_is_estimated_where_nothing_tells_of_it():
    bare = Modality("spectrum", ("flux",), SPECTRUM.shape, SPECTRUM.unit, "no ivar", SPECTRUM.axes)
    flux = np.linspace(1, 3, 7781) + 0.3 * np.random.default_rng(1).normal(size=(3, 7781))
    assert spectrum_noise({"flux": flux}, bare) == pytest.approx(np.full((3, 7781), 0.3), rel=0.05)
    assert (EVERY["noise"].apply({"flux": flux}, bare, IDS, 1.0)["flux"] - flux).std() == pytest.approx(0.3, rel=0.05)


def test_blur_conserves_flux_and_adds_its_width():
    image = np.zeros((1, 3, 64, 64), np.float32)
    image[..., 32, 32] = 1.0
    blurred = EVERY["psf"].apply({"image": image}, IMAGE, ["a"], 2.0)["image"].astype(float)
    assert blurred.sum(axis=(2, 3)) == pytest.approx(1.0, rel=1e-5)
    place = np.arange(64) - 32
    sigma_pixels = np.sqrt((blurred[0, 0].sum(axis=0) * place**2).sum())
    assert sigma_pixels * 0.262 * 2.3548 == pytest.approx(2.0, rel=0.01)


def test_blur_leaves_the_depth():
    blurred = EVERY["psf"].apply(arrays_of(IMAGE), IMAGE, IDS, 2.0)["image"]
    assert frame_noise(blurred).mean(axis=0) == pytest.approx(NOISE_NMGY, rel=0.1)


def test_the_curve_of_dust_is_fitzpatricks():
    extinction = pytest.importorskip("extinction")
    wave = np.linspace(3600.0, 9824.0, 300)
    expected = RECALIBRATION * extinction.fitzpatrick99(wave, 3.1, 3.1)
    assert dust_per_ebv(wave) == pytest.approx(expected, rel=0.01)


def test_bands_and_spectra_are_dimmed_alike():
    for band, wave in EFFECTIVE_ANGSTROM.items():
        assert dust_per_ebv(np.array([wave]))[0] == pytest.approx(EXTINCTION_PER_EBV[band], rel=0.05)


def test_dust_dims_the_source_and_not_the_noise():
    arrays = arrays_of(IMAGE)
    dimmed = EVERY["dust"].apply(arrays, IMAGE, IDS, 0.5)["image"]
    source = slice(30, 34)
    ratio = dimmed[..., source, source].mean(axis=(0, 2, 3)) / arrays["image"][..., source, source].mean(axis=(0, 2, 3))
    coefficients = np.array([EXTINCTION_PER_EBV[band] for band in "grz"])
    assert ratio == pytest.approx(10 ** (-0.2 * coefficients), rel=0.01)
    assert frame_noise(dimmed).mean(axis=0) == pytest.approx(NOISE_NMGY, rel=0.1)


def test_dust_before_a_spectrum_keeps_its_ivar_true():
    arrays = arrays_of(SPECTRUM)
    arrays["flux"] = (np.random.default_rng(3).normal(size=(3, 7781)) / np.sqrt(arrays["ivar"] + 1e-9)).astype(
        np.float32
    )
    arrays["flux"][arrays["ivar"] == 0] = 0
    dimmed = EVERY["dust"].apply(arrays, SPECTRUM, IDS, 1.0)
    assert np.array_equal(dimmed["ivar"], arrays["ivar"])
    good = arrays["ivar"] > 0
    assert (dimmed["flux"] * np.sqrt(dimmed["ivar"]))[good].std() == pytest.approx(1.0, rel=0.02)


def test_dust_dims_photometry_and_refuses_a_band_without_a_coefficient():
    dimmed = EVERY["dust"].apply(arrays_of(PHOTOMETRY), PHOTOMETRY, IDS, 1.0)
    assert dimmed["flux_g"] == pytest.approx(np.array([1, 2, 3]) * 10 ** (-0.4 * 3.214), rel=1e-5)
    strange = photometry_modality(["g", "Q"])
    with pytest.raises(TaskError, match="'Q'"):
        EVERY["dust"].apply({"flux_g": np.ones(1), "flux_Q": np.ones(1)}, strange, ["a"], 1.0)


@pytest.mark.parametrize("modality", [IMAGE, SPECTRUM], ids=lambda modality: modality.name)
def test_the_share_asked_for_goes_missing_in_every_column_and_more_of_the_same(modality):
    ids = [str(number) for number in range(40)]
    ones = {name: np.ones((40, *modality.shape), np.float32) for name in modality.columns}
    few, many = (EVERY["missing-pixels"].apply(ones, modality, ids, share) for share in (0.1, 0.6))
    for name in modality.columns:
        assert (few[name] == 0).mean() == pytest.approx(0.1, abs=0.02)
        assert (many[name] == 0).mean() == pytest.approx(0.6, abs=0.03)
        assert (many[name][few[name] == 0] == 0).all()
        assert np.array_equal(few[name] == 0, few[modality.columns[0]] == 0)
    assert len(np.unique(many[modality.columns[0]])) == 2


def test_a_missing_band_is_zero_and_the_others_are_left():
    arrays = arrays_of(IMAGE)
    changed = EVERY["missing-r"].apply(arrays, IMAGE, IDS, 1.0)["image"]
    assert not changed[:, 1].any()
    assert np.array_equal(changed[:, [0, 2]], arrays["image"][:, [0, 2]])
    fluxes = EVERY["missing-r"].apply(arrays_of(PHOTOMETRY), PHOTOMETRY, IDS, 1.0)
    assert not fluxes["flux_r"].any()
    assert fluxes["flux_g"].tolist() == [1, 2, 3]


def test_a_tilt_turns_the_spectrum_about_its_middle_and_keeps_its_significance():
    arrays = arrays_of(SPECTRUM)
    tilted = EVERY["tilt"].apply(arrays, SPECTRUM, IDS, 0.2)
    factor = tilted["flux"] / arrays["flux"]
    assert factor[0, [0, 3890, -1]] == pytest.approx([0.8, 1.0, 1.2], rel=1e-5)
    assert np.allclose(tilted["flux"] ** 2 * tilted["ivar"], arrays["flux"] ** 2 * arrays["ivar"], rtol=1e-5)


def test_names_are_unique():
    assert len({item.name for item in GENERAL}) == len(GENERAL)
