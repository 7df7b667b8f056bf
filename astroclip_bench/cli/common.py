"""What several commands do alike."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astroclip_bench.environment import usable_cores
from astroclip_bench.progress import progress_bar

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset


def say(message: str) -> None:
    """Write a line for the user, beside the results: to standard error."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def open_with_progress(dataset: str, revision: str | None = None) -> BenchDataset:
    """Open a data set; where a simulated survey must be generated first, show how far that has come."""
    from astroclip_bench.datasets import open_dataset

    with progress_bar(f"generating {dataset}") as report:
        return open_dataset(dataset, revision=revision, workers=usable_cores(), progress=report)
