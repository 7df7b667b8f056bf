"""Two results, score by score: paired differences on common resamples of the sky.

The test objects are resampled by HEALPix pixel, as for the intervals of single scores, and each resample is used for both
models. What is hard for both then cancels, and a difference is often certain where the two intervals overlap.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroclip_bench.errors import ResultError
from astroclip_bench.results.kept import KeptCell, direction_of, kind_of, read_cell
from astroclip_bench.results.outcomes import CellKey, outcomes_path, reason_against
from astroclip_bench.results.record import ALL, Result, read_result
from astroclip_bench.tasks.bootstrap import Estimate, estimate_of
from astroclip_bench.tasks.protocols import PROTOCOLS
from astroclip_bench.tasks.registry import all_tasks, select_tasks
from astroclip_bench.tasks.task import Task

if TYPE_CHECKING:
    from astroclip_bench.progress import Progress

Better = Literal["a", "b", "tie"]
Estimates = Mapping[str, Mapping[str, Estimate]]
PRIMARY = "primary"
"""Stands for the first metric of each task."""


@dataclass(frozen=True)
class Difference:
    """How much a score of B differs from that of A.

    Parameters
    ----------
    task, protocol, metric, group, reference, query
        Which score: as in `astroclip_bench.results.record.Score`.
    value_a, value_b
        The score of each model.
    difference
        ``value_b - value_a``; of metrics that ought to be zero, the same of their distances from zero.
    low, high
        The 2.5 and 97.5 percentiles of the difference over common resamples of sky pixels; None where all objects lie
        in one pixel.
    n
        Number of objects.
    better
        Which model is better; "tie" where the interval includes zero; None without an interval.
    """

    task: str
    protocol: str
    metric: str
    group: str
    reference: str
    query: str
    value_a: float
    value_b: float
    difference: float
    low: float | None
    high: float | None
    n: int
    better: Better | None


@dataclass(frozen=True)
class NotCompared:
    """A cell that only one result has, or that the two were not scored on alike, and why it has no differences."""

    task: str
    protocol: str
    reference: str
    query: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """All differences of two results.

    Parameters
    ----------
    dataset
        name, version, digest and simulated.
    a, b
        Name, digest and dimension of each model.
    rows
        Differences, cell by cell; all objects first, and then the groups.
    not_compared
        What has none.
    """

    dataset: Mapping[str, Any]
    a: Mapping[str, Any]
    b: Mapping[str, Any]
    rows: Sequence[Difference]
    not_compared: Sequence[NotCompared]

    def find(self, **equal: object) -> list[Difference]:
        """Return the rows whose fields equal the given values: ``comparison.find(task="redshift", group="all")``."""
        return [row for row in self.rows if all(getattr(row, name) == value for name, value in equal.items())]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Scored:
    """One side: a result, and the file of its outcomes."""

    path: Path
    result: Result

    @property
    def outcomes(self) -> Path:
        return outcomes_path(self.path)

    @cached_property
    def metrics(self) -> dict[CellKey, list[str]]:
        """The metrics of every cell that was scored on all labels."""
        metrics: dict[CellKey, list[str]] = {}
        for score in self.result.scores:
            if score.group == ALL and score.value is not None:
                key = CellKey(score.task, score.protocol, score.reference, score.query)
                metrics.setdefault(key, []).append(score.metric)
        return metrics

    @cached_property
    def versions(self) -> dict[str, int]:
        """The version of each task and protocol."""
        versions = {f"task {score.task}": score.task_version for score in self.result.scores}
        return versions | {f"protocol {score.protocol}": score.protocol_version for score in self.result.scores}


def compare(
    a: Path | str,
    b: Path | str,
    *,
    tasks: Sequence[str] | None = None,
    metrics: Collection[str] | Literal["primary"] | None = None,
    groups: bool = True,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two results of `evaluate` on the same data, object by object.

    Scores in pools drawn by hash and on fewer labels keep no outcomes, and are not compared. Of a probe with several seeds,
    the mean over them is.

    Parameters
    ----------
    a, b
        Paths of the results; the outcomes of single objects are beside them.
    tasks
        Names of the tasks compared; all that the results have by default.
    metrics
        Names of the metrics compared, or `PRIMARY`; all of them by default.
    groups
        Whether the tasks' groups of objects are compared besides all objects.
    progress
        Called as ``progress(done, total)`` with numbers of cells.

    Returns
    -------
    Comparison
        With one row for each task, protocol, pair of modalities, metric and group that both have, in the order of
        the catalogue.

    Raises
    ------
    ResultError
        If the results are of different data, of other versions of a task or protocol than each other or than this
        package, of a subsample, or without the outcomes that belong to them; or if nothing can be compared.
    TaskError
        If a task is unknown.
    StorageError
        If a file cannot be read.
    """
    one, other = (_Scored(Path(path), read_result(path)) for path in (a, b))
    _check_comparable(one, other)
    installed, chosen = all_tasks(), {task.name for task in select_tasks(tasks)}
    rows: list[Difference] = []
    skipped: list[NotCompared] = []
    keys = sorted(
        {**one.metrics, **other.metrics}, key=lambda key: (_place(key.task, installed), _place(key.protocol, PROTOCOLS))
    )
    asked = [key for key in keys if key.task in chosen or (tasks is None and key.task not in installed)]
    for number, key in enumerate(asked, start=1):
        found = _compare_cell(key, installed.get(key.task), metrics, groups, one, other)
        if isinstance(found, str):
            skipped.append(NotCompared(*key, found))
        else:
            rows += found
        if progress:
            progress(number, len(asked))
    if not rows:
        raise ResultError(
            f"{a} and {b} have no such score in common"
            + (f" ({skipped[0].task}: {skipped[0].reason})" if skipped else ""),
            todo="see astroclip-bench tasks for names of tasks and metrics",
        )
    data = {name: one.result.dataset[name] for name in ("name", "version", "digest", "simulated")}
    return Comparison(data, _model(one), _model(other), rows, skipped)


