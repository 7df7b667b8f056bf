"""Suites: which protocols an evaluation runs, and on how many labels their probes are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from astroclip_bench.errors import TaskError
from astroclip_bench.plugins import suggest
from astroclip_bench.tasks.protocols import PROTOCOLS


@dataclass(frozen=True)
class Suite:
    """A choice of protocols.

    Parameters
    ----------
    name, description
        As on the command line.
    protocols
        Names in `PROTOCOLS`; every task is scored by those of them that it names.
    label_counts
        Numbers of train labels at which protocols with a `curve` are scored besides all labels, where there are more.
    """

    name: str
    description: str
    protocols: tuple[str, ...]
    label_counts: tuple[int, ...] = ()

    @property
    def curves(self) -> list[str]:
        """The protocols that are also scored at `label_counts`."""
        return [name for name in self.protocols if PROTOCOLS[name].curve and self.label_counts]


SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite(
                "zero-shot",
                "nothing is trained on the embeddings: neighbours, ranks, the model's own predictions",
                tuple(name for name, protocol in PROTOCOLS.items() if protocol.fits is None),
            ),
            Suite(
                "full",
                "the same, probes trained on the embeddings, and curves of scores against the number of labels",
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
