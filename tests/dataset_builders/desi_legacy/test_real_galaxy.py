"""The real bright galaxy of EDR, from its coadd, redrock file and a viewer cut-out to a built record."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astroclip_bench.datasets import check_dataset, open_dataset
from dataset_builders.desi_legacy.command import build

TARGET = "39633345008634465"
RA_DEG, DEC_DEG = 105.48977452, 56.66930006
OVERLAPS = {"B-R": slice(2700, 2751), "R-Z": slice(4900, 5026)}
"""Pixels of the common grid that two arms cover."""


@pytest.fixture(scope="module")
def files(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the real spectrum, and a real cut-out (of another galaxy) moved to its place on the sky."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "spectra").mkdir()
    for name in ("coadd", "redrock"):
        shutil.copy(realdata / f"desi/{name}-4-80613-thru20210324.fits", folder / "spectra")
    (folder / "cutouts").mkdir()
    with fits.open(realdata / "legacy/zoobot_example_b.fits") as hdus:
        hdus[0].header["CRVAL1"], hdus[0].header["CRVAL2"] = RA_DEG, DEC_DEG
        hdus.writeto(folder / f"cutouts/{TARGET}.fits")
    return folder


@pytest.fixture(scope="module")
def galaxy(files: Path) -> dict[str, np.ndarray]:
    """Return the one built record."""
    out = files / "out"
    build(spectra=files / "spectra", images=files / "cutouts", out=out, mask=True, resolution=True)
    assert check_dataset(out).rows == 1
    [split] = [view for view in open_dataset(out).splits.values() if view.rows]
    return {name: split.column(name)[0] for name in split.schema.names if name != "preview"}


@pytest.fixture(scope="module")
def arms(realdata: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return the three arms as they lie in the file, and where they begin on the common grid."""
    with fits.open(realdata / "desi/coadd-4-80613-thru20210324.fits") as hdus:
        return {
            arm: {
                "start": round((hdus[f"{arm}_WAVELENGTH"].data[0] - 3600) / 0.8),
                **{name: hdus[f"{arm}_{name.upper()}"].data[0].astype(np.float64) for name in ("flux", "ivar")},
            }
            for arm in "BRZ"
        }


def test_labels_and_match(galaxy):
    assert galaxy["object_id"] == TARGET
    assert galaxy["redshift"] == pytest.approx(0.368744, abs=5e-7)
    assert galaxy["zwarn"] == 0
    assert galaxy["match_method"] == "sky"
    assert galaxy["match_separation"] < 0.05
    # Tractor: 3.24, 5.95, 8.34 nanomaggies in g, r, z.
    np.testing.assert_allclose([galaxy[f"flux_{band}"] for band in "grz"], [3.24, 5.95, 8.34], atol=0.005)
    assert galaxy["flux_W1"] == pytest.approx(7.008, abs=0.001)
    assert galaxy["mag_r"] == pytest.approx(22.5 - 2.5 * np.log10(5.95), abs=1e-3)


def test_flux_is_identical_to_the_arms_outside_the_overlaps(galaxy, arms):
    covered = np.zeros(7781, int)
    for arm in arms.values():
        covered[arm["start"] : arm["start"] + len(arm["flux"])] += 1
    assert covered.min() == 1
    for arm in arms.values():
        pixels = np.arange(arm["start"], arm["start"] + len(arm["flux"]))
        alone = covered[pixels] == 1
        for name in ("flux", "ivar"):
            np.testing.assert_array_equal(galaxy[name][pixels[alone]], arm[name][alone].astype(np.float32))


@pytest.mark.parametrize("pair", OVERLAPS)
def test_flux_is_weighted_by_ivar_inside_the_overlaps(galaxy, arms, pair):
    pixels = OVERLAPS[pair]
    sides = [arms[name] for name in pair.split("-")]
    flux, ivar = (
        np.stack([side[name][pixels.start - side["start"] : pixels.stop - side["start"]] for side in sides])
        for name in ("flux", "ivar")
    )
    weighted = (flux * ivar).sum(0) / ivar.sum(0)
    assert (ivar.sum(0) > 0).all()
    assert np.abs(weighted - flux[0]).max() > 0.1
    np.testing.assert_allclose(galaxy["flux"][pixels], weighted, rtol=1e-6)
    np.testing.assert_allclose(galaxy["ivar"][pixels], ivar.sum(0), rtol=1e-6)


def test_mask_and_resolution_come_along_when_asked_for(galaxy):
    assert galaxy["mask"].shape == (7781,)
    assert (galaxy["ivar"][galaxy["mask"] != 0] == 0).all()
    assert galaxy["resolution"].shape == (11, 7781)
    # Each pixel's light is spread, none is lost: the diagonals of a pixel's row sum to about one.
    assert np.median(galaxy["resolution"].sum(axis=0)) == pytest.approx(1, abs=0.02)
