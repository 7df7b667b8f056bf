"""Scores computed again from the outcomes of single objects, with every replicate: what comparisons are made of.

A metric is made of the outcomes that `RECIPES` names for its kind, by the functions that scored them at first: values agree
to the last digits. The resamples depend on the sky pixels alone, so that replicates of two models scored on the same
objects belong together, pair by pair.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.results.outcomes import OUTCOME_COLUMNS, CellKey, Columns, read_outcomes
from astroclip_bench.results.record import ALL
from astroclip_bench.tasks import inmodal, retrieval, searches
from astroclip_bench.tasks.bootstrap import MINIMUM_OBJECTS, Estimate, Resamples, Statistic, bootstrap
from astroclip_bench.tasks.metrics import METRICS, Sample
from astroclip_bench.tasks.rows import group_masks
from astroclip_bench.tasks.task import Task

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

Float64 = NDArray[np.float64]
Kind = Literal["numbers", "distribution", "classes", "ranks", "neighbours"]


@dataclass(frozen=True)
class KeptSample(Sample):
    """A sample of whose predictive distributions only `pit` and `crps`, (n,) each, are left."""

    kept_pit: Float64 | None = None
    kept_crps: Float64 | None = None

    @cached_property
    def pit(self) -> Float64:
        """Probability integral transform, as it was kept."""
        assert self.kept_pit is not None
        return self.kept_pit

    @cached_property
    def crps(self) -> Float64:
        """Continuous ranked probability score of each object, as it was kept."""
        assert self.kept_crps is not None
        return self.kept_crps


@dataclass(frozen=True)
class Recipe:
    """How metrics of one kind are made of outcomes.

    Parameters
    ----------
    columns
        What is needed of `OUTCOME_COLUMNS`; null where an object was not scored.
    statistics
        From the task, names of metrics and the columns of some scored objects to functions of resamples.
    """

    columns: tuple[str, ...]
    statistics: Callable[[Task, Sequence[str], Columns], dict[str, Statistic]]


def _of_numbers(task: Task, names: Sequence[str], columns: Columns) -> dict[str, Statistic]:
    sample = KeptSample(
        columns["label"], columns["prediction"], kept_pit=columns.get("pit"), kept_crps=columns.get("crps")
    )
    return {name: METRICS[name].of(sample) for name in names}


def _of_classes(task: Task, names: Sequence[str], columns: Columns) -> dict[str, Statistic]:
    place = {answer: float(number) for number, answer in enumerate(task.classes)}
    label, predicted = (
        np.array([place[answer] for answer in columns[name]]) for name in ("label_class", "predicted_class")
    )
    sample = Sample(label, predicted)
    return {name: METRICS[name].of(sample) for name in names}


def _of_ranks(task: Task, names: Sequence[str], columns: Columns) -> dict[str, Statistic]:
    greater, ties, pool = (columns[name].astype(np.int64) for name in ("greater", "ties", "pool"))
    return retrieval.statistics(names, retrieval.Counts(greater, ties), int(pool[0]))


def _of_neighbours(task: Task, names: Sequence[str], columns: Columns) -> dict[str, Statistic]:
    return {name: retrieval.statistic(name, columns[inmodal.outcome_of(name)]) for name in names}


RECIPES: Mapping[Kind, Recipe] = MappingProxyType(
    {
        "numbers": Recipe(("label", "prediction"), _of_numbers),
        "distribution": Recipe(("label", "prediction", "pit", "crps"), _of_numbers),
        "classes": Recipe(("label_class", "predicted_class"), _of_classes),
        "ranks": Recipe(("greater", "ties", "pool"), _of_ranks),
        "neighbours": Recipe(tuple(f"nearest_{k}" for k in inmodal.NEIGHBOURS_AT), _of_neighbours),
    }
)


def kind_of(metric: str) -> Kind | None:
    """Return the key of `RECIPES` by which a metric is made, or None for a row that is no metric of objects."""
    found = METRICS.get(metric)
    if found is not None:
        return "classes" if found.of_classes else "distribution" if found.needs_distribution else "numbers"
    if metric in inmodal.score_names():
        return "neighbours"
    return "ranks" if metric in retrieval.score_names() else None


def direction_of(metric: str) -> Literal["higher", "lower", "zero"]:
    """Return which way a metric of objects is better."""
    return METRICS[metric].direction if metric in METRICS else searches.direction_of(metric)


@dataclass(frozen=True)
class KeptCell:
    """The outcomes of one cell.

    Parameters
    ----------
    objects
        Columns of the test objects, (n,) each: ids, pixels, and what forms groups.
    seeds
        For each seed of a probe (one, if nothing is drawn), columns of `OUTCOME_COLUMNS`, (n,) each.
    """

    objects: Columns
    seeds: Sequence[Columns]

    def scored(self, kind: Kind) -> NDArray[np.bool_]:
        """Return which objects have all that metrics of a kind are made of, (n,)."""
        import pandas as pd

        null = [pd.isna(columns[name]) for columns in self.seeds for name in RECIPES[kind].columns]
        whole: NDArray[np.bool_] = ~np.any(null, axis=0)
        return whole

    def estimates(self, task: Task, metrics: Collection[str], groups: bool = True) -> dict[str, dict[str, Estimate]]:
        """Return metrics on all scored test objects and on the task's groups, with their replicates.

        Parameters
        ----------
        metrics
            Names that `kind_of` knows. Those whose outcomes the cell lacks are left out.
        groups
            Whether the task's groups are scored.

        Returns
        -------
        dict
            group -> metric -> estimate, on at least `MINIMUM_OBJECTS` objects.
        """
        found: dict[str, dict[str, Estimate]] = {}
        for kind, recipe in RECIPES.items():
            names = [name for name in metrics if kind_of(name) == kind]
            scored = self.scored(kind)
            if not names or not scored.any():
                continue
            masks = {
                ALL: np.ones(int(scored.sum()), bool),
                **(group_masks(task, self.objects, scored) if groups else {}),
            }
            for group, mask in masks.items():
                rows = np.flatnonzero(scored)[mask]
                if len(rows) < MINIMUM_OBJECTS:
                    continue
                of_seeds = [
                    recipe.statistics(task, names, {name: columns[name][rows] for name in recipe.columns})
                    for columns in self.seeds
                ]
                statistics = {name: _mean_over([one[name] for one in of_seeds]) for name in names}
                pixels = self.objects["healpix"][rows]
                found.setdefault(group, {}).update(bootstrap(statistics, pixels, keep_replicates=True))
        return found


def _mean_over(statistics: Sequence[Statistic]) -> Statistic:
    def mean(resamples: Resamples) -> Float64:
        values: Float64 = np.mean([statistic(resamples) for statistic in statistics], axis=0)
        return values

    return mean


def read_cell(path: Path | str, key: CellKey) -> KeptCell:
    """Return the outcomes of one cell of a file, with as many seeds as it has; none if it lacks the cell.

    Raises
    ------
    ResultError
        If the file is none of outcomes.
    StorageError
        If it cannot be read.
    """
    frame = read_outcomes(path, **key._asdict())
    parts = [part for _, part in frame.groupby("seed", sort=True)]
    columns = [name for name in frame.columns if name not in (*key._fields, "seed")]
    objects = [name for name in columns if name not in OUTCOME_COLUMNS]
    kept = [name for name in columns if name in OUTCOME_COLUMNS]
    return KeptCell(
        {name: _values((parts[0] if parts else frame)[name]) for name in objects},
        [{name: _values(part[name]) for name in kept} for part in parts],
    )


def _values(column: pd.Series[Any]) -> NDArray[Any]:
    """Return a column as an array: strings as objects, None where there is none."""
    if column.dtype != "category":
        return column.to_numpy()
    return column.astype(object).where(column.notna(), None).to_numpy()
