"""The split rule is part of the data: these values never change."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.errors import DataError
from dataset_builders.splits import healpix_pixel, pixel_uniform, split_of_pixel

N_PIXELS = 12 * 64 * 64


def test_the_rule_is_pinned():
    assert split_of_pixel(np.arange(12)).tolist() == (
        ["train", "test", "train", "train", "train", "train", "train", "test", "train", "train", "test", "validation"]
    )
    assert split_of_pixel(26065) == "test"
    assert pixel_uniform(26065) == pytest.approx(0.949201151409026, abs=1e-15)


def test_fractions_over_the_whole_sky():
    names, counts = np.unique(split_of_pixel(np.arange(N_PIXELS)), return_counts=True)
    fractions = dict(zip(names.tolist(), counts / N_PIXELS, strict=True))
    assert fractions == pytest.approx({"train": 0.70, "validation": 0.15, "test": 0.15}, abs=0.005)


def test_shape_is_kept_and_repeats_agree():
    pixels = np.array([[3, 3, 11], [11, 0, 3]])
    assert split_of_pixel(pixels).tolist() == [["train", "train", "validation"], ["validation", "train", "train"]]
    assert split_of_pixel(np.array([], np.int64)).shape == (0,)


def test_pixels_follow_desi(realdata):
    fits = pytest.importorskip("astropy.io.fits")
    fibermap = fits.getdata(realdata / "desi/coadd-sv3-dark-26065.fits", "FIBERMAP")
    assert set(healpix_pixel(fibermap["TARGET_RA"], fibermap["TARGET_DEC"]).tolist()) == {26065}


def test_right_ascension_wraps():
    assert healpix_pixel([-0.01], [30.0]) == healpix_pixel([359.99], [30.0])


@pytest.mark.parametrize(("ra", "dec"), [(np.nan, 0.0), (10.0, 90.5)])
def test_impossible_positions_are_refused(ra, dec):
    with pytest.raises(DataError, match="1 sky positions"):
        healpix_pixel([ra, 10.0], [dec, 10.0])
