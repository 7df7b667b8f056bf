"""Where training objects lie on the sky, and which test objects lie there too.

The sky is compared in the HEALPix pixels that the splits are made of (nside 64): a test object counts as seen if its
pixel touches the declared footprint, since neighbours in one pixel share calibration, depth and large-scale structure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaderboard.errors import SubmissionError

Int64 = NDArray[np.int64]

DEEPEST = 29
"""HEALPix order that a MOC is reckoned in: its pixels still fit into 64 bits."""
SPLIT_ORDER = 6
"""Order of the pixels that splits are made of: nside 64."""
_TOKEN = re.compile(r"(?:(?P<order>\d{1,2})/)?(?:(?P<first>\d{1,19})(?:-(?P<last>\d{1,19}))?)?")


@dataclass(frozen=True)
class Sky:
    """What is known of the objects of a data set's splits: ids and pixels (nside 64, NESTED), by split."""

    object_ids: Mapping[str, Sequence[str]]
    pixels: Mapping[str, Int64]


@dataclass(frozen=True)
class Overlap:
    """How many of the test objects, and of their pixels, lie in a training footprint."""

    objects: int
    of_objects: int
    pixels: int
    of_pixels: int

    @property
    def share(self) -> float:
        """Share of the test objects."""
        return self.objects / self.of_objects if self.of_objects else 0.0


def overlap(training_data: Sequence[Mapping[str, Any]], sky: Sky, queries: str = "test") -> Overlap:
    """Return what part of the test sky was seen in training, after a card's ``training_data``.

    Raises
    ------
    SubmissionError
        If a footprint cannot be read.
    """
    pixels = sky.pixels[queries]
    seen = np.zeros(len(pixels), bool)
    for entry in training_data:
        seen |= _seen(entry["footprint"], sky, queries)
    return Overlap(int(seen.sum()), len(seen), len(np.unique(pixels[seen])), len(np.unique(pixels)))


def _seen(footprint: Any, sky: Sky, queries: str) -> NDArray[np.bool_]:
    pixels = sky.pixels[queries]
    if footprint == "none":
        return np.zeros(len(pixels), bool)
    kind, value = next(iter(footprint.items()))
    if kind == "benchmark":
        trained = np.concatenate([sky.pixels[split] for split in value if split in sky.pixels] or [pixels[:0]])
        return np.isin(pixels, trained)
    if kind == "objects":
        return np.isin(np.array(sky.object_ids[queries], str), np.array(value, str))
    ranges = parse_moc(value) if kind == "moc" else pixel_ranges(value["order"], value["pixels"])
    return touched(pixels, ranges)


def parse_moc(text: str) -> Int64:
    """Return the pixel ranges (n, 2) of order `DEEPEST`, first and past the last, rising, of a MOC in string form.

    ``"6/1-3,7 8/1024"``: orders with their pixels and ranges of pixels, both ends included (IVOA MOC 2.0, section 4.3).

    Raises
    ------
    SubmissionError
        If it is no such string, or a pixel does not exist.
    """
    order: int | None = None
    ranges: list[tuple[int, int]] = []
    for token in re.split(r"[,\s]+", text.strip()):
        match = _TOKEN.fullmatch(token)
        if match is None or not token:
            raise SubmissionError(f"MOC: {token[:40]!r} is no pixel or range", "ORDER/FIRST-LAST,... as in '6/1-3,7'")
        order = order if match["order"] is None else int(match["order"])
        if match["first"] is not None:
            first, last = int(match["first"]), int(match["last"] or match["first"])
            ranges.append(_deepest(order, first, last))
    if not ranges:
        raise SubmissionError("MOC: no pixels in it", "at least one", "use the footprint 'none' where there is no sky")
    return _merged(ranges)


def pixel_ranges(order: int, pixels: Sequence[int]) -> Int64:
    """Return the same of NESTED pixels of one order."""
    return _merged([_deepest(order, pixel, pixel) for pixel in pixels])


def touched(pixels: Int64, ranges: Int64) -> NDArray[np.bool_]:
    """Return which pixels of order `SPLIT_ORDER`, (n,), share any sky with pixel ranges of order `DEEPEST`."""
    shift = 2 * (DEEPEST - SPLIT_ORDER)
    first, past = pixels << shift, (pixels + 1) << shift
    # The first range that ends beyond the pixel's start is the only one that need be looked at.
    place = np.searchsorted(ranges[:, 1], first, side="right")
    begins = np.append(ranges[:, 0], np.iinfo(np.int64).max)[place]
    return np.asarray(begins < past)


def _deepest(order: int | None, first: int, last: int) -> tuple[int, int]:
    if order is None or order > DEEPEST or not 0 <= first <= last < 12 * 4**order:
        raise SubmissionError(
            f"footprint: pixels {first} to {last} of order {order}", f"an order up to {DEEPEST}, and pixels it has"
        )
    shift = 2 * (DEEPEST - order)
    return first << shift, (last + 1) << shift


def _merged(ranges: Sequence[tuple[int, int]]) -> Int64:
    """Return ranges sorted and joined where they touch."""
    ordered = np.array(sorted(ranges), np.int64)
    reach = np.maximum.accumulate(ordered[:, 1])
    starts = np.concatenate([[True], ordered[1:, 0] > reach[:-1]])
    ends = np.append(np.flatnonzero(starts)[1:] - 1, len(ordered) - 1)
    return np.stack([ordered[starts, 0], reach[ends]], axis=1)
