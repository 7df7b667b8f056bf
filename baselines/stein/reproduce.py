"""Stein from images to scores: momentum contrast, a search by similarity, and redshifts from few labels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroclip_bench.files import write_json
from baselines.systems.system import Outcome, Scale

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from baselines.stein.labels import Curves

RECIPES: Mapping[Scale, tuple[str, str]] = {
    "mini": ("stein-mini", "stein-photoz-mini"),
    "published": ("stein", "stein-photoz"),
}
"""Recipes of the pre-training and of the training on labels."""
LABELS: Mapping[Scale, tuple[int, ...]] = {
    "mini": (100, 300, 1000),
    "published": (100, 300, 1000, 3000, 10_000, 30_000),
}
"""Numbers of labels, beside all."""
SEARCHED = "train"
"""The split in which images are searched for: no label takes part."""


def reproduce(dataset: BenchDataset, out: Path, *, scale: Scale, device: str = "cpu", quiet: bool = False) -> Outcome:
    """Train by momentum contrast, score, search, and train on labels; see `Outcome`."""
    from astroclip_bench.analysis.gallery import save_picture
    from astroclip_bench.embedders import embed_split, load_embedder
    from astroclip_bench.figure_style import styled
    from astroclip_bench.progress import progress_bar
    from baselines.astroclip.config import read_recipe
    from baselines.astroclip.scored import RESULT, score_model
    from baselines.astroclip.train import run_recipe
    from baselines.stein import figures
    from baselines.stein.labels import SCRATCH, TUNED, label_curves

    show = partial(progress_bar, quiet=quiet)
    contrast, photoz = RECIPES[scale]
    model = run_recipe(read_recipe(contrast), dataset, out, quiet=quiet)["image"]
    score_model(model, dataset, out / RESULT, device=device, show_progress=show)
    curves = label_curves(model, dataset, photoz, LABELS[scale], out / "labels", device, show, quiet)
    view, modality = dataset.splits[SEARCHED], dataset.modalities["image"]
    with show("embed the images that are searched") as report:
        embedder = load_embedder(str(model), device=device)
        vectors = embed_split(embedder, view, modality, data_digest=dataset.digest, progress=report).vectors
    scores = {**curve_scores(curves), **likeness(vectors, view.column("redshift"))}
    write_json(out / "scores.json", scores)
    data = f"{dataset.info.name}{' (SIMULATED data)' if dataset.info.simulated else ''}"
    paths = tuple(out / "figures" / f"figure-{number}.png" for number in (1, 2))
    with styled("train"):
        title = f"MoCo v2 on {data}: redshifts from images against the number of labels, intervals of 95 %"
        save_picture(figures.draw_curves(curves.points, title), paths[0])
    title = f"MoCo v2 on {data}: images most alike, with the cosine to the query, no label used"
    figures.draw_neighbours(dataset, SEARCHED, vectors, title, paths[1])
    results = {
        "MoCo v2, no labels": out / RESULT,
        f"{TUNED}, all labels": curves.results[TUNED],
        f"{SCRATCH}, all labels": curves.results[SCRATCH],
    }
    return Outcome(results, paths, scores)


def curve_scores(curves: Curves) -> dict[str, float]:
    """Return the points of the curves by name."""
    return {
        f"redshift {metric}, {line}, {count} labels": float(score.value)
        for metric, lines in curves.points.items()
        for line, points in lines.items()
        for count, score in points.items()
        if score.value is not None
    }


def likeness(vectors: np.ndarray, redshift: np.ndarray) -> dict[str, float]:
    """Return how far the redshift of the most alike image is off, against that of any other."""
    from baselines.stein.figures import most_alike

    known = np.isfinite(redshift)
    nearest = most_alike(vectors[known], 1)[0][:, 0]
    z = redshift[known]
    other = np.random.default_rng(0).permutation(len(z))
    return {
        "median redshift difference to the most alike image": float(np.median(np.abs(z[nearest] - z))),
        "median redshift difference to any image": float(np.median(np.abs(z[other] - z))),
    }
