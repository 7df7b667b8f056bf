"""How figures look, everywhere: colours, sizes, and how they are written.

matplotlib is imported inside the functions; a figure here belongs to no window system.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclip_bench.errors import MissingExtraError
from astroclip_bench.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")
"""Of Okabe and Ito (2008), which the colour-blind tell apart."""
MARKERS = "osD^vPX*"
"""Told apart without colour, in the order of `COLOURS`."""
DENSITY_MAP, NUMBER_MAP = "cividis", "viridis"
"""Colour maps of counts and of other numbers: of even steps in brightness, for every kind of sight."""
GUIDE = "#555555"
"""Colour of lines that are no data: chance, floors, the line of equality."""

PAGE_INCH = 7.2
"""Width of two columns of a journal: at this size the text is that of a caption."""
TITLE_LETTERS_AN_INCH = 13
"""Of a size of 9 points, with some room."""
DPI = 200
SETTINGS: Mapping[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.3,
    "figure.titlesize": 9,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # text stays text in the PDF
}

LINES_ANGSTROM: Mapping[str, float] = {
    "[O II]": 3728.5, "K": 3934.8, "H": 3969.6, "Hδ": 4102.9, "G": 4305.6, "Hβ": 4862.7, "[O III]": 5008.2,
    "Mg b": 5176.6, "Na D": 5895.6, "Hα": 6564.6, "[S II]": 6725.0,
}  # fmt: skip
"""Vacuum wavelengths at rest of what one knows a galaxy's spectrum by."""


@contextmanager
def styled(extra: str = "report") -> Iterator[None]:
    """Draw with `SETTINGS` within the block.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed; it names `extra`.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra) from error
    settings: Any = dict(SETTINGS)
    with rc_context(settings):
        yield


def new_figure(height_inch: float, width_inch: float = PAGE_INCH) -> Figure:
    """Return an empty figure, laid out so that nothing overlaps or is cut off."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inch, height_inch), layout="constrained")


def as_text(name: str) -> str:
    """Return a name as matplotlib shows it letter by letter: a dollar sign begins no formula."""
    return name.replace("$", r"\$")


def set_title(figure: Figure, title: str) -> None:
    """Put a title above a figure, letter by letter, in as many lines as it takes."""
    width = int(TITLE_LETTERS_AN_INCH * figure.get_figwidth())
    figure.suptitle(as_text(textwrap.fill(title, width)))


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG and PDF beside one another; the same figure gives the same bytes."""
    paths = [stem.with_name(f"{stem.name}{suffix}") for suffix in (".png", ".pdf")]
    for path in paths:
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=DPI, format=path.suffix[1:], metadata=metadata)
        figure.set_layout_engine("none")  # what the first file was laid out by holds for the second
    return paths
