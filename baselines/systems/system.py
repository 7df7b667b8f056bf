"""What a system of the field is to this project: where it comes from, what was published, and what running it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Scale = Literal["mini", "published"]
"""``mini`` is minutes on two cores; ``published`` has the sizes of the paper, and is meant for GPUs."""


@dataclass(frozen=True)
class Published:
    """A published figure, on other data and by the authors' own protocol: a reference line, never a row beside ours.

    Parameters
    ----------
    score
        What it is, in words.
    value
        As published.
    source
        Where it stands.
    """

    score: str
    value: float
    source: str


@dataclass(frozen=True)
class System:
    """A system of the field as it is built here.

    Parameters
    ----------
    name
        On the command line.
    title, paper
        What it is, and who published it where.
    module
        Module with the function ``reproduce``.
    differs
        What differs from the paper at the scale ``mini``.
    published
        The paper's own figures.
    """

    name: str
    title: str
    paper: str
    module: str
    differs: str
    published: tuple[Published, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What running a system leaves.

    Parameters
    ----------
    results
        Model of the system, in words -> its result file, in the order in which they are shown.
    figures
        PNG files.
    scores
        Further figures that are in no result, by name.
    """

    results: Mapping[str, Path]
    figures: tuple[Path, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
