"""Training footprints: MOCs against mocpy, pixels against the sky itself, and overlap with test objects."""

from __future__ import annotations

import mocpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboard.errors import SubmissionError
from leaderboard.footprint import DEEPEST, Sky, overlap, parse_moc, pixel_ranges, touched

SKY = Sky(
    {"train": ["1", "2", "3"], "validation": [], "test": ["4", "5", "6", "7"]},
    {"train": np.array([10, 10, 11]), "validation": np.array([], int), "test": np.array([20, 20, 21, 11])},
)


def share(*footprints):
    found = overlap([{"name": "x", "footprint": footprint} for footprint in footprints], SKY)
    return found.objects, found.pixels


def test_each_kind_of_footprint():
    assert share("none") == (0, 0)
    assert share({"benchmark": ["train"]}) == (1, 1)
    assert share({"benchmark": ["validation"]}) == (0, 0)
    assert share({"benchmark": ["test"]}) == (4, 3)
    assert share({"objects": ["5", "7", "99"]}) == (2, 2)
    assert share({"healpix": {"order": 6, "pixels": [21, 22]}}) == (1, 1)
    assert share({"moc": "6/20-21"}) == (3, 2)
    assert share({"moc": "6/20"}, {"objects": ["7"]}) == (3, 2)
    found = overlap([{"name": "x", "footprint": {"moc": "0/0-11"}}], SKY)
    assert (found.of_objects, found.of_pixels, found.share) == (4, 3, 1.0)


def test_coarser_and_finer_pixels_touch_what_they_share_sky_with():
    pixels = np.array([20, 21, 23, 24])
    assert touched(pixels, pixel_ranges(5, [5])).tolist() == [True, True, True, False]
    assert touched(pixels, pixel_ranges(DEEPEST, [21 * 4**23])).tolist() == [False, True, False, False]
    assert touched(pixels, pixel_ranges(DEEPEST, [24 * 4**23 - 1])).tolist() == [False, False, True, False]
    assert touched(np.array([12 * 4**6 - 1]), parse_moc("29/0")).tolist() == [False]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "6/",
        "1-3",
        "6/3-1",
        "30/1",
        "6/49152",
        "6/-1",
        "6/1-",
        "a/b",
        "6/1;2",
        "6/1/2",
        "6/" + "9" * 30,
        "6/1 x",
    ],
)
def test_what_is_no_moc_is_refused(text):
    with pytest.raises(SubmissionError, match=r"MOC|footprint"):
        parse_moc(text)


cells = st.integers(0, 9).flatmap(
    lambda order: st.tuples(
        st.just(order), st.lists(st.integers(0, 12 * 4**order - 1), min_size=1, max_size=6, unique=True)
    )
)


@given(st.lists(cells, min_size=1, max_size=4, unique_by=lambda cell: cell[0]))
@settings(max_examples=100, deadline=None)
def test_a_moc_covers_what_mocpy_says(parts):
    text = " ".join(f"{order}/{','.join(map(str, pixels))}" for order, pixels in parts)
    ranges = parse_moc(text)
    depth = np.concatenate([np.full(len(pixels), order, np.uint8) for order, pixels in parts])
    pixels = np.concatenate([np.array(pixels, np.uint64) for _, pixels in parts])
    theirs = mocpy.MOC.from_healpix_cells(pixels, depth, 9).to_depth29_ranges
    assert np.array_equal(ranges, theirs.astype(np.int64))
    pixels = np.arange(0, 12 * 4**6, 97)
    expected = [(ranges[:, 0] < (pixel + 1) << 46).astype(int) @ (ranges[:, 1] > pixel << 46) > 0 for pixel in pixels]
    assert np.array_equal(touched(pixels, ranges), expected)


@given(st.text("0123456789/-, ", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused_in_words(text):
    try:
        ranges = parse_moc(text)
    except SubmissionError:
        return
    assert (ranges[:, 0] < ranges[:, 1]).all()
    assert (ranges[1:, 0] > ranges[:-1, 1]).all()
