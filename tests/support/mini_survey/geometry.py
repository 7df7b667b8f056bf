"""Places on the sky: pixels, offsets, separations, and sites that keep their distance from each other."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from functools import lru_cache

import astropy.units as u
import numpy as np
from astropy_healpix import HEALPix

ARCSEC = 1 / 3600
"""Degrees."""

NSIDE = 64
GROUPS = HEALPix(NSIDE, order="nested")
SITES = HEALPix(1024, order="nested")
"""One site a pixel of this grid: some 200 arcsec apart, farther than any trap reaches."""
JITTER_ARCSEC = 15.0
CLEARANCE_ARCSEC = 150.0
"""Sites of the grid nearer than this to a site placed by hand are left out."""

Place = tuple[float, float]
"""Right ascension and declination, degrees."""


def pixel(place: Place) -> int:
    """Return the HEALPix pixel (nside 64, NESTED)."""
    return int(GROUPS.lonlat_to_healpix(place[0] * u.deg, place[1] * u.deg))


def split(pixel_number: int) -> str:
    """Return the split of a pixel by the rule of the protocols: the pixel's BLAKE2b hash decides 70/15/15."""
    digest = hashlib.blake2b(str(pixel_number).encode(), digest_size=8).digest()
    hundredths = int.from_bytes(digest, "big") * 100 / 2**64
    if hundredths < 70:
        return "train"
    return "validation" if hundredths < 85 else "test"


def moved(place: Place, east_arcsec: float = 0.0, north_arcsec: float = 0.0) -> Place:
    """Return the place a small step away; right ascension stays within 0 and 360 degrees."""
    ra, dec = place
    return float(ra + east_arcsec * ARCSEC / math.cos(math.radians(dec))) % 360.0, float(dec + north_arcsec * ARCSEC)


def separation_arcsec(first: Place, second: Place) -> float:
    """Return the angle between two places, by the haversine formula."""
    (ra1, dec1), (ra2, dec2) = (tuple(map(math.radians, place)) for place in (first, second))
    chord = math.sin((dec2 - dec1) / 2) ** 2 + math.cos(dec1) * math.cos(dec2) * math.sin((ra2 - ra1) / 2) ** 2
    return math.degrees(2 * math.asin(math.sqrt(chord))) / ARCSEC


def around(place: Place, count: int) -> list[int]:
    """Return the pixel of a place and `count` - 1 of its neighbours."""
    centre = pixel(place)
    neighbours = [int(number) for number in GROUPS.neighbours(centre) if number >= 0]
    return [centre, *neighbours][:count]


def sites_within(pixels: list[int], taken: list[Place], random: np.random.Generator) -> Iterator[Place]:
    """Yield places inside the pixels, in random order over all of them, away from those `taken`."""
    per_group = (SITES.nside // NSIDE) ** 2
    cells = np.concatenate([np.arange(per_group) + number * per_group for number in pixels])
    random.shuffle(cells)
    lon, lat = SITES.healpix_to_lonlat(cells)
    far = _distance_to_nearest(lon.deg, lat.deg, taken) > CLEARANCE_ARCSEC
    for ra, dec in zip(lon.deg[far].tolist(), lat.deg[far].tolist(), strict=True):
        yield moved((ra, dec), *random.uniform(-JITTER_ARCSEC, JITTER_ARCSEC, 2))


def border_places(pixels: list[int], count: int) -> list[tuple[Place, Place]]:
    """Return pairs of places half an arcsecond apart, in different pixels that lie in different splits.

    They lie on the edges that the pixels have in common, and both ends are in `pixels`.
    """
    found: list[tuple[Place, Place]] = []
    for number in pixels:
        lon, lat = GROUPS.boundaries_lonlat(np.array([number]), step=8)
        centre = tuple(coordinate.deg.item() for coordinate in GROUPS.healpix_to_lonlat(number))
        for ra, dec in zip(lon.deg[0].tolist(), lat.deg[0].tolist(), strict=True):
            ends = _across((ra, dec), centre)
            here, there = (pixel(end) for end in ends)
            clear = all(separation_arcsec(ends[0], other[0]) > 2 * CLEARANCE_ARCSEC for other in found)
            if here == number and there in pixels and split(here) != split(there) and clear:
                found.append(ends)
    if len(found) < count:
        raise ValueError(f"{len(found)} places on borders between splits, {count} wanted: choose other pixels")
    return found[:count]


def _across(point: Place, centre: tuple[float, ...]) -> tuple[Place, Place]:
    """Return places a quarter of an arcsecond before and behind a point, on the way from a centre."""
    east = ((point[0] - centre[0] + 180) % 360 - 180) * math.cos(math.radians(point[1]))
    north = point[1] - centre[1]
    length = 4 * math.hypot(east, north)
    return moved(point, -east / length, -north / length), moved(point, east / length, north / length)


def _distance_to_nearest(ra: np.ndarray, dec: np.ndarray, taken: list[Place]) -> np.ndarray:
    """Return the distance of each place to the nearest of those taken, arcsec."""
    cosine = _vectors(ra, dec) @ _vectors(*np.array(taken).T).T
    return np.asarray(np.degrees(np.arccos(np.clip(cosine.max(axis=1), -1, 1))) / ARCSEC)


def _vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    lon, lat = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


@lru_cache
def coarse_pixel(place: Place) -> int:
    """Return the HEALPix pixel (nside 16, NESTED) by which the Multimodal Universe parts its files."""
    return int(HEALPix(16, order="nested").lonlat_to_healpix(place[0] * u.deg, place[1] * u.deg))
