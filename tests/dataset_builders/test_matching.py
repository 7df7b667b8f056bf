"""Matching two catalogues: its rules, one by one, and against every pair tried; and that it is local."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation

from astroclip_bench.errors import DataError, UserError
from dataset_builders.matching import (
    MAX_KEY_SEPARATION_ARCSEC,
    OUTCOMES,
    Matches,
    Positions,
    match,
    reach_arcsec,
)
from dataset_builders.upstream.desi_targets import decode_target_id, encode_target_id, has_imaging_key

ARCSEC = 1 / 3600
SOUTH, NORTH = 9010, 9011
GAIA = 1 << 60
"""The bits of a TARGETID that name a Gaia source."""


def south(number):
    return int(encode_target_id(SOUTH, 1, number))


def north(number):
    return int(encode_target_id(NORTH, 1, number))


def line(*rows) -> Positions:
    """Make a catalogue of (offset along the equator in arcsec, TARGETID)."""
    offsets, ids = zip(*rows, strict=True) if rows else ((), ())
    return Positions(np.array(offsets) * ARCSEC + 10.0, np.zeros(len(rows)), np.array(ids, np.int64))


def pairs_of(matches: Matches) -> list[tuple[int, int, str]]:
    return list(zip(matches.left.tolist(), matches.right.tolist(), matches.method.tolist(), strict=True))


def outcomes(matches: Matches) -> list[str]:
    return [OUTCOMES[place].split(": ")[-1] for place in matches.outcome]


def test_an_identifier_goes_before_a_nearer_neighbour():
    found = match(line((0, south(1))), line((0.1, -1), (4.9, south(1))))
    assert pairs_of(found) == [(0, 1, "target_id")]
    assert found.separation_arcsec == pytest.approx([4.9], abs=1e-9)
    assert not found.ambiguous.any()
    assert found.counts["right unmatched"] == 1


def test_an_identifier_far_away_tells_nothing():
    found = match(line((0, south(1)), (60, south(2))), line((0.2, -1), (6, south(1)), (66, south(2))))
    assert pairs_of(found) == [(0, 0, "sky")]
    assert outcomes(found) == ["matched on the sky", "same TARGETID, positions disagree"]


@pytest.mark.parametrize(
    ("left_id", "right_id", "paired"),
    [
        (-1, -1, True),
        (-1, south(1), True),
        (south(1), -1, True),
        (south(1), north(2), True),
        (south(1), south(2), False),
        (GAIA + 1, south(2), True),
        (GAIA + 1, GAIA + 2, True),
        (-1, -5, True),
    ],
)
def test_two_identifiers_of_one_release_are_two_objects(left_id, right_id, paired):
    found = match(line((0, left_id)), line((0.3, right_id)))
    assert pairs_of(found) == ([(0, 0, "sky")] if paired else [])
    assert outcomes(found) == ["matched on the sky" if paired else "no counterpart within the radius"]


def test_only_the_nearest_of_each_other_are_a_pair():
    found = match(line((0, -1), (1.5, -1)), line((0.9, -1)))
    assert pairs_of(found) == [(1, 0, "sky")]
    assert outcomes(found) == ["counterpart has a nearer partner", "matched on the sky"]
    assert found.ambiguous.tolist() == [True]
    assert found.counts["matched on the sky, ambiguous"] == 1
    assert found.counts["left unmatched: counterpart has a nearer partner"] == 1


def test_a_row_paired_by_identifier_is_no_rival():
    left, right = line((0, -1), (1.2, south(1))), line((0.9, -1), (1.3, south(1)))
    found = match(left, right)
    assert pairs_of(found) == [(0, 0, "sky"), (1, 1, "target_id")]
    assert not found.ambiguous.any()


def test_of_two_equally_near_the_identifier_decides_and_not_the_row():
    ids = [GAIA + 7, GAIA + 3, GAIA + 5]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        right = line(*((0.5, ids[i]) for i in order))
        found = match(line((0, -1)), right)
        assert right.target_id[found.right].tolist() == [GAIA + 3]
        mirrored = match(right, line((0, -1)))
        assert right.target_id[mirrored.left].tolist() == [GAIA + 3]
        assert mirrored.ambiguous.tolist() == [True]


def test_the_radius_belongs_to_the_circle():
    separation = match(line((0, -1)), line((0.7, -1))).separation_arcsec[0]
    assert len(match(line((0, -1)), line((0.7, -1)), separation).left) == 1
    assert len(match(line((0, -1)), line((0.7, -1)), np.nextafter(separation, 0)).left) == 0


def test_right_ascension_wraps_and_means_nothing_at_a_pole():
    left = Positions(np.array([359.9999, -0.0001, 360.0]), np.array([0.0, 45.0, -20.0]), np.full(3, -1))
    right = Positions(np.array([-0.0001, 359.9999, 0.0]), np.array([0.0, 45.0, -20.0]), np.full(3, -1))
    found = match(left, right)
    assert pairs_of(found) == [(0, 0, "sky"), (1, 1, "sky"), (2, 2, "sky")]
    assert found.separation_arcsec == pytest.approx([0, 0, 0], abs=1e-8)
    poles = match(
        Positions(np.array([10.0, 0.0]), np.array([90.0, -90.0]), np.full(2, -1)),
        Positions(np.array([200.0, 90.0]), np.array([90.0 - 0.4 * ARCSEC, -90.0]), np.full(2, -1)),
    )
    assert pairs_of(poles) == [(0, 0, "sky"), (1, 1, "sky")]
    assert poles.separation_arcsec == pytest.approx([0.4, 0.0], abs=1e-8)


@pytest.mark.parametrize(("left", "right"), [((), ((0, -1),)), (((0, -1),), ()), ((), ())])
def test_an_empty_side(left, right):
    found = match(line(*left), line(*right))
    assert pairs_of(found) == []
    assert found.counts["right unmatched"] == len(right)


def test_what_is_refused():
    with pytest.raises(DataError, match=f"1 TARGETIDs occur more than once in the right catalogue.*{south(1)}"):
        match(line((0, -1)), line((0, south(1)), (9, south(1)), (3, GAIA + 1), (4, GAIA + 1), (5, -1), (6, -1)))
    for radius in (0, -1, np.nan, np.inf):
        with pytest.raises(UserError, match="radius"):
            match(line((0, -1)), line((0, -1)), radius)
    for ra, dec in ((np.nan, 0.0), (0.0, 90.1), (0.0, np.nan)):
        with pytest.raises(DataError, match="not finite or not on the sphere"):
            Positions(np.array([ra]), np.array([dec]), np.array([-1]))
    with pytest.raises(DataError, match="1 ra, 1 dec, 2 target_id"):
        Positions(np.zeros(1), np.zeros(1), np.zeros(2, np.int64))


FIELDS = {
    "equator": (150.0, 2.0),
    "RA wrap": (0.0, 30.0),
    "north pole": (77.0, 90.0),
    "south pole": (0.0, -90.0),
    "where three base pixels of HEALPix meet": (0.0, 41.8103148957786),
}


def crowded_field(ra: float, dec: float, seed: int, n: int = 250) -> tuple[Positions, Positions]:
    """Return two catalogues of a field of 30 arcsec: clusters, shared objects, and TARGETIDs of every kind."""
    generator = np.random.default_rng(seed)

    def spread(x, y):
        centre = SkyCoord(ra * u.deg, dec * u.deg)
        at = centre.directional_offset_by(np.arctan2(x, y) * u.rad, np.hypot(x, y) * u.arcsec)
        return at.ra.deg, at.dec.deg

    x, y = generator.uniform(-15, 15, (2, n))
    x[: n // 3], y[: n // 3] = generator.normal(0, 2, (2, n // 3))
    number = generator.permutation(n)
    release = generator.choice([SOUTH, NORTH], n)
    keys = encode_target_id(release, np.full(n, 1), number)
    catalogues = []
    for _ in range(2):
        kind = generator.choice(4, n, p=[0.4, 0.4, 0.1, 0.1])
        ids = np.select([kind == 0, kind == 1, kind == 2], [keys, -1, GAIA + number], -number - 2)
        offset = generator.normal(0, 0.4, (2, n))
        moved = generator.random(n) < 0.1
        offset[:, moved] = generator.normal(0, 4, (2, moved.sum()))
        rows = generator.permutation(n)[: n - 30]
        position = spread(x + offset[0], y + offset[1])
        catalogues.append(Positions(position[0][rows], position[1][rows], ids[rows]))
    return catalogues[0], catalogues[1]


def every_pair_tried(left: Positions, right: Positions, radius: float) -> dict[int, tuple[int, str, bool]]:
    """Apply the rules as they are worded, to all pairs: left row -> (right row, method, ambiguous)."""
    separation = np.degrees(
        angular_separation(*(np.radians(a) for a in (left.ra[:, None], left.dec[:, None], right.ra, right.dec)))
    )
    separation *= 3600
    left_key, right_key = has_imaging_key(left.target_id), has_imaging_key(right.target_id)
    found: dict[int, tuple[int, str, bool]] = {}
    for i, j in np.argwhere(separation <= MAX_KEY_SEPARATION_ARCSEC).tolist():
        if left_key[i] and right_key[j] and left.target_id[i] == right.target_id[j]:
            found[i] = (j, "target_id", False)
    taken = {j for j, _, _ in found.values()}
    of_left: dict[int, list[int]] = {}
    of_right: dict[int, list[int]] = {}
    for i, j in np.argwhere(separation <= radius).tolist():
        if i in found or j in taken:
            continue
        if left_key[i] and right_key[j]:
            releases = decode_target_id([left.target_id[i], right.target_id[j]]).release
            if releases[0] == releases[1]:
                continue
        of_left.setdefault(i, []).append(j)
        of_right.setdefault(j, []).append(i)
    for i, candidates in of_left.items():
        nearest = min(candidates, key=lambda j: separation[i, j])
        if min(of_right[nearest], key=lambda k: separation[k, nearest]) == i:
            found[i] = (nearest, "sky", len(candidates) > 1 or len(of_right[nearest]) > 1)
    return found


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("radius", [0.5, 1.0, 3.0])
def test_equal_to_every_pair_tried(field, radius):
    left, right = crowded_field(*FIELDS[field], seed=int(radius * 10))
    found = match(left, right, radius)
    expected = every_pair_tried(left, right, radius)
    assert {i: (j, method) for i, j, method in pairs_of(found)} == {i: pair[:2] for i, pair in expected.items()}
    assert found.ambiguous.tolist() == [expected[i][2] for i in found.left.tolist()]
    assert np.all(np.diff(found.left) > 0)
    assert len(set(found.right.tolist())) == len(found.right)
    counts = found.counts
    assert sum(counts[name] for name in OUTCOMES) == len(left)
    assert counts["matched by TARGETID"] + counts["matched on the sky"] + counts["right unmatched"] == len(right)
    assert counts["matched on the sky, ambiguous"] == sum(ambiguous for _, _, ambiguous in expected.values()) > 0


@pytest.mark.parametrize("field", FIELDS)
def test_the_fields_hold_every_outcome(field):
    counts = match(*crowded_field(*FIELDS[field], seed=10), 1.0).counts
    assert min(counts.values()) > 0, counts


def near(catalogue: Positions, ra: float, dec: float, reach: float) -> np.ndarray:
    angle = angular_separation(np.radians(catalogue.ra), np.radians(catalogue.dec), np.radians(ra), np.radians(dec))
    return np.flatnonzero(np.degrees(angle) * 3600 <= reach)


def part(catalogue: Positions, rows: np.ndarray) -> Positions:
    return Positions(catalogue.ra[rows], catalogue.dec[rows], catalogue.target_id[rows])


@pytest.mark.parametrize("field", FIELDS)
def test_what_becomes_of_a_row_is_decided_within_its_reach(field):
    left, right = crowded_field(*FIELDS[field], seed=3)
    whole = match(left, right)
    partner = dict(zip(whole.left.tolist(), whole.right.tolist(), strict=True))
    unsure = dict(zip(whole.left.tolist(), whole.ambiguous.tolist(), strict=True))
    disagree = OUTCOMES.index("left unmatched: same TARGETID, positions disagree")
    for row in range(0, len(left), 2):
        around = [near(side, left.ra[row], left.dec[row], reach_arcsec(1.0)) for side in (left, right)]
        alone = match(part(left, around[0]), part(right, around[1]))
        here = int(np.flatnonzero(around[0] == row)[0])
        at = np.flatnonzero(alone.left == here)
        assert [int(around[1][alone.right[k]]) for k in at] == ([partner[row]] if row in partner else [])
        assert [bool(alone.ambiguous[k]) for k in at] == ([unsure[row]] if row in unsure else [])
        if whole.outcome[row] != disagree:
            assert alone.outcome[here] == whole.outcome[row]


def test_the_order_of_the_rows_does_not_matter():
    left, right = crowded_field(150.0, 2.0, seed=5)
    generator = np.random.default_rng(0)
    first = {(int(i), int(j)) for i, j, _ in pairs_of(match(left, right))}
    rows, others = generator.permutation(len(left)), generator.permutation(len(right))
    second = match(part(left, rows), part(right, others))
    assert {(int(rows[i]), int(others[j])) for i, j, _ in pairs_of(second)} == first
