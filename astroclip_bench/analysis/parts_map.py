"""One picture of a space: its map coloured by part, and what some of the parts look like.

After figures 12 to 14 of Vrakkis's reproduction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.analysis import gallery
from astroclip_bench.figure_style import COLOURS, as_text, new_figure, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astroclip_bench.records import Modality

PARTS, IMAGES, SPECTRA = 4, 6, 3
"""Parts shown, and members of each."""
HEIGHT_INCH = 3.6
OTHER_COLOUR = "#777777"
WAVELENGTHS = "wavelength_start_angstrom"


def members_of(labels: NDArray[np.integer], modality: Modality, seed: int = 0) -> dict[int, list[int]]:
    """Return some members, drawn by lot, of the largest parts: part -> rows.

    Parameters
    ----------
    labels
        Part of each object (n,), the largest numbered 0; negative where it is in none.
    modality
        What is to be shown of them, which decides for how many there is room.
    """
    random = np.random.default_rng(seed)
    count = SPECTRA if WAVELENGTHS in modality.axes else IMAGES
    parts = range(min(int(labels.max()) + 1, PARTS))
    return {part: random.permutation(np.flatnonzero(labels == part))[:count].tolist() for part in parts}


def draw_parts(
    plane: NDArray[np.floating],
    labels: NDArray[np.integer],
    kind: str,
    modality: Modality,
    arrays: Mapping[int, NDArray[np.float32]],
    captions: Mapping[int, str],
    title: str,
    seed: int = 0,
) -> Figure:
    """Return a figure of a map (n, 2) whose parts have colours, and of members of the largest ones.

    Parameters
    ----------
    labels, modality, seed
        As in `members_of`, whose rows `arrays` and `captions` hold.
    kind
        What a part is called, such as ``island``.
    """
    members = members_of(labels, modality, seed)
    figure = new_figure(HEIGHT_INCH)
    halves: Any = figure.subfigures(1, 2, width_ratios=[1, 1.15])
    left, right = halves
    _draw_map(left.subplots(), plane, labels, kind, list(members))
    names = [f"{kind} {part}\n{int((labels == part).sum()):,} galaxies" for part in members]
    show = _show_spectra if WAVELENGTHS in modality.axes else _show_images
    if members:
        show(right, list(members.values()), names, [_colour(part) for part in members], modality, arrays, captions)
    set_title(figure, title)
    return figure


def _draw_map(
    axis: Any, plane: NDArray[np.floating], labels: NDArray[np.integer], kind: str, shown: Sequence[int]
) -> None:
    """Draw a map: parts that are shown, or all of them where their colours suffice, apart from the others."""
    from matplotlib.patheffects import withStroke

    parts = np.unique(labels[labels >= 0])
    coloured = list(parts) if len(parts) <= len(COLOURS) else list(shown)
    named = np.array([_colour(value) if value in coloured else _rest(value) for value in labels])
    size = float(np.clip(4000 / max(len(plane), 1), 0.5, 9))
    axis.scatter(*plane.T, c=named, s=size, linewidth=0, rasterized=True)
    for part in coloured:
        centre = np.median(plane[labels == part], axis=0)
        stroke = [withStroke(linewidth=2.5, foreground="white")]
        axis.text(*centre, str(part), fontsize=9, weight="bold", ha="center", va="center", path_effects=stroke)
    axis.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
    others = "" if len(coloured) == len(parts) else f", the largest {len(coloured)} in colour; light grey: in none"
    axis.set_title(f"{len(parts)} {kind}{'' if len(parts) == 1 else 's'}{others}", fontsize=7.5)


def _show_images(
    figure: Any,
    rows: Sequence[Sequence[int]],
    names: Sequence[str],
    colours: Sequence[str],
    modality: Modality,
    arrays: Mapping[int, NDArray[np.float32]],
    captions: Mapping[int, str],
) -> None:
    grid = figure.subplots(len(rows), max(map(len, rows)), squeeze=False)
    for axes, members, name, colour in zip(grid, rows, names, colours, strict=True):
        axes[0].set_ylabel(as_text(name), fontsize=7)
        for axis in axes:
            axis.set(xticks=[], yticks=[], frame_on=False)
        for axis, member in zip(axes, members, strict=False):
            gallery.show_image(axis, arrays[member], modality, captions[member])
            axis.set_frame_on(True)
            axis.spines[:].set(color=colour, linewidth=2)


def _show_spectra(
    figure: Any,
    rows: Sequence[Sequence[int]],
    names: Sequence[str],
    colours: Sequence[str],
    modality: Modality,
    arrays: Mapping[int, NDArray[np.float32]],
    captions: Mapping[int, str],
) -> None:
    axes = figure.subplots(len(rows), 1, squeeze=False, sharex=True)[:, 0]
    for axis, members, name, colour in zip(axes, rows, names, colours, strict=True):
        shown = [arrays[member] for member in members]
        gallery.show_spectra(axis, shown, modality, [captions[member] for member in members], [colour])
        axis.set_ylabel(as_text(name), fontsize=7)
    axes[-1].set_xlabel(gallery.SPECTRUM_AXIS, fontsize=7)


def _rest(part: int) -> str:
    return gallery.NOWHERE_COLOUR if part < 0 else OTHER_COLOUR


def _colour(part: int) -> str:
    return COLOURS[part % len(COLOURS)]
