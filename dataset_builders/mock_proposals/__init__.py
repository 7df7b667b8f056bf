"""Invented observing proposals for the galaxies of the mock survey: images, spectra and captions, all simulated.

`MINI` is the named data set; `dataset_builders.mock_proposals.source.MockProposals` makes one from any mock survey.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VERSION = "1"
"""Changes with any change of the grouping or of the words."""


@dataclass(frozen=True)
class NamedProposals:
    """Proposals for a named mock survey; nothing heavy is imported before they are written."""

    name: str
    survey: str
    version: str = VERSION

    def build(self, out: Path, *, workers: int = 1, progress: Callable[[int, int], None] | None = None) -> None:
        """Write the data set into the folder `out`; the survey is generated into the cache if it is not there."""
        from astroclip_bench.datasets import open_dataset
        from dataset_builders.mock_proposals.folder import build_folder
        from dataset_builders.mock_proposals.source import MockProposals

        survey = open_dataset(self.survey, workers=workers)
        build_folder(MockProposals(survey, self.name), out, workers=workers, progress=progress)


MINI = NamedProposals("mock-proposals", "mock-mini")
