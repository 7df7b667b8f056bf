"""The declaration of a task, and of the groups it is broken down by. No code runs here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Task:
    """A data sheet: what is asked of a model, and how the answer is scored.

    Parameters
    ----------
    name, version
        The name in tables and on the command line. A change of anything below makes a new version, and scores of
        different versions never share a column. A protocol that is added changes no score, and makes none.
    probe
        What protocols that use embeddings do. `"knn"`: predict `target` from the nearest reference embeddings, or from
        all of them by what the protocol trains.
        `"ranks"`: find the query's own object among the embeddings of the other modality.
    protocols
        Names in `astroclip_bench.tasks.protocols.PROTOCOLS`; the first is the primary one.
    modality_pairs
        Which ordered pairs (reference, query) of the embedder's modalities are scored: `"every"` or `"cross"` (the
        two differ).
    target, unit
        The label column predicted and its unit; None for retrieval.
    metrics
        Names in `astroclip_bench.tasks.metrics.METRICS` (or retrieval scores); the first is the primary one.
    groups
        Names in `GROUPS`: the test objects are also scored in these subsets, where the data set has the column.
    """

    name: str
    version: int
    title: str
    description: str
    probe: Literal["knn", "ranks"]
    protocols: tuple[str, ...]
    modality_pairs: Literal["every", "cross"]
    metrics: tuple[str, ...]
    target: str | None = None
    unit: str = ""
    groups: tuple[str, ...] = ()
    citation: str = ""

    def pairs(self, modalities: list[str]) -> list[tuple[str, str]]:
        """Return the ordered (reference, query) pairs scored for an embedder of these modalities, in-modal first."""
        every = [(one, other) for one in modalities for other in modalities]
        in_modal = [pair for pair in every if pair[0] == pair[1]] if self.modality_pairs == "every" else []
        return in_modal + [pair for pair in every if pair[0] != pair[1]]


@dataclass(frozen=True)
class Grouping:
    """How a column divides the test objects: at `edges` (lower edge included), or by its values if there are none."""

    column: str
    edges: tuple[float, ...] = ()

    def labels(self) -> list[str]:
        """Return the name of each bin, in order; empty for a grouping by values."""
        return [f"{low:g}<={self.column}<{high:g}" for low, high in zip(self.edges[:-1], self.edges[1:], strict=True)]


GROUPS: dict[str, Grouping] = {
    "redshift": Grouping("redshift", (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0)),
    "mag_r": Grouping("mag_r", (0.0, 16.0, 17.0, 18.0, 19.0, 19.5, 20.5, 30.0)),
    "snr": Grouping("snr", (0.0, 1.0, 2.0, 4.0, 8.0, 1000.0)),
    "hemisphere": Grouping("hemisphere"),
}
