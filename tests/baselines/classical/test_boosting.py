"""Trees on magnitudes and colours: their features, the number of trees, and real galaxies."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score

from astroclip_bench.datasets import open_dataset
from baselines.classical import averages
from baselines.classical.boosting import BoostingSettings, magnitudes_and_colours, predict_labels
from dataset_builders.parquet import build_dataset


class Columns:
    """A split of few columns."""

    def __init__(self, name="train", **columns):
        self.name, self.columns = name, columns
        self.rows = len(next(iter(columns.values())))

    def column(self, name):
        """Return a column."""
        return self.columns[name]


class Dataset:
    """A data set of photometry in which colour tells redshift, and of random numbers for `mass`."""

    def __init__(self, rows=600):
        random = np.random.default_rng(0)
        self.modalities = {"photometry": type("Modality", (), {"columns": ("flux_g", "flux_r")})}
        self.splits = {}
        for name in ("train", "validation", "test"):
            redshift = random.uniform(0, 1, rows)
            flux = random.uniform(10, 100, rows)
            labels = {
                "redshift": np.where(random.random(rows) < 0.2, np.nan, redshift),
                "mass": random.normal(size=rows),
            }
            self.splits[name] = Columns(name, flux_g=flux * np.exp(-redshift), flux_r=flux, **labels)


def test_features_of_bright_sources_are_magnitudes_and_their_differences():
    features = magnitudes_and_colours(Columns(flux_g=np.array([1e3]), flux_r=np.array([1e4])), ["flux_g", "flux_r"])
    np.testing.assert_allclose(features, [[22.5 - 7.5, 22.5 - 10.0, 2.5]], atol=1e-4)


def test_labels_are_learnt_where_they_can_be():
    dataset = Dataset()
    found = predict_labels(dataset, ["redshift", "mass"], BoostingSettings(60), 0)
    test = dataset.splits["test"]
    known = np.isfinite(test.column("redshift"))
    assert r2_score(test.column("redshift")[known], found["redshift"][known]) > 0.97
    # Noise is best predicted by few trees, and the validation split says so: 60 of them would give about -0.3.
    assert r2_score(test.column("mass"), found["mass"]) > -0.03


def test_it_repeats_itself():
    first, second = (predict_labels(Dataset(200), ["mass"], BoostingSettings(10), 0)["mass"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_mean_leaves_out_what_is_missing():
    dataset = Dataset()
    found = averages.predict_labels(dataset, ["redshift"])["redshift"]
    np.testing.assert_allclose(found, np.nanmean(dataset.splits["train"].column("redshift")))
    assert len(found) == dataset.splits["test"].rows


def test_real_sdss_photometry(realdata, tmp_path):
    from dataset_builders.sdss_photometry.source import SdssPhotometry

    catalogue = realdata / "photometry/sdss_spectroscopic_sample.fits"
    dataset = open_dataset(build_dataset(SdssPhotometry(catalogue), tmp_path / "sdss"))
    found = predict_labels(dataset, ["redshift"], BoostingSettings(400), 0)["redshift"]
    truth = dataset.splits["test"].column("redshift")
    assert r2_score(truth, found) >= 0.89
    error = (found - truth) / (1 + truth)
    assert 1.4826 * np.median(np.abs(error - np.median(error))) <= 0.023
    assert r2_score(truth, found) == pytest.approx(0.8908, abs=0.002)
