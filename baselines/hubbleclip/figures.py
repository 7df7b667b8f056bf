"""The paper's figures: how often searches succeed, what texts find, and what is said of an image."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.analysis.gallery import show_image
from astroclip_bench.figure_style import COLOURS, GUIDE, PAGE_INCH, as_text, new_figure, set_title, styled
from baselines.hubbleclip.searches import DIRECTIONS, Accuracy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astroclip_bench.records import DatasetInfo, Modality

STYLES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
CAPTION_LETTERS, CLASS_LETTERS, QUERY_LETTERS, WORD_LETTERS = 46, 34, 26, 16


@dataclass(frozen=True)
class Found:
    """A query, and the images it finds, best first, with a word on each."""

    query: str
    images: Sequence[NDArray[np.floating]]
    words: Sequence[str]


@dataclass(frozen=True)
class Described:
    """An image with a word on it, its caption, and by model the classes closest to it."""

    image: NDArray[np.floating]
    word: str
    caption: str
    classes: Mapping[str, Sequence[str]]


def data_title(info: DatasetInfo) -> str:
    """Return the name of a data set, and whether it is simulated."""
    return f"{info.name} ({'SIMULATED' if info.simulated else 'real'} data)"


def draw_accuracy(searches: Mapping[str, Accuracy], title: str) -> Figure:
    """Return the share of searches that succeed against the returned part of the pool, a panel for each direction.

    Parameters
    ----------
    searches
        Model -> its searches.
    """
    with styled("train"):
        figure = new_figure(3.2)
        panels = figure.subplots(1, len(DIRECTIONS), sharey=True)
        for axis, direction in zip(panels, DIRECTIONS, strict=True):
            for number, (name, found) in enumerate(searches.items()):
                style, colour = STYLES[number % len(STYLES)], COLOURS[number % len(COLOURS)]
                axis.plot(found.percent, 100 * found.found[direction], ls=style, color=colour, label=as_text(name))
            axis.plot([0, 100], [0, 100], color=GUIDE, lw=0.8, label="random order")
            axis.set(xlim=(0, 100), ylim=(0, 101), xlabel="returned part of the pool (%)", title=direction)
            axis.grid()
        panels[0].set_ylabel("searches that find their pair (%)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        set_title(figure, title)
        return figure


def draw_found(rows: Sequence[Found], modality: Modality, title: str) -> Figure:
    """Return the images that each query finds, one row a query."""
    with styled("train"):
        columns = max(len(row.images) for row in rows)
        figure = new_figure(0.98 * len(rows) + 0.4, PAGE_INCH)
        grid = figure.subplots(len(rows), columns + 1, squeeze=False, width_ratios=[1.7] + [1] * columns)
        for axes, row in zip(grid, rows, strict=True):
            for axis in axes:
                axis.set_axis_off()
            words = textwrap.fill(row.query, QUERY_LETTERS)
            axes[0].text(0.0, 0.5, as_text(words), va="center", transform=axes[0].transAxes)
            for axis, image, word in zip(axes[1:], row.images, row.words, strict=False):
                show_image(axis, image, modality, textwrap.fill(word, WORD_LETTERS))
        set_title(figure, title)
        return figure


def draw_described(rows: Sequence[Described], modality: Modality, title: str) -> Figure:
    """Return images with the classes that models find closest, and their captions, one row an image."""
    with styled("train"):
        models = list(rows[0].classes)
        figure = new_figure(0.95 * len(rows) + 0.6, PAGE_INCH)
        widths = [1.0] + [1.9] * len(models) + [2.6]
        grid = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
        for axes, row in zip(grid, rows, strict=True):
            for axis in axes:
                axis.set_axis_off()
            axes[0].set_anchor("N")
            show_image(axes[0], row.image, modality, textwrap.fill(row.word, WORD_LETTERS))
            for axis, model in zip(axes[1:], models, strict=False):
                lines = [textwrap.shorten(text, CLASS_LETTERS, placeholder=" ...") for text in row.classes[model]]
                _write(axis, "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1)))
            _write(axes[-1], textwrap.fill(row.caption, CAPTION_LETTERS))
        heads = ["image", *(f"closest classes, {model}" for model in models), "caption"]
        for axis, head in zip(grid[0], heads, strict=True):
            axis.set_title(as_text(head), fontsize=7, loc="left", fontweight="bold")
        set_title(figure, title)
        return figure


def _write(axis: Any, text: str) -> None:
    axis.text(0.0, 0.98, as_text(text), va="top", fontsize=6.2, transform=axis.transAxes, linespacing=1.25)
