"""`astroclip-bench data build mock`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_SEED = 20_261


def parse_size(text: str) -> tuple[int, str]:
    """Return the number of galaxies and the data set's name for ``mini``, ``full`` or a number.

    Raises
    ------
    UserError
        If `text` is none of these.
    """
    from astroclip_bench.errors import UserError
    from dataset_builders.mock_survey.source import SIZES

    if text in SIZES:
        return SIZES[text], f"mock-{text}"
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--size {text}", f"a number of galaxies from 1, or one of {', '.join(SIZES)}")
    return int(text), f"mock-{int(text)}"


def build(
    out: Annotated[Path, typer.Option(help="Folder to write; new, empty, or of an interrupted build.")],
    size: Annotated[
        str, typer.Option(help="Number of galaxies, or mini (4,000), small (20,000) or full (200,000).")
    ] = "mini",
    workers: Annotated[int, typer.Option(min=1, help="Processes; the rows are the same for any number.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the survey; another seed gives other galaxies.")] = DEFAULT_SEED,
) -> None:
    """Build the simulated survey: images and spectra of the same galaxies, with labels.

    \b
    Examples:
      astroclip-bench data build mock --size mini --out mock-mini --workers 2
      astroclip-bench data build mock --size 8000 --seed 7 --out mock-8000
    """  # noqa: D301 - the escape is typer's mark for text to leave as it is
    from astroclip_bench.progress import progress_bar
    from dataset_builders.mock_survey.folder import build_folder
    from dataset_builders.mock_survey.source import MockSurvey

    number, name = parse_size(size)
    source = MockSurvey(number, seed=seed, name=name)
    with progress_bar(f"simulating {name}") as report:
        folder = build_folder(source, out, workers=workers, progress=report)
    typer.echo(folder)
