"""A simulated survey: DESI-like spectra and Legacy-like images of the same galaxies, made on the user's machine.

`MINI`, `SMALL` and `FULL` are its named sizes, each the beginning of the next; `dataset_builders.mock_survey.source.MockSurvey` makes any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VERSION = "2"
"""Changes with any change of what a galaxy of given seed and number looks like."""


@dataclass(frozen=True)
class NamedSurvey:
    """A size of the survey that has a name; nothing heavy is imported before it is built."""

    name: str
    size_name: str
    version: str = VERSION

    def build(self, out: Path, *, workers: int = 1, progress: Callable[[int, int], None] | None = None) -> None:
        """Write the data set into the folder `out`."""
        from dataset_builders.mock_survey.folder import build_folder
        from dataset_builders.mock_survey.source import SIZES, MockSurvey

        build_folder(MockSurvey(SIZES[self.size_name], name=self.name), out, workers=workers, progress=progress)


MINI = NamedSurvey("mock-mini", "mini")
SMALL = NamedSurvey("mock-small", "small")
FULL = NamedSurvey("mock-full", "full")
