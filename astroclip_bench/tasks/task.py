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
        What protocols that use embeddings do. `"regress"`: predict `target`, a number, from the nearest reference
        embeddings, or from all of them by what the protocol trains. `"classify"`: the same for an answer out of
        `classes`. `"ranks"`: find the query's own object among the embeddings of the other modality. `"agree"`: compare
        `target` of the query with that of its nearest neighbours among the other test objects. `"prompts"`: of
        `prompts`, embedded by the model, find the one closest to the query, and answer with its class.
    protocols
        Names in `astroclip_bench.tasks.protocols.PROTOCOLS`; the first is the primary one.
    modality_pairs
        Which ordered pairs (reference, query) of the embedder's modalities are scored: `"every"`, `"cross"` (the two
        differ) or `"in-modal"` (they do not).
    target, unit
        The label column predicted, or a name of `astroclip_bench.tasks.labels.DERIVED`, and its unit; None for
        retrieval.
    metrics
        Names in `astroclip_bench.tasks.metrics.METRICS` (or retrieval scores); the first is the primary one.
    groups
        Names in `GROUPS`: the test objects are also scored in these subsets, where the data set has the column.
    classes
        The answers that a target in words may have; empty for a number.
    prompts, prompt_modality
        A text for each of `classes`, and the modality that it is embedded in.
    matched
        Columns in which the objects of a pool are the query's closest; where there are none, a pool is drawn by hash.
    core
        Whether every suite asks for it, so that a result without it is incomplete.
    """

    name: str
    version: int
    title: str
    description: str
    probe: Literal["regress", "classify", "ranks", "agree", "prompts"]
    protocols: tuple[str, ...]
    modality_pairs: Literal["every", "cross", "in-modal"]
    metrics: tuple[str, ...]
    target: str | None = None
    unit: str = ""
    groups: tuple[str, ...] = ()
    citation: str = ""
    classes: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    prompt_modality: str = ""
    core: bool = True

    def pairs(self, modalities: list[str]) -> list[tuple[str, str]]:
        """Return the ordered (reference, query) pairs scored for an embedder of these modalities, in-modal first."""
        every = [(one, other) for one in modalities for other in modalities]
        if self.prompts:
            every = [pair for pair in every if pair[0] == self.prompt_modality]
        in_modal = [pair for pair in every if pair[0] == pair[1]]
        cross = [pair for pair in every if pair[0] != pair[1]]
        return {"every": in_modal + cross, "cross": cross, "in-modal": in_modal}[self.modality_pairs]


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
