"""What scoring takes and gives: the objects of a split, the groups among them, and score rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.results.record import Score
from astroclip_bench.tasks.bootstrap import Estimate
from astroclip_bench.tasks.protocols import get_protocol
from astroclip_bench.tasks.task import GROUPS, Grouping, Task


@dataclass(frozen=True)
class Side:
    """The objects of one split seen in one modality: embeddings (n, d), ids, and columns of the data set, each (n,).

    `shared_by` names the column by whose value objects have this view in common, if there is one.
    """

    modality: str
    vectors: NDArray[np.float32]
    object_ids: list[str]
    columns: Mapping[str, NDArray[Any]]
    shared_by: str = ""

    @property
    def pixels(self) -> NDArray[np.int64]:
        """HEALPix pixel of each object: what the bootstrap resamples."""
        return self.columns["healpix"]


def score_rows(
    task: Task,
    protocol: str,
    pair: tuple[str, str],
    estimates: Mapping[str, Mapping[str, Estimate]],
    chance: Mapping[str, Mapping[str, float | None]],
) -> list[Score]:
    """Return a row for each estimate, by group and metric, with what chance gives beside it."""
    return [
        Score(
            task=task.name,
            task_version=task.version,
            protocol=protocol,
            protocol_version=get_protocol(protocol).version,
            reference=pair[0],
            query=pair[1],
            target=task.target,
            metric=metric,
            group=group,
            value=estimate.value,
            standard_error=estimate.standard_error,
            low=estimate.low,
            high=estimate.high,
            n=estimate.n,
            chance=chance.get(group, {}).get(metric),
        )
        for group, by_metric in estimates.items()
        for metric, estimate in by_metric.items()
    ]


def spread(values: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the values of the `known` objects among all objects: the others have NaN, or None if these are no floats."""
    is_real = values.dtype.kind == "f"
    whole = np.full(len(known), np.nan if is_real else None, dtype=values.dtype if is_real else object)
    whole[known] = values
    return whole


def group_masks(
    task: Task, columns: Mapping[str, NDArray[Any]], known: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    """Return the masks, over the `known` objects, of the task's groups that hold any, by name ``grouping:bin``."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for name in task.groups:
        grouping = GROUPS[name]
        if grouping.column in columns:
            bins = _bins(grouping, columns[grouping.column][known])
            masks |= {f"{name}:{label}": mask for label, mask in bins.items() if mask.any()}
    return masks


def _bins(grouping: Grouping, values: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
    if not grouping.edges:
        return {str(value): values == value for value in sorted({value for value in values if value is not None})}
    edges = zip(grouping.edges[:-1], grouping.edges[1:], strict=True)
    return dict(zip(grouping.labels(), [(values >= low) & (values < high) for low, high in edges], strict=True))
