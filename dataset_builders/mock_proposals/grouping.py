"""From galaxies to proposals: a few galaxies of one split and one theme, alike in what an image shows of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_builders.draws import number_below
from dataset_builders.mock_proposals.themes import THEMES, Columns, Theme, colour, theme_of

LARGEST = 8
"""Galaxies a proposal has at most; how many each may have, from 1 on, is drawn by hash."""

SCALES = (
    ("redshift_true", 0.04),
    ("mag_r", 0.3),
    ("log_radius", 0.1),
    ("axis_ratio", 0.12),
    ("log_stellar_mass_true", 0.2),
    ("colour", 0.12),
)
"""Property -> difference that counts as much as those of the others: about what an image tells apart."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """The galaxies of one proposal: its identifier, its theme, and the places of its rows in the columns, rising."""

    proposal_id: str
    theme: Theme
    rows: Indices


def make_groups(ids: list[str], columns: Columns) -> list[Group]:
    """Return the proposals of one split; every galaxy is in one of them.

    The galaxies of a theme are halved at the median of the property they differ most in (a k-d tree; Bentley 1975,
    Communications of the ACM 18, 509) until each part is as small as the size drawn for it. The identifier of a proposal
    names its first galaxy, so it is unique and tells nothing of the others.

    Parameters
    ----------
    ids
        Identifiers of the galaxies, n.
    columns
        The columns `NEEDED`, each (n,).
    """
    radius = np.maximum(columns["half_light_radius"], 0.05)
    values = {**columns, "log_radius": np.log10(radius), "colour": colour(columns)}
    points = np.stack([values[name] / scale for name, scale in SCALES], axis=1)
    themes = theme_of(columns)
    groups: list[Group] = []
    for place, theme in enumerate(THEMES):
        members = np.flatnonzero(themes == place)
        groups += [Group(f"mock-{ids[rows[0]]}", theme, rows) for rows in _parts(members, points, ids)]
    return groups


def _parts(rows: Indices, points: npt.NDArray[np.float64], ids: list[str]) -> list[Indices]:
    """Return the leaves of the tree over some rows."""
    if not len(rows):
        return []
    if len(rows) <= 1 + number_below(LARGEST, "size", ids[rows[0]], str(len(rows))):
        return [rows]
    low, high = np.percentile(points[rows], [10, 90], axis=0)
    along = points[rows, int(np.argmax(high - low))]
    order = np.argsort(along, kind="stable")
    half = len(rows) // 2
    return [*_parts(np.sort(rows[order[:half]]), points, ids), *_parts(np.sort(rows[order[half:]]), points, ids)]
