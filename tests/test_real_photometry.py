"""Real galaxies, end to end: catalogue, data set, built-in embedder, both protocols."""

from __future__ import annotations

from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import load_embedder
from astroclip_bench.evaluation import evaluate
from dataset_builders.parquet import build_dataset
from dataset_builders.sdss_photometry.source import SdssPhotometry


def test_redshift_from_sdss_magnitudes(realdata, tmp_path):
    catalogue = realdata / "photometry/sdss_spectroscopic_sample.fits"
    dataset = open_dataset(build_dataset(SdssPhotometry(catalogue), tmp_path / "sdss"))
    result = evaluate(load_embedder("photometry"), dataset)
    assert result.complete
    assert not result.dataset["simulated"]
    assert set(result.not_applicable) == {"stellar-mass", "age", "metallicity", "ssfr", "retrieval"}

    def value(protocol, metric):
        (score,) = result.find(protocol=protocol, metric=metric, group="all")
        assert score.low < score.value < score.high
        assert score.n == 5_143
        return score.value

    assert value("knn16", "r2") >= 0.82
    assert value("knn64-std", "r2") >= 0.87
    assert value("knn16", "sigma_nmad") <= 0.031
    assert value("knn64-std", "sigma_nmad") <= 0.023
