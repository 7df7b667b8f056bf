"""The analysis of one model on one split: diagnostics, maps, clusters, outliers and pictures, in one folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroclip_bench.analysis import diagnostics, gallery, structure
from astroclip_bench.analysis.retrieved import draw_searches
from astroclip_bench.analysis.subject import Space, Subject, embed_subject
from astroclip_bench.analysis.summaries import (
    LABELS,
    describe_space,
    diagnose,
    map_table,
    outlier_table,
    strangest,
)
from astroclip_bench.errors import MissingExtraError
from astroclip_bench.files import atomic_path, digest_strings, write_json
from astroclip_bench.progress import progress_bar

if TYPE_CHECKING:
    import pandas

    from astroclip_bench.datasets import BenchDataset, SplitView
    from astroclip_bench.embedders import Embedder
    from astroclip_bench.inputs import ShowProgress

ANALYSIS_VERSION = 1
SHOWN_PARTS, SHOWN_MEMBERS, SHOWN_OUTLIERS = 8, 8, 16
"""Parts of a space that a gallery shows, objects of each, and outliers."""

EXTRAS = {"umap": "umap-learn", "matplotlib": "matplotlib"}
"""Modules of the extra `report` that an analysis needs, and the packages that hold them."""


def _silent(what: str) -> Any:
    return progress_bar(what, quiet=True)


def analyse(
    embedder: Embedder,
    dataset: BenchDataset,
    out: Path,
    *,
    split: str = "test",
    against: Embedder | None = None,
    limit: int | None = None,
    eps: float = structure.ISLAND_EPS,
    minimum: int = structure.ISLAND_MINIMUM,
    seed: int = 0,
    show_progress: ShowProgress = _silent,
) -> dict[str, Any]:
    """Analyse the embedding spaces of a model, and write the analysis into a folder.

    Parameters
    ----------
    embedder, dataset, split
        Whose embeddings of which objects.
    out
        Gets ``analysis.json``, ``umap.parquet``, ``outliers.parquet``, ``umap.png`` and pictures under ``gallery``.
    against
        Another model, whose spaces of the same modalities are compared with this one's.
    limit
        Use this many objects, chosen by hash of their ids.
    eps, minimum
        Of the islands on the map: see `structure.find_islands`.
    seed
        Of the map, the clusters, and the choice of what is shown.

    Returns
    -------
    dict
        What ``analysis.json`` holds.

    Raises
    ------
    DataError
        If the data set has no such split, or shares no modality with the model.
    MissingExtraError
        If umap-learn or matplotlib is not installed.
    """
    for module, package in EXTRAS.items():
        if find_spec(module) is None:
            raise MissingExtraError(package, "report")
    subject = embed_subject(embedder, dataset, split, limit, show_progress)
    vectors = structure.spaces(subject.vectors, subject.shared)
    found: dict[str, Space] = {}
    with show_progress("map and cluster") as report:
        for name, array in vectors.items():
            found[name] = Space.of(array, eps, minimum, seed)
            report(len(found) * len(array), len(vectors) * len(array))
    other = None if against is None else embed_subject(against, dataset, split, limit, show_progress)
    settings = {"limit": limit, "island_eps": eps, "island_minimum": minimum, "neighbours": diagnostics.NEIGHBOURS}
    analysis = {
        "analysis_version": ANALYSIS_VERSION,
        "dataset": _describe_dataset(dataset, subject.view),
        "embedder": asdict(embedder.info),
        "against": None if against is None else asdict(against.info),
        "seeds": {"umap": seed, "kmeans": seed, "gallery": seed},
        "settings": settings,
        "diagnostics": diagnose(subject, other),
        "spaces": {name: describe_space(space, subject.columns) for name, space in found.items()},
        "outliers": {name: strangest(space, subject) for name, space in found.items()},
    }
    title = (
        f"{embedder.info.name} on {dataset.info.name} {split}{' (SIMULATED data)' if dataset.info.simulated else ''}"
    )
    _write_table(map_table(found, subject), out / "umap.parquet")
    _write_table(outlier_table(found, subject), out / "outliers.parquet")
    _draw_maps(found, subject, title, out / "umap.png")
    pictures = draw_searches(subject, dataset, title, out / "gallery")
    pictures += _draw_galleries(found, subject, dataset, title, out / "gallery", seed)
    analysis["files"] = ["umap.parquet", "outliers.parquet", "umap.png", *(f"gallery/{name}" for name in pictures)]
    plain: dict[str, Any] = to_plain(analysis)
    write_json(out / "analysis.json", plain)
    return plain


def to_plain(value: Any) -> Any:
    """Return a value as JSON can hold it: text keys, lists, and None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _describe_dataset(dataset: BenchDataset, view: SplitView) -> dict[str, Any]:
    return {
        "name": dataset.info.name,
        "version": dataset.info.version,
        "digest": dataset.digest,
        "simulated": dataset.info.simulated,
        "split": view.name,
        "rows": view.rows,
        "ids_digest": digest_strings(view.object_ids),
    }


