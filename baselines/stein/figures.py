"""Stein's figures: scores against labels, and images with those most like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.figure_style import COLOURS, MARKERS, new_figure, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.results.record import Score
    from baselines.stein.labels import Points

METRIC_NAMES = {"r2": "redshift, R²", "sigma_nmad": "redshift, σ_NMAD"}
SIDE_STEP = 1.05
"""Factor by which neighbouring lines are moved apart, so that their intervals are seen."""
QUERIES, FOUND = 6, 6


def draw_curves(points: Mapping[str, Mapping[str, Points]], title: str) -> Figure:
    """Draw each metric against the number of labels, a line with intervals of 95 % for each way of using them."""
    figure = new_figure(2.9)
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    for axis, (metric, lines) in zip(panels, points.items(), strict=True):
        for number, (name, line) in enumerate(lines.items()):
            across = [count * SIDE_STEP ** (number - 1) for count in line]
            values, bars = _with_bars(list(line.values()))
            style = {"color": COLOURS[number], "marker": MARKERS[number], "capsize": 2}
            axis.errorbar(across, values, bars, label=name, **style)
        counts = sorted({count for line in lines.values() for count in line})
        axis.set(xscale="log", xlabel="labelled galaxies", ylabel=METRIC_NAMES[metric])
        axis.set_xticks(counts, [f"{count:,}" for count in counts])
        axis.minorticks_off()
        axis.grid()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    set_title(figure, title)
    return figure


def _with_bars(scores: Sequence[Score]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values (n,) and how far their intervals reach below and above them, (2, n); 0 where there is none."""
    values = np.array([score.value for score in scores], np.float64)
    ends = np.array([(score.low, score.high) for score in scores], np.float64).T
    return values, np.nan_to_num(np.abs(ends - values))


def draw_neighbours(dataset: BenchDataset, split: str, vectors: NDArray[np.floating], title: str, path: Path) -> None:
    """Draw galaxies and those whose images are most like theirs.

    The queries stand at even steps of the cosine of their nearest neighbour, so that they show what a search usually
    gives.

    Parameters
    ----------
    vectors
        (n, d), of the objects of `split` in order.
    """
    from astroclip_bench.analysis.gallery import Row, draw_gallery, read_members

    view, modality = dataset.splits[split], dataset.modalities["image"]
    nearest, cosines = most_alike(vectors, FOUND)
    order = np.argsort(-cosines[:, 0], kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, 2 * QUERIES + 1).astype(int)[1::2]]
    redshift = view.column("redshift") if "redshift" in view.schema.names else np.full(view.rows, np.nan)
    rows = []
    for number, query in enumerate(chosen, 1):
        members = [int(query), *map(int, nearest[query])]
        places = ["query", *(f"{cosine:.2f}" for cosine in cosines[query])]
        captions = [f"{place}, z {redshift[row]:.2f}" for place, row in zip(places, members, strict=True)]
        rows.append(Row(f"query {number}", members, captions))
    arrays = read_members(view, modality, sorted({row for one in rows for row in one.members}))
    draw_gallery(rows, modality, arrays, title, path)


def most_alike(vectors: NDArray[np.floating], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows (n, count) of the vectors of greatest cosine to each, itself left out, and the cosines."""
    from sklearn.preprocessing import normalize

    from astroclip_bench.analysis.diagnostics import without_self
    from astroclip_bench.tasks.neighbours import nearest_neighbours

    unit = normalize(np.asarray(vectors, np.float64))
    _, found = nearest_neighbours(unit, unit, count + 1)
    others = without_self(found)
    return others, np.einsum("nd,nkd->nk", unit, unit[others])
