"""The traps of the label catalogues: what is wrong with a label, and what the pair must then have."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from mini_survey.geometry import moved
from mini_survey.objects import Sky
from mini_survey.traps import Trap

ANSWERS: dict[str, tuple[str, ...]] = {
    "smooth-or-featured": ("smooth", "featured-or-disk", "artifact"),
    "disk-edge-on": ("yes", "no"),
    "has-spiral-arms": ("yes", "no"),
    "bar": ("strong", "weak", "no"),
    "bulge-size": ("dominant", "large", "moderate", "small", "none"),
    "how-rounded": ("round", "in-between", "cigar-shaped"),
    "edge-on-bulge": ("boxy", "none", "rounded"),
    "spiral-winding": ("tight", "medium", "loose"),
    "spiral-arm-count": ("1", "2", "3", "4", "more-than-4", "cant-tell"),
    "merging": ("none", "minor-disturbance", "major-disturbance", "merger"),
}
"""The questions of Galaxy Zoo DECaLS and their answers."""

SMOOTH = {"smooth-or-featured": "smooth"}
EDGE_ON = {"smooth-or-featured": "featured-or-disk", "disk-edge-on": "yes"}
FACE_ON = {"smooth-or-featured": "featured-or-disk", "disk-edge-on": "no"}
SPIRAL = {**FACE_ON, "has-spiral-arms": "yes"}
WAYS: tuple[tuple[dict[str, str], tuple[str, ...]], ...] = (
    (SMOOTH, ("how-rounded", "merging")),
    (EDGE_ON, ("edge-on-bulge", "merging")),
    ({**FACE_ON, "has-spiral-arms": "no"}, ("bar", "bulge-size", "merging")),
    (SPIRAL, ("bar", "bulge-size", "spiral-winding", "spiral-arm-count", "merging")),
)
"""Ways through the tree of questions: answers that lead there, and the questions that are then open."""

LABELLED, LABELLED_TWICE, VOTED = 0.7, 0.9, 0.3
"""Of the plain pairs those with a row of PROVABGS, of these those with one in the variant, and those with votes."""

TWIN_NUMBER = 800_000
"""A multiple of 8, the step of TARGETIDs in double precision."""


def answers(number: int) -> dict[str, str]:
    """Return what most volunteers say about a galaxy; questions that they are not asked are not there."""
    given, open_questions = WAYS[number % len(WAYS)]
    chosen = {question: ANSWERS[question][number // 4 % len(ANSWERS[question])] for question in open_questions}
    return {**given, **chosen}


def labelled(sky: Sky, found: bool, **changes: Any) -> None:
    """Add a pair with a row in the label catalogue, which counts if it is `found`."""
    pair = sky.pair(*sky.galaxy())
    label = sky.label(pair.spectrum, **changes)
    sky.pairs[-1] = replace(pair, label=label if found else None)


def twins(sky: Sky) -> None:
    """Add two galaxies whose TARGETIDs are equal in double precision; only the first has labels."""
    one = sky.image(sky.site(), number=TWIN_NUMBER + 8 * sky.serial())
    other = sky.image(moved(one.place, 0.0, 20.0), brick=one.brick, number=one.number + 1)
    first, second = (one, sky.spectrum(one)), (other, sky.spectrum(other))
    pair = sky.pair(*first)
    sky.pairs[-1] = replace(pair, label=sky.label(pair.spectrum))
    sky.pair(*second)


def label_alone(sky: Sky) -> None:
    """Add a row of labels of a galaxy that has no image or spectrum."""
    _, spectrum = sky.galaxy()
    sky.label(spectrum)
    sky.images.pop()
    sky.spectra.pop()


def voted(sky: Sky, arcsec: float, found: bool) -> None:
    """Add a pair with votes some way off."""
    pair = sky.pair(*sky.galaxy())
    given = answers(sky.serial())
    sky.votes.append((moved(pair.spectrum.place, 0.6 * arcsec, -0.8 * arcsec), given))
    sky.pairs[-1] = replace(pair, answers=given if found else {})


def votes_alone(sky: Sky) -> None:
    """Add votes on a galaxy that is not in the survey."""
    sky.votes.append((sky.site(), answers(sky.serial())))


def plain(sky: Sky) -> None:
    """Add a galaxy without any trap, perhaps with labels and votes."""
    pair = sky.pair(*sky.galaxy())
    if sky.random.random() < LABELLED:
        label = sky.label(pair.spectrum, multimodal=bool(sky.random.random() < LABELLED_TWICE))
        pair = replace(pair, label=label)
    if sky.random.random() < VOTED:
        pair = replace(pair, answers=answers(sky.serial()))
        sky.votes.append((moved(pair.spectrum.place, *sky.random.uniform(-0.2, 0.2, 2)), pair.answers))
    sky.pairs[-1] = pair


def label_traps() -> tuple[Trap, ...]:
    """Return what is wrong with labels."""
    without, missing = "a pair without labels", -999.0
    return (
        Trap("mass missing", 12, "LOGMSTAR_BF -999", without,
             partial(labelled, found=False, log_mass=missing, multimodal=False)),
        Trap("magnitude missing", 6, "MAG_G -999, mass given", without,
             partial(labelled, found=False, magnitudes=(missing, 18.0, 17.0), multimodal=False)),
        Trap("mass too large", 6, "log mass 12.5, which the catalogue's author flags", without,
             partial(labelled, found=False, log_mass=12.5)),
        Trap("no row in the variant", 12, "PROVABGS alone", "a pair with mass, without age, metallicity and sSFR",
             partial(labelled, found=True, multimodal=False)),
        Trap("no star formation", 6, "AVG_SFR 0", "a pair without sSFR",
             partial(labelled, found=True, star_formation_rate=0.0)),
        Trap("twins in double precision", 6, "TARGETIDs that differ in the last digits, one with labels",
             "two pairs, one with labels", twins, 2),
        Trap("labels without pair", 30, "a row of PROVABGS alone", "left over", label_alone, 0),
        Trap("votes near", 12, "0.45 arcsec away", "a pair with morphology", partial(voted, arcsec=0.45, found=True)),
        Trap("votes far", 8, "0.55 arcsec away", "a pair without morphology",
             partial(voted, arcsec=0.55, found=False)),
        Trap("votes without pair", 20, "a row of votes alone", "left over", votes_alone, 0),
    )  # fmt: skip