def _write_table(table: pandas.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False, compression="zstd")


def _draw_maps(found: Mapping[str, Space], subject: Subject, title: str, path: Path) -> None:
    numbers = {label: subject.columns[label] for label in LABELS if label in subject.columns}
    gallery.draw_maps(
        {name: space.plane for name, space in found.items()},
        dict.fromkeys(found, numbers),
        {name: {"clusters": space.clusters.labels, "islands": space.islands} for name, space in found.items()},
        f"UMAP of {title}",
        path,
    )


def _draw_galleries(
    found: Mapping[str, Space], subject: Subject, dataset: BenchDataset, title: str, folder: Path, seed: int
) -> list[str]:
    """Draw what clusters, islands and outliers of each space look like in each modality; return the files' names."""
    rows = {
        (name, kind): _gallery_rows(kind, space, subject, seed)
        for name, space in found.items()
        for kind in ("clusters", "islands", "outliers")
    }
    members = sorted({member for parts in rows.values() for row in parts for member in row.members})
    names = []
    for modality in dataset.modalities.values():
        if not gallery.draws(modality):
            continue
        arrays = gallery.read_members(subject.view, modality, members)
        for (space_name, kind), parts in rows.items():
            if parts:
                names.append(f"{kind}-{space_name}-{modality.name}.png")
                heading = f"{kind} of the {space_name} embeddings: {title}"
                gallery.draw_gallery(parts, modality, arrays, heading, folder / names[-1])
    return names


def _gallery_rows(kind: str, space: Space, subject: Subject, seed: int) -> list[gallery.Row]:
    """Return the strangest objects in order, or some members of each part drawn by lot."""
    if kind == "outliers":
        strange = np.argsort(space.strangeness.rank)[:SHOWN_OUTLIERS]
        width = gallery.SPECTRA_A_PANEL
        starts = range(0, len(strange), width)
        return [_row(f"rank {start + 1} on", strange[start : start + width], subject) for start in starts]
    labels = space.clusters.labels if kind == "clusters" else space.islands
    random = np.random.default_rng(seed)
    parts = {part: np.flatnonzero(labels == part) for part in range(min(int(labels.max()) + 1, SHOWN_PARTS))}
    return [
        _row(
            f"{kind.removesuffix('s')} {part}\n{len(members)} objects",
            random.permutation(members)[:SHOWN_MEMBERS],
            subject,
        )
        for part, members in parts.items()
    ]


def _row(title: str, members: Iterable[int], subject: Subject) -> gallery.Row:
    redshift = subject.label("redshift")
    captions = [f"z {redshift[member]:.2f}" if np.isfinite(redshift[member]) else "" for member in members]
    return gallery.Row(title, [int(member) for member in members], captions)
