"""What the proposals are about: which galaxies a theme takes, and what class and science case it stands for.

Themes are tried in order and the first that takes a galaxy has it, so that the classes do not overlap. They go by what
the simulation knows (`*_true` and the drawn structure), not by the noisy labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Columns = Mapping[str, npt.NDArray[Any]]
Flags = npt.NDArray[np.bool_]

QUIESCENT, STAR_FORMING, STARBURST = -11.0, -10.3, -9.5
"""Bounds in log10 of the specific star formation rate, 1/yr: below the first quiescent, up to the second green."""

NEEDED = (
    "redshift_true",
    "log_stellar_mass_true",
    "log_ssfr_true",
    "bulge_to_total",
    "half_light_radius",
    "axis_ratio",
    "mag_r",
    "flux_g",
    "flux_r",
    "morphology_merging",
    "morphology_disk_edge_on",
    "morphology_has_spiral_arms",
    "morphology_bar",
)
"""Columns of the survey that themes and captions are made from."""


@dataclass(frozen=True)
class Theme:
    """One kind of proposal.

    Parameters
    ----------
    object_class, science_case
        Names of the classes, keys of `OBJECT_CLASSES` and `SCIENCE_CASES`.
    takes
        From the columns `NEEDED`, each (n,), to the flag of the galaxies it is about, (n,).
    """

    object_class: str
    science_case: str
    takes: Callable[[Columns], Flags]


def _quiescent(columns: Columns) -> Flags:
    return np.asarray(columns["log_ssfr_true"] < QUIESCENT)


def _spiral(columns: Columns) -> Flags:
    return np.asarray(columns["morphology_has_spiral_arms"] == "yes")


THEMES = (
    Theme("merging galaxies", "galaxy mergers", lambda c: c["morphology_merging"] == "merger"),
    Theme("edge-on disk galaxies", "vertical structure of disks", lambda c: c["morphology_disk_edge_on"] == "yes"),
    Theme("barred spiral galaxies", "gas flows along bars", lambda c: _spiral(c) & (c["morphology_bar"] != "no")),
    Theme("spiral galaxies", "star formation in spiral arms", lambda c: _spiral(c) & (c["redshift_true"] < 0.15)),
    Theme("spiral galaxies", "growth of disks", _spiral),
    Theme("dwarf galaxies", "enrichment of low-mass galaxies", lambda c: c["log_stellar_mass_true"] < 9.3),
    Theme(
        "luminous red galaxies",
        "assembly of massive galaxies",
        lambda c: _quiescent(c) & (c["redshift_true"] > 0.3),
    ),
    Theme(
        "elliptical galaxies",
        "scaling relations of early-type galaxies",
        lambda c: _quiescent(c) & (c["bulge_to_total"] > 0.95) & (c["redshift_true"] < 0.2),
    ),
    Theme(
        "elliptical galaxies",
        "assembly of massive galaxies",
        lambda c: _quiescent(c) & (c["bulge_to_total"] > 0.95),
    ),
    Theme("lenticular galaxies", "quenching of star formation", _quiescent),
    Theme("green valley galaxies", "quenching of star formation", lambda c: c["log_ssfr_true"] < STAR_FORMING),
    Theme("starburst galaxies", "stellar feedback", lambda c: c["log_ssfr_true"] > STARBURST),
    Theme(
        "massive star-forming galaxies",
        "main sequence of star formation",
        lambda c: c["log_stellar_mass_true"] > 10.5,
    ),
    Theme(
        "blue disk galaxies",
        "enrichment of low-mass galaxies",
        lambda c: c["log_stellar_mass_true"] < 9.8,
    ),
    Theme("blue disk galaxies", "growth of disks", lambda c: np.ones(len(c["mag_r"]), bool)),
)

OBJECT_CLASSES: Mapping[str, str] = {
    "merging galaxies": "an image of merging galaxies",
    "edge-on disk galaxies": "an image of a disk galaxy seen edge-on",
    "barred spiral galaxies": "an image of a barred spiral galaxy",
    "spiral galaxies": "an image of a spiral galaxy without a bar",
    "dwarf galaxies": "an image of a dwarf galaxy",
    "luminous red galaxies": "an image of a distant luminous red galaxy",
    "elliptical galaxies": "an image of an elliptical galaxy",
    "lenticular galaxies": "an image of a lenticular galaxy",
    "green valley galaxies": "an image of a galaxy in the green valley",
    "starburst galaxies": "an image of a starburst galaxy",
    "massive star-forming galaxies": "an image of a massive star-forming galaxy",
    "blue disk galaxies": "an image of a blue disk galaxy",
}
"""Class of `object_class` -> what to ask for in a zero-shot classification."""

SCIENCE_CASES: Mapping[str, str] = {
    "galaxy mergers": "a study of how galaxies merge",
    "vertical structure of disks": "a study of the vertical structure of disks",
    "gas flows along bars": "a study of gas flows along bars",
    "star formation in spiral arms": "a study of star formation in spiral arms",
    "enrichment of low-mass galaxies": "a study of the chemical enrichment of low-mass galaxies",
    "assembly of massive galaxies": "a study of the assembly of massive galaxies",
    "scaling relations of early-type galaxies": "a study of the scaling relations of early-type galaxies",
    "quenching of star formation": "a study of the quenching of star formation",
    "stellar feedback": "a study of stellar feedback",
    "main sequence of star formation": "a study of the main sequence of star formation",
    "growth of disks": "a study of the growth of galactic disks",
}
"""Class of `science_case` -> what to ask for in a zero-shot classification."""


def colour(columns: Columns) -> npt.NDArray[np.float64]:
    """Return g - r as observed, in magnitudes, (n,); fluxes lost in the noise count as 0.001 nanomaggies."""
    blue, red = (np.maximum(columns[name], 1e-3) for name in ("flux_g", "flux_r"))
    return np.asarray(-2.5 * np.log10(blue / red))


def theme_of(columns: Columns) -> npt.NDArray[np.int64]:
    """Return the place in `THEMES` of each galaxy's theme, (n,)."""
    return np.asarray(np.select([theme.takes(columns) for theme in THEMES], range(len(THEMES))), np.int64)
