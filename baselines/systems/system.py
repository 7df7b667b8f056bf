"""What a system of the field is to this project: where it comes from, what was published, and what running it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Scale = Literal["mini", "published"]
"""``mini`` is minutes on two cores; ``published`` has the sizes of the paper, and is meant for GPUs."""

EXTRAS: Mapping[str, str] = {"train": "accelerate", "report": "umap", "text": "open_clip"}
"""Extra of the installation -> a package that it alone brings."""


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
        Module with a function ``reproduce(dataset, out, *, scale, device, quiet)`` that returns an `Outcome`; what it
        has done before in `out`, it does not do again.
    differs
        What differs from the paper at the scale ``mini``.
    data
        Data set that it is run on unless another is named.
    shown
        (task, metric) of the scores in the table.
    main
        Key of `Outcome.results`: the model that stands for the system; the first if left out.
    extras
        Extras of the installation that it takes: keys of `EXTRAS`.
    published
        Models of `astroclip_bench.report`'s published figures that its scores stand beside.
    """

    name: str
    title: str
    paper: str
    module: str
    differs: str
    data: str = "mock-mini"
    shown: tuple[tuple[str, str], ...] = (("redshift", "r2"), ("stellar-mass", "r2"), ("retrieval", "recall@10"))
    main: str = ""
    extras: tuple[str, ...] = ("train",)
    published: tuple[str, ...] = ()


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
