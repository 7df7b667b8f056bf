"""What a task predicts, as numbers: a label column, a quantity made of several, or the places of answers in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import DataError
from astroclip_bench.tasks.task import Task

Columns = Mapping[str, NDArray[Any]]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Derived:
    """A target that no data set holds, made of label columns.

    Parameters
    ----------
    description
        What it is, and how it is made.
    needs
        The label columns, in the order of the arguments of `function`.
    """

    name: str
    unit: str
    description: str
    needs: tuple[str, ...]
    function: Callable[..., Float64]


def _ssfr_astroclip_v1(log_ssfr: Float64, log_stellar_mass: Float64, metallicity: Float64) -> Float64:
    positive = np.where(metallicity > 0, metallicity, np.nan)
    value: Float64 = np.log(10) * (log_ssfr + log_stellar_mass) - np.log(positive)
    return value


DERIVED: Mapping[str, Derived] = MappingProxyType(
    {
        item.name: item
        for item in (
            Derived(
                "ssfr_astroclip_v1",
                "",
                "ln(SFR / (Msun/yr)) - ln(Z_MW): what Parker et al. (2024) and Multimodal Universe scored as specific "
                "star-formation rate. It is none: metallicity is subtracted where mass was meant",
                ("log_ssfr", "log_stellar_mass", "metallicity"),
                _ssfr_astroclip_v1,
            ),
        )
    }
)


def target_of(task: Task) -> str:
    """Return the label that a task predicts; it must have one."""
    assert task.target is not None
    return task.target


def needed_labels(task: Task) -> tuple[str, ...]:
    """Return the label columns that a task's target is made of."""
    if task.target is None:
        return ()
    return DERIVED[task.target].needs if task.target in DERIVED else (task.target,)


def label_of(task: Task, columns: Columns) -> Float64:
    """Return a task's target as numbers, (n,), NaN where it is not known.

    An answer in words becomes its place in `Task.classes`.

    Raises
    ------
    DataError
        If there is another answer.
    """
    target = target_of(task)
    if task.classes:
        return _places(target, columns[target], task.classes)
    if target in DERIVED:
        derived = DERIVED[target]
        return derived.function(*(columns[name] for name in derived.needs))
    return columns[target]


def _places(target: str, answers: NDArray[Any], classes: tuple[str, ...]) -> Float64:
    place: dict[str | None, float] = {None: np.nan, **{name: float(number) for number, name in enumerate(classes)}}
    unknown = {str(answer) for answer in answers if answer not in place}
    if unknown:
        raise DataError(f"column {target} holds {min(unknown)!r}", f"one of {', '.join(classes)}")
    return np.array([place[answer] for answer in answers], dtype=np.float64)