def _place(name: str, names: Collection[str]) -> tuple[int, str]:
    """Return what sorts a name as in `names`, and those that are not there behind them."""
    return (list(names).index(name) if name in names else len(names), name)


def _model(side: _Scored) -> dict[str, Any]:
    embedder = side.result.embedder
    return {**{name: embedder[name] for name in ("name", "digest", "dimension")}, "path": str(side.path)}


def _check_comparable(one: _Scored, other: _Scored) -> None:
    """Raise the first reason why no score of one result may stand beside one of the other."""
    digests = [side.result.dataset["digest"] for side in (one, other)]
    if digests[0] != digests[1]:
        named = [
            f"{side.path} is of {side.result.dataset['name']}, digest {side.result.dataset['digest'][:12]}"
            for side in (one, other)
        ]
        raise ResultError("; ".join(named), "results on the same data", "evaluate one of them on the other's data set")
    for side in (one, other):
        limit = side.result.options.get("limit")
        if limit is not None:
            raise ResultError(
                f"{side.path} is of a subsample (--limit {limit})", "the whole test split", "evaluate without --limit"
            )
        reason = reason_against(side.outcomes, side.result)
        if reason:
            raise ResultError(f"{side.path} {reason}", todo="evaluate again: what is missing is scored again")
    current = _current_versions()
    for what in one.versions.keys() & other.versions.keys():
        found = {one.versions[what], other.versions[what], current.get(what, one.versions[what])}
        if len(found) > 1:
            stated = ", ".join(
                f"{version} {where}"
                for version, where in (
                    (one.versions[what], f"in {one.path}"),
                    (other.versions[what], f"in {other.path}"),
                    (current.get(what), "in this package"),
                )
            )
            raise ResultError(f"{what} has version {stated}", "one version", "evaluate again with this package")


def _current_versions() -> dict[str, int]:
    versions = {f"task {task.name}": task.version for task in all_tasks().values()}
    return versions | {f"protocol {protocol.name}": protocol.version for protocol in PROTOCOLS.values()}


def _compare_cell(
    key: CellKey,
    task: Task | None,
    metrics: Collection[str] | None,
    groups: bool,
    one: _Scored,
    other: _Scored,
) -> list[Difference] | str:
    """Return the differences of a cell, or the reason why there are none."""
    for side in (one, other):
        if key not in side.metrics:
            return f"not scored in {side.path}"
    if task is None:
        return "the task is not installed"
    asked = task.metrics[:1] if metrics == PRIMARY else task.metrics if metrics is None else metrics
    names = [name for name in one.metrics[key] if name in other.metrics[key] and name in asked]
    by_kind = {kind: [name for name in names if kind_of(name) == kind] for kind in map(kind_of, names) if kind}
    if not by_kind:
        return []
    cells = [read_cell(side.outcomes, key) for side in (one, other)]
    reason = _reason_against(*cells)
    if reason:
        return reason
    found: list[Difference] = []
    for kind, of_kind in by_kind.items():
        if not np.array_equal(cells[0].scored(kind), cells[1].scored(kind)):
            return "not scored on the same objects"
        estimates = [cell.estimates(task, of_kind, groups) for cell in cells]
        found += _differences(key, *estimates)
    return found


def _reason_against(one: KeptCell, other: KeptCell) -> str | None:
    if not one.seeds or not other.seeds:
        return "no outcomes of single objects"
    same = all(np.array_equal(one.objects[name], other.objects[name]) for name in ("object_id", "healpix"))
    return None if same else "not scored on the same objects"


def _differences(key: CellKey, one: Estimates, other: Estimates) -> Iterator[Difference]:
    for group in one:
        for metric in one[group]:
            row = _difference(key, group, metric, one[group][metric], other[group][metric])
            if row is not None:
                yield row


def _difference(key: CellKey, group: str, metric: str, one: Estimate, other: Estimate) -> Difference | None:
    """Return the difference of a score, or None where one of them is not defined."""
    if one.value is None or other.value is None:
        return None
    assert one.replicates is not None
    assert other.replicates is not None
    direction = direction_of(metric)
    measure = np.abs if direction == "zero" else np.asarray
    paired = estimate_of(
        float(measure(other.value) - measure(one.value)), measure(other.replicates) - measure(one.replicates), one.n
    )
    assert paired.value is not None
    return Difference(
        task=key.task,
        protocol=key.protocol,
        metric=metric,
        group=group,
        reference=key.reference,
        query=key.query,
        value_a=one.value,
        value_b=other.value,
        difference=paired.value,
        low=paired.low,
        high=paired.high,
        n=one.n,
        better=_better(paired, direction),
    )


def _better(paired: Estimate, direction: str) -> Better | None:
    if paired.low is None or paired.high is None:
        return None
    if paired.low <= 0 <= paired.high:
        return "tie"
    return "b" if (paired.low > 0) == (direction == "higher") else "a"
