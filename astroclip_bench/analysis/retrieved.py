"""Pictures of searches: a galaxy seen in one modality, and what is found for it in the other.

The queries stand at even steps of the rank that their own other half has, from the best found to the worst: they show
what a search usually gives, and not its successes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.analysis import gallery
from astroclip_bench.figure_style import COLOURS, GUIDE, LINES_ANGSTROM, new_figure, set_title, styled
from astroclip_bench.records import Modality, wavelength_angstrom
from astroclip_bench.tasks.protocols import get_protocol, scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from astroclip_bench.analysis.subject import Subject
    from astroclip_bench.datasets import BenchDataset

    Layout = Figure | SubFigure

PROTOCOL = "cosine"
QUERIES, FOUND = 5, 5
TRUE_COLOUR, OTHER_COLOUR, QUERY_COLOUR = COLOURS[1], COLOURS[0], COLOURS[6]
ROW_INCH, HEAD_INCH = 1.75, 0.5
LABEL_HEIGHTS = (1.0, 1.08, 1.16, 1.24)
"""Of the names of lines, in turn, so that close ones do not overlap; in parts of the panel's height."""
WAVELENGTHS = "wavelength_start_angstrom"
"""The axis by which a modality of spectra is known."""
LANGUAGE, QUERY_LINE, FOUND_LINE = "language", 50, 110
"""The same of texts, and at how many characters that of a query and those found are wrapped."""

Arrays = Mapping[int, Any]
"""Row of the split -> its image, spectrum or text."""


@dataclass(frozen=True)
class Search:
    """A query (row of the split), the rows found for it, best first, and the rank of its own other half (from 1)."""

    query: int
    found: tuple[int, ...]
    rank: float

    @property
    def shown(self) -> tuple[int, ...]:
        """The rows found, and the query's own last where it is not among them."""
        return self.found if self.query in self.found else (*self.found, self.query)


def find_examples(
    query: NDArray[np.float32],
    reference: NDArray[np.float32],
    count: int = QUERIES,
    found: int = FOUND,
    things: NDArray[Any] | None = None,
) -> list[Search]:
    """Return searches of some queries (n, d) among their pairs (n, d), at even steps of the rank of the true pair.

    Of objects of the same of `things` (n,), which share a view, the first alone is searched for and found.
    """
    from astroclip_bench.tasks.retrieval import first_of_each, retrieval_counts

    members = np.arange(len(query)) if things is None else first_of_each(things)
    asking, searched = scale(query[members], reference[members], get_protocol(PROTOCOL))
    counts = retrieval_counts(asking, searched).forward
    ranks = 1 + counts.greater + counts.ties / 2
    order = np.argsort(ranks, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, 2 * min(count, len(order)) + 1).astype(int)[1::2]]
    nearest = np.argsort(-(asking[chosen] @ searched.T), axis=1, kind="stable")[:, :found]
    return [
        Search(int(members[row]), tuple(map(int, members[best])), float(ranks[row]))
        for row, best in zip(chosen, nearest, strict=True)
    ]


def draw_searches(subject: Subject, dataset: BenchDataset, title: str, folder: Path) -> list[str]:
    """Draw some searches from each modality to each other one that can be shown; return the files' names.

    There are none where the model puts its modalities into spaces of their own.
    """
    if not subject.shared:
        return []
    shown = [modality for name in subject.vectors if gallery.draws(modality := dataset.modalities[name])]
    pairs = [(one, other) for one in shown for other in shown if one is not other]
    searches = {
        (one.name, other.name): find_examples(
            subject.vectors[one.name], subject.vectors[other.name], things=_things(subject, one, other)
        )
        for one, other in pairs
    }
    rows = sorted({row for found in searches.values() for search in found for row in search.shown})
    arrays = {modality.name: gallery.read_members(subject.view, modality, rows) for modality in shown if rows}
    names = []
    for query, reference in pairs:
        names.append(f"retrieval-{query.name}-to-{reference.name}.png")
        with styled():
            figure = _draw(searches[query.name, reference.name], query, reference, arrays, subject)
            set_title(figure, f"{query.name} in search of {reference.name}: {title}")
            gallery.save_picture(figure, folder / names[-1])
    return names


