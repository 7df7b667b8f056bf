"""The captions: what a proposal says of its galaxies, in sentences whose words and order are drawn by hash.

A caption states what an image can show or hint at (class, redshift, brightness, size, shape, colour, star formation, mass)
and the science case, and has at most 77 tokens of CLIP with its two marks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dataset_builders.draws import choose, shuffled
from dataset_builders.mock_proposals.grouping import Group
from dataset_builders.mock_proposals.themes import Columns, colour

Words = tuple[str, ...]

CLASS_WORDS: Mapping[str, Words] = {
    "merging galaxies": ("merging galaxies", "interacting galaxies", "galaxies caught in a merger"),
    "edge-on disk galaxies": ("edge-on disk galaxies", "edge-on disks", "edge-on spirals"),
    "barred spiral galaxies": ("barred spiral galaxies", "barred spirals", "spirals with a bar"),
    "spiral galaxies": ("spiral galaxies", "unbarred spirals", "spirals without a bar"),
    "dwarf galaxies": ("dwarf galaxies", "dwarfs", "low-mass dwarf galaxies"),
    "luminous red galaxies": ("luminous red galaxies", "massive red galaxies"),
    "elliptical galaxies": ("elliptical galaxies", "ellipticals", "early-type galaxies"),
    "lenticular galaxies": ("lenticular galaxies", "S0 galaxies", "quiescent disk galaxies"),
    "green valley galaxies": ("green valley galaxies", "galaxies in transition"),
    "starburst galaxies": ("starburst galaxies", "starbursts", "galaxies in a starburst"),
    "massive star-forming galaxies": ("massive star-forming galaxies", "massive main-sequence galaxies"),
    "blue disk galaxies": ("blue disk galaxies", "star-forming disks", "blue disks"),
}

SCIENCE_WORDS: Mapping[str, Words] = {
    "galaxy mergers": ("galaxy mergers", "how galaxies merge"),
    "vertical structure of disks": ("the vertical structure of disks", "thick and thin disks"),
    "gas flows along bars": ("gas flows along bars", "how bars feed the centres"),
    "star formation in spiral arms": ("star formation in spiral arms", "how spiral arms form stars"),
    "enrichment of low-mass galaxies": ("the enrichment of low-mass galaxies", "metals in low-mass galaxies"),
    "assembly of massive galaxies": ("the assembly of massive galaxies", "how massive galaxies grew"),
    "scaling relations of early-type galaxies": ("the scaling relations of early types", "the fundamental plane"),
    "quenching of star formation": ("the quenching of star formation", "why star formation stops"),
    "stellar feedback": ("stellar feedback", "winds driven by young stars"),
    "main sequence of star formation": ("the main sequence of star formation", "star formation at high mass"),
    "growth of disks": ("the growth of disks", "how galactic disks grow"),
}

Scale = Sequence[tuple[float, Words]]
"""Upper bound, exclusive -> words for values below it; the last bound is infinite."""

DISTANCE: Scale = (
    (0.08, ("nearby", "local")),
    (0.2, ("fairly near",)),
    (0.35, ("fairly distant",)),
    (np.inf, ("distant", "remote")),
)
BRIGHTNESS: Scale = (
    (17.5, ("bright", "very bright")),
    (18.7, ("fairly bright",)),
    (19.6, ("rather faint",)),
    (np.inf, ("faint", "dim")),
)
SIZE: Scale = (
    (0.5, ("very compact", "barely resolved")),
    (0.9, ("compact", "small on the sky")),
    (1.6, ("extended", "of moderate size")),
    (np.inf, ("large on the sky", "very extended")),
)
SHAPE: Scale = (
    (0.35, ("highly flattened", "needle-like")),
    (0.55, ("strongly inclined", "elongated")),
    (0.8, ("moderately inclined", "oval")),
    (np.inf, ("round", "nearly circular")),
)
COLOUR: Scale = (
    (0.55, ("very blue",)),
    (0.8, ("blue",)),
    (1.1, ("yellow", "yellowish")),
    (1.4, ("red",)),
    (np.inf, ("very red",)),
)
"""By g - r as observed, in magnitudes."""
STAR_FORMATION: Scale = (
    (-11.6, ("long quenched", "old and dead")),
    (-11.0, ("passive", "quiescent")),
    (-10.3, ("barely star-forming", "fading")),
    (-9.6, ("star-forming", "steadily forming stars")),
    (np.inf, ("vigorously forming stars", "bursting with young stars")),
)
BULGE: Scale = (
    (0.1, ("bulgeless", "without a bulge")),
    (0.35, ("disk-dominated", "with a small bulge")),
    (0.7, ("with a large bulge", "rich in bulge light")),
    (np.inf, ("bulge-dominated", "spheroidal")),
)

SUBJECT = (
    "We will image {distance} {noun} at z = {redshift}",
    "Imaging of {distance} {noun} at redshift {redshift}",
    "{distance} {noun} at z = {redshift} are observed",
    "A sample of {distance} {noun} near z = {redshift}",
)
LOOKS = (
    "Targets are {size}, {shape} and {brightness}, r = {magnitude}",
    "The targets look {shape}, {size} and {brightness} with r = {magnitude}",
    "{brightness} targets of r = {magnitude}, {size} and {shape}",
)
NATURE = (
    "{colour}, {activity} and {bulge}, log mass {mass}",
    "Each is {activity}, {colour} and {bulge}, of log mass {mass}",
    "With log mass {mass} all are {colour}, {activity} and {bulge}",
)
AIM = ("The aim: {science}", "We study {science}", "Science case: {science}", "This will show {science}")


def in_words(scale: Scale, value: float, *key: str) -> str:
    """Return words for a value, synonyms drawn by `key`."""
    return choose(next(words for bound, words in scale if value < bound), *key)


def summary(group: Group, columns: Columns) -> dict[str, float]:
    """Return the medians over the galaxies of a proposal that its caption speaks of."""
    rows = {name: np.asarray(values)[group.rows] for name, values in columns.items()}
    return {
        "redshift": float(np.median(rows["redshift_true"])),
        "mass": float(np.median(rows["log_stellar_mass_true"])),
        "activity": float(np.median(rows["log_ssfr_true"])),
        "magnitude": float(np.median(rows["mag_r"])),
        "size": float(np.median(rows["half_light_radius"])),
        "shape": float(np.median(rows["axis_ratio"])),
        "bulge": float(np.median(rows["bulge_to_total"])),
        "colour": float(np.median(colour(rows))),
    }


def caption(group: Group, values: Mapping[str, float]) -> str:
    """Return the caption of a proposal.

    Parameters
    ----------
    values
        As `summary` gives them: redshift, log10 mass, log10 sSFR, r magnitude, half-light radius in arcsec, axis ratio,
        bulge share and g - r.
    """
    key = group.proposal_id
    words = {
        "noun": choose(CLASS_WORDS[group.theme.object_class], key, "noun"),
        "science": choose(SCIENCE_WORDS[group.theme.science_case], key, "science"),
        "distance": in_words(DISTANCE, values["redshift"], key, "distance"),
        "brightness": in_words(BRIGHTNESS, values["magnitude"], key, "brightness"),
        "size": in_words(SIZE, values["size"], key, "size"),
        "shape": in_words(SHAPE, values["shape"], key, "shape"),
        "colour": in_words(COLOUR, values["colour"], key, "colour"),
        "activity": in_words(STAR_FORMATION, values["activity"], key, "activity"),
        "bulge": in_words(BULGE, values["bulge"], key, "bulge"),
        "redshift": f"{values['redshift']:.2f}",
        "magnitude": f"{values['magnitude']:.1f}",
        "mass": f"{values['mass']:.1f}",
    }
    patterns = [choose(options, key, str(place)) for place, options in enumerate((SUBJECT, LOOKS, NATURE, AIM))]
    sentences = [_sentence(pattern.format(**words)) for pattern in shuffled(patterns, key, "order")]
    return " ".join(sentences)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
