"""The survey as rows: its fields on the sky, all traps, and plain galaxies to fill it up."""

from __future__ import annotations

import numpy as np

from mini_survey.geometry import Place, around, border_places, sites_within
from mini_survey.labels import label_traps, plain
from mini_survey.objects import NORTH, SOUTH, Sky
from mini_survey.traps import Trap, content_traps, duplicate_traps, match_traps, spectral_traps

TRAPS: tuple[Trap, ...] = (
    *spectral_traps(),
    *duplicate_traps(),
    *match_traps(),
    *content_traps(),
    *label_traps(),
)
PLAIN = "plain"
"""What is no trap: a galaxy with one good spectrum and one good image."""

FIELDS = {NORTH: (216.0, 36.0), SOUTH: (150.0, 2.2)}
"""Centres of the fields, degrees."""
PIXELS_PER_FIELD = 6
N_BORDERS = 12
WRAPS: tuple[Place, ...] = tuple((0.0, 1.0 + 0.08 * number) for number in range(10))
"""Places on the meridian of right ascension 0, far from either field."""


def make_sky(n_spectra: int, seed: int) -> Sky:
    """Return the rows of the survey, `n_spectra` of them spectra.

    Raises
    ------
    ValueError
        If the traps alone have more spectra.
    """
    random = np.random.default_rng(seed)
    pixels = {release: around(place, PIXELS_PER_FIELD) for release, place in FIELDS.items()}
    borders = border_places([number for numbers in pixels.values() for number in numbers], N_BORDERS)
    taken = [place for ends in borders for place in ends]
    sites = {release: sites_within(numbers, taken, random) for release, numbers in pixels.items()}
    sky = Sky(sites, borders, list(WRAPS), random)
    for trap in TRAPS:
        sky.trap = trap.name
        for _ in range(trap.count):
            trap.set_up(sky)
    if len(sky.spectra) > n_spectra:
        raise ValueError(f"the traps have {len(sky.spectra)} spectra, more than {n_spectra}")
    sky.trap = PLAIN
    while len(sky.spectra) < n_spectra:
        plain(sky)
    return sky


def shuffle_rows(sky: Sky, seed: int) -> None:
    """Put the rows of the catalogues into an order that tells nothing."""
    random = np.random.default_rng([seed, 1])
    for rows in (sky.spectra, sky.labels, sky.votes):
        random.shuffle(rows)
