"""Figures of the embedding space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroclip_bench.figure_style import NUMBER_MAP, as_text, new_figure, set_title
from astroclip_bench.report.material import Material
from astroclip_bench.report.parts import title_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLOURED_BY = {"redshift": "redshift", "log_stellar_mass": "log M* (M☉)"}
"""Columns of the table of the map, and what they are."""
SHOWN_PERCENT = (1, 99)
LARGEST_POINT, SMALLEST_POINT, POINTS_AREA = 6.0, 0.4, 3000.0


def draw_maps(material: Material, table: pd.DataFrame) -> Figure | None:
    """Return the UMAP of each space, coloured by each known label.

    Parameters
    ----------
    table
        As `analyse` writes it: a row for each object and space.
    """
    spaces = list(dict.fromkeys(table["modality"]))
    labels = [name for name in COLOURED_BY if np.isfinite(table[name].to_numpy(float)).any()]
    if not labels or not spaces:
        return None
    figure = new_figure(2.25 * len(labels) + 0.3)
    grid = figure.subplots(len(labels), len(spaces), squeeze=False)
    for axes, label in zip(grid, labels, strict=True):
        values = table[label].to_numpy(float)
        low, high = np.percentile(values[np.isfinite(values)], SHOWN_PERCENT)
        for axis, space in zip(axes, spaces, strict=True):
            part = table[(table["modality"] == space) & np.isfinite(values)]
            size = float(np.clip(POINTS_AREA / max(len(part), 1), SMALLEST_POINT, LARGEST_POINT))
            drawn = axis.scatter(
                part["x"], part["y"], c=part[label], s=size, lw=0, vmin=low, vmax=high, cmap=NUMBER_MAP, rasterized=True
            )
            axis.set(xticks=[], yticks=[])
        figure.colorbar(drawn, ax=list(axes), label=COLOURED_BY[label], extend="both", fraction=0.03, pad=0.01)
    for axis, space in zip(grid[0], spaces, strict=True):
        axis.set_title(f"{as_text(space)} embeddings")
    set_title(figure, f"{title_of(material.result)}: UMAP")
    return figure


def draw_map(table: pd.DataFrame, title: str) -> Figure:
    """Return the UMAP of one space, coloured by each known label, side by side.

    After figures 9 to 11 of Vrakkis's reproduction.

    Parameters
    ----------
    table
        The rows of one space.
    """
    labels = [name for name in COLOURED_BY if np.isfinite(table[name].to_numpy(float)).any()]
    figure = new_figure(3.1)
    for axis, label in zip(figure.subplots(1, max(len(labels), 1), squeeze=False)[0], labels, strict=False):
        part = table[np.isfinite(table[label].to_numpy(float))]
        low, high = np.percentile(part[label], SHOWN_PERCENT)
        size = 2 * float(np.clip(POINTS_AREA / len(part), SMALLEST_POINT, LARGEST_POINT))
        drawn = axis.scatter(
            part["x"], part["y"], c=part[label], s=size, lw=0, vmin=low, vmax=high, cmap=NUMBER_MAP, rasterized=True
        )
        axis.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
        figure.colorbar(drawn, ax=axis, label=COLOURED_BY[label], extend="both", pad=0.02)
    set_title(figure, title)
    return figure
