"""Suites: which tasks and protocols an evaluation runs, and on how many labels their probes are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from astroclip_bench.errors import TaskError
from astroclip_bench.plugins import suggest
from astroclip_bench.tasks.protocols import PROTOCOLS
from astroclip_bench.tasks.registry import select_tasks
from astroclip_bench.tasks.task import Task


@dataclass(frozen=True)
class Suite:
    """A choice of tasks and protocols.

    Parameters
    ----------
    name, description
        As on the command line.
    protocols
        Names in `PROTOCOLS`; every task is scored by those of them that it names.
    label_counts
        Numbers of train labels at which protocols with a `curve` are scored besides all labels, where there are more.
    core_alone
        Whether it asks for the tasks with `core` alone, where none are named.
    """

    name: str
    description: str
    protocols: tuple[str, ...]
    label_counts: tuple[int, ...] = ()
    core_alone: bool = False

    @property
    def curves(self) -> list[str]:
        """The protocols that are also scored at `label_counts`."""
        return [name for name in self.protocols if PROTOCOLS[name].curve and self.label_counts]

    def tasks(self, names: Sequence[str] | None = None) -> list[Task]:
        """Return the tasks of these names, or all that the suite asks for, in the order of the catalogue.

        Raises
        ------
        TaskError
            If a name is unknown.
        """
        return [task for task in select_tasks(names) if names is not None or task.core or not self.core_alone]


SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite(
                "zero-shot",
                "the core tasks; nothing is trained on the embeddings: neighbours, ranks, the model's own predictions",
                tuple(name for name, protocol in PROTOCOLS.items() if protocol.fits is None),
                core_alone=True,
            ),
            Suite(
                "full",
                "every task, probes trained on the embeddings, and curves of scores against the number of labels",
                tuple(PROTOCOLS),
                (100, 1_000, 10_000),
            ),
        )
    }
)


def get_suite(name: str) -> Suite:
    """Return the suite called `name`.

    Raises
    ------
    TaskError
        If there is none of that name.
    """
    if name not in SUITES:
        raise TaskError(f"there is no suite {name!r}", todo=suggest(name, SUITES))
    return SUITES[name]
