"""The SDSS photometry sample becomes a data set, and bad catalogues one clear line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from astroclip_bench.datasets import check_dataset, open_dataset
from astroclip_bench.errors import DataError, StorageError
from astroclip_bench.files import sha256_file
from dataset_builders.parquet import build_dataset
from dataset_builders.sdss_photometry.source import SdssPhotometry
from dataset_builders.splits import split_of_pixel

fits = pytest.importorskip("astropy.io.fits")

BANDS = "ugriz"


@pytest.fixture(scope="module")
def catalogue(realdata):
    return realdata / "photometry/sdss_spectroscopic_sample.fits"


@pytest.fixture(scope="module")
def folder(catalogue, tmp_path_factory):
    return build_dataset(SdssPhotometry(catalogue), tmp_path_factory.mktemp("sdss") / "out")


def test_the_real_sample(folder, catalogue):
    dataset = open_dataset(folder)
    assert {name: split.rows for name, split in dataset.splits.items()} == {
        "train": 22_986,
        "validation": 3_792,
        "test": 5_143,
    }
    assert not dataset.info.simulated
    assert list(dataset.modalities) == ["photometry"]
    assert dataset.modalities["photometry"].axes["bands"] == list(BANDS)
    build = json.loads((folder / "manifest.json").read_text())["build"]
    (step,) = build["steps"]
    assert (step["read"], step["kept"]) == (31_924, 31_921)
    assert {reason: n for reason, n in step["dropped"].items() if n} == {"redshift not between 0 and 1": 3}
    assert build["kept_with_an_unmeasured_band"] == 1_633
    (file,) = build["inputs"]
    assert file["path"] == catalogue.name
    assert (file["bytes"], file["sha256"]) == (catalogue.stat().st_size, sha256_file(catalogue))
    assert check_dataset(folder).rows == 31_924 - 3


def test_rows_are_those_of_the_file(folder, catalogue):
    test = open_dataset(folder).splits["test"]
    table = fits.getdata(catalogue, 1)
    rows = np.array(test.object_ids, int)
    for index, band in enumerate(BANDS):
        np.testing.assert_array_equal(test.column(f"flux_{band}"), table["MAGGIES"][rows, index])
    np.testing.assert_allclose(test.column("redshift"), table["REDSHIFT"][rows], rtol=1e-6)
    np.testing.assert_allclose(test.column("mag_r"), 22.5 - 2.5 * np.log10(test.column("flux_r")), rtol=1e-6)
    assert set(split_of_pixel(test.column("healpix")).tolist()) == {"test"}


def test_redshift_can_be_learnt_from_it(folder):
    from sklearn.neighbors import KNeighborsRegressor

    dataset = open_dataset(folder)

    def features(split):
        magnitudes = -2.5 * np.log10(np.stack([split.column(f"flux_{band}") for band in BANDS], axis=1))
        return np.column_stack([magnitudes[:, 2], -np.diff(magnitudes, axis=1)])

    train, test = dataset.splits["train"], dataset.splits["test"]
    scale = features(train).std(axis=0)
    probe = KNeighborsRegressor(64, weights="distance").fit(features(train) / scale, train.column("redshift"))
    assert probe.score(features(test) / scale, test.column("redshift")) > 0.87


def made_up(path, rows=20, **changes):
    random = np.random.default_rng(1)
    columns = {
        "MAGGIES": random.uniform(1, 9, (rows, 8)),
        "MAGGIES_IVAR": np.ones((rows, 8)),
        "REDSHIFT": random.uniform(0.1, 0.3, rows),
        "RA": random.uniform(0, 360, rows),
        "DEC": random.uniform(-30, 30, rows),
    }
    columns |= changes
    formats = {
        name: f"{values.shape[1]}E" if values.ndim == 2 else "D"
        for name, values in columns.items()
        if values is not None
    }
    table = fits.BinTableHDU.from_columns(
        [fits.Column(name, format=code, array=columns[name]) for name, code in formats.items()]
    )
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return path


def test_rows_dropped_are_counted_by_reason(tmp_path):
    flux, ivar, redshift = np.ones((20, 8)), np.ones((20, 8)), np.full(20, 0.2)
    flux[0, 4], flux[1, 0], flux[2, 7] = -1.0, np.nan, 0.0
    ivar[0, 4], ivar[3, 2] = 0.0, 0.0
    redshift[4:7] = -0.001, 1.2, np.nan
    source = SdssPhotometry(made_up(tmp_path / "t.fits", MAGGIES=flux, MAGGIES_IVAR=ivar, REDSHIFT=redshift))
    assert list(source.build_record()["steps"][0]["dropped"].values()) == [0, 2, 3]
    (batch,) = source.rows(0)
    assert batch.column("object_id").to_pylist() == [str(row) for row in (2, 3, *range(7, 20))]
    assert source.card()["Known defects"].startswith("* 1 rows have an inverse variance of 0")
    card = (build_dataset(source, tmp_path / "out") / "README.md").read_text()
    assert "| catalogue | 20 | 15 | 2 flux not positive in a band; 3 redshift not between 0 and 1 |" in card


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"REDSHIFT": None}, "column REDSHIFT is missing from HDU"),
        ({"MAGGIES": np.ones((20, 3))}, r"MAGGIES has shape \(20, 3\); expected at least 5 bands"),
        ({"REDSHIFT": np.full(20, 7.0)}, "none of the 20 rows passes the cuts"),
    ],
)
def test_a_bad_table_gives_one_line(tmp_path, changes, message):
    path = made_up(tmp_path / "bad.fits", **changes)
    with pytest.raises(DataError, match=message) as caught:
        SdssPhotometry(path)
    assert "bad.fits" in str(caught.value)


def test_a_file_that_is_no_table_gives_one_line(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        SdssPhotometry(tmp_path / "none.fits")
    (tmp_path / "text.fits").write_text("not a FITS file")
    with pytest.raises(DataError, match=r"text.fits: not a readable FITS file"):
        SdssPhotometry(tmp_path / "text.fits")
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "image.fits")
    with pytest.raises(DataError, match=r"image.fits: no table"):
        SdssPhotometry(tmp_path / "image.fits")
    whole = made_up(tmp_path / "whole.fits", rows=200).read_bytes()
    (tmp_path / "part.fits").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"part.fits: truncated"):
        SdssPhotometry(tmp_path / "part.fits")


def test_command(tmp_path):
    import typer

    from dataset_builders.sdss_photometry.command import build

    app = typer.Typer()
    app.command()(build)
    path = made_up(tmp_path / "t.fits")
    result = CliRunner().invoke(app, ["--catalogue", str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert result.stdout.strip() == str(tmp_path / "out")
    assert "catalogue: 20 of 20 rows; left out: none" in result.stderr
    assert check_dataset(tmp_path / "out").rows == 20
