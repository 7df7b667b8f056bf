"""Pictures of similarity searches in a shared space: every modality asked about, every modality searched.

After figures 6 and 7 of Vrakkis's, and 3 and 4 of Siddiquei's reproduction. There the first galaxy found within one
modality is the query itself; here it is left out, since finding it says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.analysis import gallery
from astroclip_bench.figure_style import COLOURS, as_text, new_figure, set_title
from astroclip_bench.tasks.protocols import l2_normalise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astroclip_bench.analysis.subject import Subject
    from astroclip_bench.records import Modality

Arrays = Mapping[int, NDArray[np.float32]]
Pair = tuple[str, str]

QUERY_COLOUR, TRUE_COLOUR, FOUND_COLOUR = COLOURS[6], COLOURS[1], COLOURS[0]
IMAGE_INCH, LANE_INCH = 0.6, 0.3
KEY = "query → searched; orange: the query's own"
GAP = 0.12
"""Between the searches, in widths of an image."""


def nearest(asking: NDArray[np.floating], searched: NDArray[np.floating], rows: Sequence[int], count: int) -> Any:
    """Return the `count` rows (len(rows), count) of `searched` (n, d) nearest by cosine to some rows of `asking` (n, d).

    Row i of one and of the other are the same object. Within one modality, where both are the same vectors, the object
    itself is left out.
    """
    similarity = l2_normalise(asking[list(rows)]) @ l2_normalise(searched).T
    if asking is searched:
        similarity[np.arange(len(rows)), rows] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, :count]


def searches(subject: Subject, rows: Sequence[int], count: int) -> dict[Pair, NDArray[np.int64]]:
    """Return what is found for some rows of the subject: (modality asked about, searched) -> (len(rows), count)."""
    vectors = subject.vectors
    return {(one, other): nearest(vectors[one], vectors[other], rows, count) for one in vectors for other in vectors}


def draw_similar_images(
    subject: Subject, modality: Modality, arrays: Arrays, rows: Sequence[int], count: int, title: str
) -> Figure:
    """Return a figure of queries, a row each, and of the images of the galaxies found in each search.

    Parameters
    ----------
    modality
        What is shown of every galaxy, whichever was searched; `arrays` holds it by row.
    rows
        The queries.
    count
        Galaxies shown of each search.
    """
    found = searches(subject, rows, count)
    figure = new_figure(IMAGE_INCH * len(rows) + 0.6)
    widths = [1.0] + [GAP, *[1.0] * count] * len(found)
    grid: Any = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
    for place, (axes, row) in enumerate(zip(grid, rows, strict=True)):
        shown = [(axes[0], row, QUERY_COLOUR)]
        for number, members in enumerate(found.values()):
            first = 2 + number * (count + 1)
            axes[first - 1].set_axis_off()
            pictures = zip(axes[first : first + count], members[place], strict=True)
            shown += [(axis, int(member), _colour(row, member)) for axis, member in pictures]
        for axis, member, colour in shown:
            _image(axis, arrays[member], modality, subject, member, colour)
    grid[0, 0].set_title("query", fontsize=7)
    for number, pair in enumerate(found):
        grid[0, 2 + number * (count + 1) + count // 2].set_title(as_text(_name(pair)), fontsize=7)
    set_title(figure, f"{title}: {KEY}")
    return figure


def draw_similar_spectra(
    subject: Subject,
    spectrum: Modality,
    arrays: Arrays,
    rows: Sequence[int],
    count: int,
    title: str,
    beside: tuple[Modality, Arrays] | None = None,
) -> Figure:
    """Return a figure of the spectra of queries and, below each, of the galaxies found in each search.

    Parameters
    ----------
    spectrum, arrays, rows, count
        As in `draw_similar_images`.
    beside
        Another modality, of images, in which the queries are shown as well.
    """
    found = searches(subject, rows, count)
    figure = new_figure((LANE_INCH * (count + 1) + 0.15) * len(rows) + 0.9)
    widths = ([0.62] if beside else []) + [1.0] * len(found)
    grid = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
    for place, (axes, row) in enumerate(zip(grid, rows, strict=True)):
        if beside:
            _image(axes[0], beside[1][row], beside[0], subject, row, QUERY_COLOUR)
        for axis, (pair, members) in zip(axes[-len(found) :], found.items(), strict=True):
            shown = [row, *map(int, members[place])]
            colours = [QUERY_COLOUR, *(_colour(row, member) for member in shown[1:])]
            captions = [_redshift(subject, member) for member in shown]
            gallery.show_spectra(axis, [arrays[member] for member in shown], spectrum, captions, colours)
            if place == 0:
                axis.set_title(as_text(_name(pair)), fontsize=7)
            if place < len(rows) - 1:
                axis.tick_params(labelbottom=False)
    figure.supxlabel(gallery.SPECTRUM_AXIS, fontsize=7)
    set_title(figure, f"{title}: {KEY}")
    return figure


def shown_rows(found: Mapping[Pair, NDArray[np.int64]], rows: Sequence[int]) -> Iterator[int]:
    """Yield the queries and all that was found for them."""
    yield from rows
    for members in found.values():
        yield from map(int, members.ravel())


def _image(axis: Any, image: NDArray[np.float32], modality: Modality, subject: Subject, row: int, colour: str) -> None:
    gallery.show_image(axis, image, modality, "")
    axis.texts[-1].remove()
    axis.set_xlabel(_redshift(subject, row), fontsize=5.5, labelpad=1)
    axis.spines[:].set(color=colour, linewidth=1.5 if colour == FOUND_COLOUR else 2)


def _redshift(subject: Subject, row: int) -> str:
    value = subject.label("redshift")[row]
    return f"z {value:.2f}" if np.isfinite(value) else ""


def _colour(query: int, member: int) -> str:
    return TRUE_COLOUR if member == query else FOUND_COLOUR


def _name(pair: Pair) -> str:
    return f"{pair[0]} → {pair[1]}"
