"""The survey's data set folder: what every builder writes, and the pictures its card shows."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from astroclip_bench.files import atomic_path
from dataset_builders.mock_survey.source import MockSurvey
from dataset_builders.parquet import build_dataset

FIGURES = ("galaxies.png", "spectra.png")


def build_folder(
    source: MockSurvey, out: Path | str, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write the data set folder of a survey, or complete one that was interrupted (see `build_dataset`)."""
    folder = build_dataset(source, out, workers=workers, progress=progress)
    for name in FIGURES:
        picture = files("dataset_builders.mock_survey").joinpath("figures", name)
        if not (folder / "figures" / name).exists():
            with atomic_path(folder / "figures" / name) as temporary:
                temporary.write_bytes(picture.read_bytes())
    return folder