def _draw(
    searches: Sequence[Search], query: Modality, reference: Modality, arrays: Mapping[str, Arrays], subject: Subject
) -> Figure:
    figure = new_figure(HEAD_INCH + ROW_INCH * len(searches))
    redshift = subject.label("redshift")
    widths = (1.0, 3.6) if WAVELENGTHS in reference.axes else (1.7, 3.5)
    for part, search in zip(_rows(figure, len(searches)), searches, strict=True):
        left, right = part.subfigures(1, 2, width_ratios=widths)
        z = redshift[search.query]
        _show(left.subplots(), [arrays[query.name][search.query]], query, [_caption("query", z)], [QUERY_COLOUR], z)
        captions = [_caption(_place(search, row), redshift[row]) for row in search.shown]
        colours = [TRUE_COLOUR if row == search.query else OTHER_COLOUR for row in search.shown]
        found = [arrays[reference.name][row] for row in search.shown]
        _show_found(right, found, reference, captions, colours, z)
    return figure


def _things(subject: Subject, query: Modality, reference: Modality) -> NDArray[Any] | None:
    name = reference.shared_by or query.shared_by
    return subject.view.column(name) if name else None


def _rows(figure: Figure, count: int) -> list[Any]:
    return [row[0] for row in figure.subfigures(count, 1, squeeze=False)]


def _caption(place: str, redshift: float) -> str:
    return f"{place}\nz {redshift:.3f}" if np.isfinite(redshift) else place


def _place(search: Search, row: int) -> str:
    """Return at which place the row was found; the query's own is named."""
    return f"TRUE {search.rank:g}" if row == search.query else f"{search.shown.index(row) + 1}"


def _show(
    axis: Axes, arrays: Sequence[Any], modality: Modality, captions: Sequence[str], colours: Sequence[str], z: float
) -> None:
    """Show an image, a text, or spectra with the lines of an object of redshift `z` marked."""
    if LANGUAGE in modality.axes:
        gallery.show_texts(axis, arrays, captions, colours, QUERY_LINE if len(arrays) == 1 else FOUND_LINE)
        return
    if WAVELENGTHS not in modality.axes:
        gallery.show_image(axis, arrays[0], modality, captions[0])
        axis.spines[:].set(color=colours[0], linewidth=2)
        return
    gallery.show_spectra(axis, arrays, modality, captions, colours)
    wave = wavelength_angstrom(modality)
    for number, (name, rest) in enumerate(LINES_ANGSTROM.items()):
        observed = rest * (1 + z)
        if wave[0] < observed < wave[-1]:
            axis.axvline(observed, color=GUIDE, lw=0.5, ls=":", zorder=0)
            height = LABEL_HEIGHTS[number % len(LABEL_HEIGHTS)]
            at = axis.get_xaxis_transform()
            axis.text(observed, height, name, transform=at, fontsize=6, ha="center", va="bottom")
    axis.set_xlabel("observed wavelength (Å)", fontsize=6.5, labelpad=1)


def _show_found(
    part: SubFigure,
    arrays: Sequence[Any],
    modality: Modality,
    captions: Sequence[str],
    colours: Sequence[str],
    z: float,
) -> None:
    if WAVELENGTHS in modality.axes or LANGUAGE in modality.axes:
        axis = part.subplots()
        _show(axis, arrays, modality, [caption.replace("\n", ", ") for caption in captions], colours, z)
        return
    axes = part.subplots(1, FOUND + 1, squeeze=False)[0]
    for axis, array, caption, colour in zip(axes, arrays, captions, colours, strict=False):
        _show(axis, [array], modality, [caption], [colour], z)
    for axis in axes[len(arrays) :]:
        axis.set_axis_off()
