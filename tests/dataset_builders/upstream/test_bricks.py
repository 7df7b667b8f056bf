"""The grid of the Legacy Surveys' bricks against real catalogues."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.errors import DataError
from dataset_builders.upstream.bricks import N_BRICKS, brick_centre

fits = pytest.importorskip("astropy.io.fits")


@pytest.mark.parametrize(
    ("brick", "ra", "dec"),
    [(1, 180.0, -90.0), (N_BRICKS, 180.0, 90.0), (330_368, 0.125, 0.0), (330_367, 359.875, -0.25)],
)
def test_corners_of_the_grid(brick, ra, dec):
    np.testing.assert_allclose(brick_centre(brick), (ra, dec), atol=1e-9)


def test_real_targets_lie_in_their_bricks(realdata):
    tables = [fits.getdata(path, "FIBERMAP") for path in sorted((realdata / "desi").glob("coadd-*.fits"))]
    seen = set()
    for table in tables:
        for row in table[table["BRICKID"] > 0]:
            ra, dec = brick_centre(row["BRICKID"])
            assert abs(row["TARGET_DEC"] - dec) <= 0.125
            assert abs(row["TARGET_RA"] - ra) * np.cos(np.radians(dec)) <= 0.13
            seen.add(int(row["BRICKID"]))
    assert seen == {349_954, 349_955, 607_466}


def test_the_name_of_a_real_brick_is_its_centre():
    # Brick 1054p567: right ascension 105.4, declination +56.7.
    ra, dec = brick_centre(607_466)
    assert (int(ra * 10), int(dec * 10)) == (1054, 567)


@pytest.mark.parametrize("brick", [0, N_BRICKS + 1, -5])
def test_no_such_brick(brick):
    with pytest.raises(DataError, match="1 to 662174"):
        brick_centre([7, brick])
