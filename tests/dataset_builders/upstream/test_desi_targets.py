"""TARGETIDs are taken apart and put together by the published bits."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.errors import DataError
from dataset_builders.upstream.desi_targets import decode_target_id, encode_target_id, has_imaging_key

PUBLISHED = 39633390185481181
"""Object 989 of brick 618237 in release 9011."""


def test_published_target():
    key = decode_target_id(PUBLISHED)
    assert (key.brick_object_id, key.brick_id, key.release, key.mock, key.sky, key.gaia_dr) == (
        989,
        618237,
        9011,
        0,
        0,
        0,
    )
    assert encode_target_id(9011, 618237, 989) == PUBLISHED


def test_real_fibermap(realdata):
    fits = pytest.importorskip("astropy.io.fits")
    with fits.open(realdata / "desi/coadd-4-80613-thru20210324.fits") as hdus:
        row = hdus["FIBERMAP"].data[0]
        assert (
            encode_target_id(row["RELEASE"], row["BRICKID"], row["BRICK_OBJID"]) == row["TARGETID"] == 39633345008634465
        )


def test_arrays_come_back_whole():
    release, brick_id, object_id = (
        np.array([0, 9010, 65535]),
        np.array([0, 330368, 2**20 - 1]),
        np.array([0, 5, 2**22 - 1]),
    )
    target_id = encode_target_id(release, brick_id, object_id)
    assert target_id.dtype == np.int64
    key = decode_target_id(target_id)
    np.testing.assert_array_equal(key[:3], [release, brick_id, object_id])
    assert decode_target_id((1 << 58) | (1 << 59) | (2 << 60))[3:] == (1, 1, 2)


def test_only_catalogue_objects_have_an_imaging_key():
    flagged = [PUBLISHED | 1 << 58, PUBLISHED | 1 << 59, PUBLISHED | 2 << 60]
    # No release, a secondary target of class 211, and a tertiary target of programme 15.
    others = [encode_target_id(*parts) for parts in ((0, 618237, 989), (211, 618237, 989), (8888, 15, 989))]
    assert has_imaging_key(PUBLISHED)
    assert not has_imaging_key([-5, *flagged, *others]).any()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((65536, 1, 1), "release from 65536 to 65536; expected 0 to 65535"),
        ((1, [1, 2**20], 1), "brick_id from 1 to 1048576; expected 0 to 1048575"),
        ((1, 1, -1), "brick_object_id from -1 to -1; expected 0 to 4194303"),
    ],
)
def test_parts_out_of_range(parts, message):
    with pytest.raises(DataError, match=message):
        encode_target_id(*parts)


def test_negative_targets_have_no_parts():
    with pytest.raises(DataError, match="TARGETID -7 is negative"):
        decode_target_id([3, -7])
