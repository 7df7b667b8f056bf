"""Figures 5 to 14 of Vrakkis's report, drawn from a trained and scored model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroclip_bench.analysis.structure import ISLAND_EPS, ISLAND_MINIMUM
from astroclip_bench.progress import Progress

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from astroclip_bench.analysis.subject import Subject
    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.records import Modality

    Show = Callable[[str], AbstractContextManager[Progress]]

FOLDER = "figures"
MAPS = {"figure-9": "spectrum", "figure-10": "image", "figure-11": "joint"}
PARTS = {
    "figure-12": ("image", "island", "image"),
    "figure-13": ("spectrum", "cluster", "spectrum"),
    "figure-14": ("spectrum", "cluster", "image"),
}
"""Figure -> space, kind of its parts, and modality in which their members are shown."""
KINDS = {
    "island": f"Islands (DBSCAN, eps {ISLAND_EPS}, at least {ISLAND_MINIMUM})",
    "cluster": "Clusters (k-means, k by silhouette)",
}
IMAGE_QUERIES, IMAGES_FOUND = 4, 3
SPECTRUM_QUERIES, SPECTRA_FOUND = 3, 5
SEED = 1
"""Draws the queries."""


def draw_figures(
    dataset: BenchDataset, out: Path, stage: str, steps_an_epoch: float, *, device: str, show_progress: Show
) -> tuple[Path, ...]:
    """Draw the figures of the model and result in a folder, and return their files.

    Parameters
    ----------
    out
        With ``model.pt``, ``result.json`` and its outcomes; the analysis is made beside them, if it is not there.
    stage
        The alignment, whose log is drawn.
    """
    import pandas as pd

    from astroclip_bench.analysis.subject import embed_subject
    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.figure_style import styled
    from astroclip_bench.report.material import gather
    from baselines.astroclip.logs import LOG
    from baselines.astroclip.scored import RESULT
    from baselines.astroclip.train import MODEL

    embedder = load_embedder(str(out / MODEL), device=device)
    subject = embed_subject(embedder, dataset, "test", None, show_progress)
    material = gather([out / RESULT])
    if material.analysis.reason:
        from astroclip_bench.analysis.analyse import analyse

        analyse(embedder, dataset, material.analysis.path, show_progress=show_progress)
    table = pd.read_parquet(material.analysis.path / "umap.parquet")
    with styled():
        drawn = {
            "figure-5": _training(dataset, out / stage / LOG, steps_an_epoch),
            **searches(subject, dataset, "figure-6", "figure-7"),
            "figure-8": _predictions(material),
            **{name: _map(table, space, dataset) for name, space in MAPS.items()},
            **_parts(table, subject, dataset),
        }
        return save_all(drawn, out / FOLDER)


def save_all(figures: Mapping[str, Figure], folder: Path) -> tuple[Path, ...]:
    """Write figures as PNG and PDF by their names; return the PNG files."""
    from astroclip_bench.figure_style import save_figure

    return tuple(save_figure(figure, folder / name)[0] for name, figure in figures.items())


def searches(subject: Subject, dataset: BenchDataset, images: str, spectra: str) -> dict[str, Figure]:
    """Return the figures, by the names given, of what is found for some queries drawn by lot: images, and spectra."""
    from astroclip_bench.analysis import gallery, neighbours

    rows = [int(row) for row in np.random.default_rng(SEED).permutation(subject.view.rows)[:IMAGE_QUERIES]]
    found = neighbours.searches(subject, rows, SPECTRA_FOUND)
    wanted = sorted(set(neighbours.shown_rows(found, rows)))
    image, spectrum = dataset.modalities["image"], dataset.modalities["spectrum"]
    arrays = {one.name: gallery.read_members(subject.view, one, wanted) for one in (image, spectrum)}
    title = f"Searches, {_data(dataset)}"
    few = rows[:SPECTRUM_QUERIES]
    return {
        images: neighbours.draw_similar_images(subject, image, arrays["image"], rows, IMAGES_FOUND, title),
        spectra: neighbours.draw_similar_spectra(
            subject, spectrum, arrays["spectrum"], few, SPECTRA_FOUND, title, (image, arrays["image"])
        ),
    }


def _training(dataset: BenchDataset, log: Path, steps_an_epoch: float) -> Figure:
    from baselines.astroclip.figures import plot_training

    figure: Figure = plot_training(log, steps_an_epoch, f"Heads aligned on {_data(dataset)}")
    return figure


def _predictions(material: Any) -> Figure:
    from astroclip_bench.report.predictions import draw_table_of_predictions
    from baselines.frozen_heads.reproduce import TABLE_PAIRS, TABLE_TASKS

    figure = draw_table_of_predictions(material, TABLE_TASKS, TABLE_PAIRS)
    assert figure is not None  # the result was scored with outcomes
    return figure


def _map(table: pd.DataFrame, space: str, dataset: BenchDataset) -> Figure:
    from astroclip_bench.report.maps import draw_map

    return draw_map(table[table["modality"] == space], f"UMAP of the {space} embeddings, {_data(dataset)}")


def _parts(table: pd.DataFrame, subject: Subject, dataset: BenchDataset) -> dict[str, Figure]:
    """Return the figures of islands and clusters."""
    from astroclip_bench.analysis import gallery, parts_map

    redshift = subject.label("redshift")
    figures = {}
    for name, (space, kind, shown) in PARTS.items():
        part = table[table["modality"] == space]
        labels, plane = part[kind].to_numpy(), part[["x", "y"]].to_numpy()
        modality: Modality = dataset.modalities[shown]
        members = sorted(row for rows in parts_map.members_of(labels, modality).values() for row in rows)
        arrays = gallery.read_members(subject.view, modality, members)
        captions = {row: f"z {redshift[row]:.2f}" for row in members}
        title = f"{KINDS[kind]} of the {space} embeddings, {_data(dataset)}"
        figures[name] = parts_map.draw_parts(plane, labels, kind, modality, arrays, captions, title)
    return figures


def _data(dataset: BenchDataset) -> str:
    from astroclip_bench.report.parts import data_name

    return data_name({"name": dataset.info.name, "simulated": dataset.info.simulated})
