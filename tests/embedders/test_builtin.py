"""The floors: magnitudes, random projection, mean."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.embedders import check_embedder, load_embedder
from astroclip_bench.embedders.builtin import asinh_magnitude
from astroclip_bench.errors import EmbedderError


def fluxes(bands: str, magnitudes: np.ndarray) -> dict[str, np.ndarray]:
    return {
        f"flux_{band}": (10 ** ((22.5 - magnitudes[:, i]) / 2.5)).astype(np.float32) for i, band in enumerate(bands)
    }


def test_magnitudes_are_pogson_when_bright_and_finite_when_faint():
    assert asinh_magnitude(100.0) == pytest.approx(17.5, abs=1e-5)
    assert asinh_magnitude([0.0, -1.0, 1e-9]) == pytest.approx([25.0, 27.5, 25.0], abs=0.05)


def test_vectors_hold_magnitude_and_colours():
    vectors = load_embedder("photometry").embed(fluxes("grz", np.array([[18.0, 17.2, 16.7]])), "photometry")
    wanted = np.zeros(16)
    wanted[[0, 1, 5, 6]] = [1.0, 0.3 * 0.25 * (17.2 - 20), 0.3 * (0.8 - 0.7), 0.3 * (0.5 - 0.7)]
    np.testing.assert_allclose(vectors[0], wanted, atol=1e-4)


def test_order_of_columns_does_not_matter_and_any_bands_do():
    batch = fluxes("ugriz", np.random.default_rng(0).uniform(16, 22, (9, 5)))
    embedder = load_embedder("photometry")
    np.testing.assert_array_equal(
        embedder.embed(batch, "photometry"), embedder.embed(dict(reversed(batch.items())), "photometry")
    )
    one_band = embedder.embed({"flux_W1": np.array([1.0, -3.0], np.float32)}, "photometry")
    assert np.isfinite(one_band).all()
    assert np.count_nonzero(one_band[0]) == 2


def test_dividing_by_the_length_keeps_neighbours():
    magnitudes = np.random.default_rng(1).normal([19, 18, 17.5], [1, 1, 1], (300, 3))
    vectors = load_embedder("photometry").embed(fluxes("grz", magnitudes), "photometry").astype(float)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def nearest(x):
        distance = np.linalg.norm(x[:, None] - x[None], axis=2) + 1e9 * np.eye(len(x))
        return distance.argmin(1)

    assert np.mean(nearest(vectors) == nearest(unit)) > 0.9


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"flux_Q": np.ones(2, np.float32)}, "columns flux_Q, which are no fluxes of a known band"),
        ({"redshift": np.ones(2, np.float32)}, "columns redshift"),
        ({}, "columns none"),
    ],
)
def test_photometry_refuses_other_columns(batch, message):
    with pytest.raises(EmbedderError, match=message):
        load_embedder("photometry").embed(batch, "photometry")
    with pytest.raises(EmbedderError, match="takes no modality 'image'"):
        load_embedder("photometry").embed(batch, "image")


def test_projection_keeps_distances_and_is_the_same_every_time():
    generator = np.random.default_rng(0)
    spectra = {"flux": generator.normal(size=(30, 9000)).astype(np.float32)}
    first, second = (load_embedder("random-projection").embed(spectra, "spectrum") for _ in range(2))
    np.testing.assert_array_equal(first, second)
    stretched = np.arcsinh(spectra["flux"].astype(float))
    true = np.linalg.norm(stretched[:15] - stretched[15:], axis=1) / np.sqrt(9000)
    kept = np.linalg.norm(first[:15] - first[15:], axis=1) / np.sqrt(128)
    assert np.abs(kept / true - 1).max() < 0.3


def test_projection_is_the_same_on_every_machine():
    vector = load_embedder("random-projection").embed({"flux": np.ones((1, 5), np.float32)}, "spectrum")[0]
    np.testing.assert_allclose(vector[:3], [1.084994, -0.965078, 0.389181], rtol=1e-5)


def test_projection_leaves_the_inverse_variance_out(split):
    batch = {"flux": split.arrays["flux"], "ivar": split.arrays["ivar"]}
    other = {**batch, "ivar": batch["ivar"] * 5}
    embedder = load_embedder("random-projection")
    np.testing.assert_array_equal(embedder.embed(batch, "spectrum"), embedder.embed(other, "spectrum"))


def test_mean_is_constant(split):
    vectors = load_embedder("mean").embed({"image": split.arrays["image"]}, "image")
    assert vectors.shape == (20, 8)
    assert np.ptp(vectors) == 0


@pytest.mark.parametrize("name", ["photometry", "random-projection", "mean"])
def test_each_passes_the_contract(name, dataset):
    report = check_embedder(load_embedder(name), dataset)
    assert report.passed
    assert [check.name for check in report.checks if check.warning] == (["output"] if name == "mean" else [])


def redshift_scores(vectors, redshift, train, test, k):
    from sklearn.neighbors import KNeighborsRegressor

    fitted = KNeighborsRegressor(k, weights="distance").fit(vectors[train], redshift[train])
    predicted, true = fitted.predict(vectors[test]), redshift[test]
    r2 = 1 - np.sum((predicted - true) ** 2) / np.sum((true - true.mean()) ** 2)
    scaled = (predicted - true) / (1 + true)
    return r2, 1.4826 * np.median(np.abs(scaled - np.median(scaled)))


def test_real_galaxies_of_sdss(realdata):
    from astropy.io import fits

    from dataset_builders.splits import healpix_pixel, split_of_pixel

    table = fits.getdata(realdata / "photometry" / "sdss_spectroscopic_sample.fits")
    redshift = np.array(table["REDSHIFT"], float)
    batch = {f"flux_{band}": np.array(table["MAGGIES"][:, i], np.float32) for i, band in enumerate("ugriz")}
    vectors = load_embedder("photometry").embed(batch, "photometry").astype(np.float64)
    split = split_of_pixel(healpix_pixel(table["RA"], table["DEC"]))
    train, test = split == "train", split == "test"

    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    r2, nmad = redshift_scores(unit, redshift, train, test, 16)
    assert r2 >= 0.87
    assert nmad <= 0.024

    spread = vectors[train].std(0)
    standard = (vectors - vectors[train].mean(0)) / np.where(spread > 0, spread, 1)
    r2, nmad = redshift_scores(standard, redshift, train, test, 64)
    assert r2 >= 0.87
    assert nmad <= 0.023
