"""An analysis in numbers: plain values for analysis.json, and tables with a row an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.analysis import diagnostics, structure
from astroclip_bench.analysis.outliers import disagreement, flag_enrichment
from astroclip_bench.analysis.subject import Space, Subject

if TYPE_CHECKING:
    import pandas

LABELS = ("redshift", "log_stellar_mass")
"""Labels that stand in both tables, NaN where the data set has none."""
STRANGEST = 20
"""Outliers in analysis.json; the table ranks all objects."""


def diagnose(subject: Subject, other: Subject | None) -> dict[str, Any]:
    """Return the diagnostics of each modality, of each two of them, and of each one in two models."""
    lists = {name: diagnostics.neighbour_lists(vectors) for name, vectors in subject.vectors.items()}
    found: dict[str, Any] = {
        "modalities": {
            name: {
                **diagnostics.effective_dimension(vectors),
                "uniformity": diagnostics.uniformity(vectors),
                "hubness": diagnostics.hubness(lists[name]),
            }
            for name, vectors in subject.vectors.items()
        },
        "pairs": [],
        "models": [],
    }
    for one, two in _pairs(list(subject.vectors)):
        sides = subject.vectors[one], subject.vectors[two]
        shared = {"modality_gap": diagnostics.modality_gap(*sides), "alignment": diagnostics.alignment(*sides)}
        likeness = _likeness(sides, (lists[one], lists[two]))
        found["pairs"].append({"one": one, "other": two, **(shared if subject.shared else {}), **likeness})
    for name in [name for name in subject.vectors if other is not None and name in other.vectors]:
        assert other is not None
        sides = subject.vectors[name], other.vectors[name]
        likeness = _likeness(sides, (lists[name], diagnostics.neighbour_lists(other.vectors[name])))
        found["models"].append({"modality": name, **likeness})
    return found


def _likeness(sides: tuple[Any, Any], lists: tuple[structure.Int64, structure.Int64]) -> dict[str, float]:
    return {
        "mutual_neighbours": diagnostics.mutual_neighbours(*lists),
        "mutual_neighbours_by_chance": lists[0].shape[1] / (len(lists[0]) - 1),
        "cka": diagnostics.linear_cka(*sides),
        "cka_unbiased": diagnostics.linear_cka(*sides, unbiased=True),
    }


def _pairs(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            yield one, other


def describe_space(space: Space, columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return what the clusters and islands of a space hold, and what they tell of each number."""
    numbers = {name: column for name, column in columns.items() if column.dtype.kind == "f"}
    parts = {"clusters": space.clusters.labels, "islands": space.islands}
    return {
        "k": space.clusters.k,
        "silhouettes": dict(space.clusters.silhouettes),
        **{kind: structure.describe_parts(labels, columns) for kind, labels in parts.items()},
        "explained": {
            kind: {name: structure.explained(labels, column) for name, column in numbers.items()}
            for kind, labels in parts.items()
        },
        "flags_found_by_strangeness": flag_enrichment(
            space.strangeness.distance, {name: column for name, column in columns.items() if column.dtype.kind in "iu"}
        ),
    }


def map_table(found: Mapping[str, Space], subject: Subject) -> pandas.DataFrame:
    """Return where each object lies on the map of each space, and in which cluster and island."""
    import pandas

    parts = [
        pandas.DataFrame(
            {
                "object_id": subject.view.object_ids,
                "modality": name,
                "x": space.plane[:, 0],
                "y": space.plane[:, 1],
                **{label: subject.label(label) for label in LABELS},
                "cluster": space.clusters.labels,
                "island": space.islands,
            }
        )
        for name, space in found.items()
    ]
    return pandas.concat(parts, ignore_index=True)


def outlier_table(found: Mapping[str, Space], subject: Subject) -> pandas.DataFrame:
    """Return all objects of all spaces, strangest first, with their labels, properties and neighbours."""
    import pandas

    ids = np.array(subject.view.object_ids, object)
    parts = []
    for name, space in found.items():
        strange = space.strangeness
        table = pandas.DataFrame(
            {
                "object_id": ids,
                "modality": name,
                "rank": strange.rank,
                "distance": strange.distance,
                "neighbour_ids": list(ids[strange.neighbours]),
            }
        )
        for label in LABELS:
            expected, deviation = disagreement(subject.label(label), strange.neighbours)
            table[f"{label}_of_neighbours"], table[f"{label}_deviation"] = expected, deviation
        described = pandas.DataFrame({label: subject.label(label) for label in LABELS} | subject.columns)
        parts.append(pandas.concat([table, described], axis=1).sort_values("rank"))
    return pandas.concat(parts, ignore_index=True)


def strangest(space: Space, subject: Subject) -> list[dict[str, Any]]:
    """Return the rows of `outlier_table` of the strangest objects of one space."""
    table = outlier_table({"": space}, subject).head(STRANGEST).drop(columns="modality")
    return [{str(name): _listed(value) for name, value in row.items()} for row in table.to_dict("records")]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, np.ndarray) else value
