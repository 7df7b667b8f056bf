"""What of the tasks can be scored on a data set by an embedder, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from astroclip_bench.embedders.stored import StoredEmbeddings
from astroclip_bench.results.record import ALL, LABELS
from astroclip_bench.tasks.bootstrap import MINIMUM_OBJECTS
from astroclip_bench.tasks.inmodal import NEIGHBOURS
from astroclip_bench.tasks.labels import label_of, needed_labels, target_of
from astroclip_bench.tasks.lookalikes import LOOKALIKES, has_all
from astroclip_bench.tasks.protocols import get_protocol
from astroclip_bench.tasks.retrieval import SMALLEST_POOL
from astroclip_bench.tasks.suites import Suite
from astroclip_bench.tasks.task import Task

if TYPE_CHECKING:
    from astroclip_bench.embedders import Embedder
    from astroclip_bench.inputs import Inputs

Pairs = list[tuple[str, str]]


class Cell(NamedTuple):
    """What is scored as one.

    Parameters
    ----------
    reference, query
        Modalities.
    labels
        Number of train labels that the probe is given; None for all of them.
    """

    task: Task
    protocol: str
    reference: str
    query: str
    labels: int | None = None

    @property
    def part(self) -> str:
        """The group of the cell's rows on all test objects: `Score.part` of its rows."""
        return ALL if self.labels is None else f"{LABELS}{self.labels}"

    @property
    def is_few_shot(self) -> bool:
        """Whether something is trained for it, or fewer labels than all are used."""
        return self.labels is not None or get_protocol(self.protocol).fits is not None

    @property
    def uses_validation(self) -> bool:
        """Whether labels of the validation split choose something for it."""
        return get_protocol(self.protocol).fits == "ridge"

    @property
    def identity(self) -> tuple[tuple[str, int, str, int, str, str], str]:
        """What names the cell in a result: `Score.cell` and `Score.part` of its rows."""
        versions = self.task.version, get_protocol(self.protocol).version
        return (self.task.name, versions[0], self.protocol, versions[1], self.reference, self.query), self.part


def find_cells(tasks: Sequence[Task], embedder: Embedder, inputs: Inputs, suite: Suite) -> dict[str, list[Cell]]:
    """Return all that can be scored, by what the protocols use: ``embeddings``, ``prompts`` and ``predictions``."""
    cells: dict[str, list[Cell]] = {"embeddings": [], "prompts": [], "predictions": []}
    for task in tasks:
        for use, pairs in _pairs(task, embedder, inputs).items():
            if pairs and not _reason_against(task, use, inputs):
                names = [name for name in task.protocols if name in suite.protocols and get_protocol(name).uses == use]
                curves = [(name, count) for name in names for count in _label_counts(task, name, inputs, suite)]
                for pair in pairs:
                    cells[use] += [Cell(task, name, *pair) for name in names]
                    cells[use] += [Cell(task, name, *pair, count) for name, count in curves]
    return cells


def _label_counts(task: Task, protocol: str, inputs: Inputs, suite: Suite) -> list[int]:
    """Return the numbers of labels, below that of all, at which a protocol is scored besides."""
    if task.probe != "regress" or protocol not in suite.curves:
        return []
    known = int(np.isfinite(label_of(task, inputs.columns["train"])).sum())
    return [count for count in suite.label_counts if count < known]


def reasons_against(tasks: Sequence[Task], embedder: Embedder, inputs: Inputs, suite: Suite) -> dict[str, str]:
    """Return the tasks of which nothing can be scored, each with the reason."""
    cells = find_cells(tasks, embedder, inputs, suite)
    scored = {cell.task.name for part in cells.values() for cell in part}
    reasons = {}
    for task in tasks:
        if task.name not in scored:
            ways = [use for use, pairs in _pairs(task, embedder, inputs).items() if pairs]
            reason = _reason_against(task, ways[0], inputs) if ways else _reason_for_no_pair(task, embedder, inputs)
            reasons[task.name] = reason or f"none of its protocols is in the suite {suite.name}"
    return reasons


def _pairs(task: Task, embedder: Embedder, inputs: Inputs) -> dict[str, Pairs]:
    """Return the pairs of modalities that a task is scored on, by what is used of the model.

    Of embeddings: in-modal pairs alone, if the spaces are not shared; the same of prompts, if the model is at hand to
    embed them. Of predictions: each modality they are from.
    """
    pairs = task.pairs(inputs.modalities(embedder))
    pairs = [pair for pair in pairs if embedder.info.shared_space or pair[0] == pair[1]]
    return {
        "embeddings": pairs,
        "prompts": [] if isinstance(embedder, StoredEmbeddings) else pairs,
        "predictions": [(name, name) for name in inputs.predicting(embedder, task.target)],
    }


def _reason_for_no_pair(task: Task, embedder: Embedder, inputs: Inputs) -> str:
    modalities = inputs.modalities(embedder)
    if not modalities:
        return (
            f"{embedder.info.name} has no embeddings{'' if task.target is None else f' and predicts no {task.target}'}"
        )
    if len(modalities) > 1:
        return f"{embedder.info.name} does not embed its modalities into one space"
    return f"needs two modalities; {embedder.info.name} and the data set share {', '.join(modalities)}"


def _reason_against(task: Task, use: str, inputs: Inputs) -> str | None:
    """Return why the data set does not allow a task to be scored by protocols of one use, or None."""
    missing = [name for name in needed_labels(task) if name not in inputs.dataset.labels]
    if missing:
        return f"the data set has no label {missing[0]}"
    if task.target is None:
        return _reason_against_search(task, inputs)
    if task.prompts and inputs.dataset.modalities[task.prompt_modality].dtype != "string":
        return f"the data set's {task.prompt_modality} is no text"
    if task.prompts:
        others = {answer for columns in inputs.columns.values() for answer in columns[target_of(task)]} - {None}
        others -= set(task.classes)
        if others:
            return f"the data set's {task.target} has other answers, such as {min(others)}"
    if task.probe == "agree":
        return _reason_against_count(task, "test", NEIGHBOURS + 1, inputs)
    protocols = [get_protocol(name) for name in task.protocols]
    voters = max((protocol.k or 0 for protocol in protocols if protocol.uses == use), default=0)
    for split, needed in (("train", voters), ("test", MINIMUM_OBJECTS)):
        reason = _reason_against_count(task, split, needed, inputs)
        if reason:
            return reason
    return None


def _reason_against_search(task: Task, inputs: Inputs) -> str | None:
    missing = [name for name in task.matched if name not in inputs.columns["test"]]
    if missing:
        return f"the data set has no column {missing[0]}"
    if task.matched:
        rows, needed = int(has_all(inputs.columns["test"], task.matched).sum()), LOOKALIKES
        columns = " and ".join(task.matched)
        return None if rows >= needed else f"{rows} test objects have {columns}, and it takes {needed}"
    rows = inputs.splits["test"].rows
    return None if rows >= SMALLEST_POOL else f"a search among {rows} test object tells nothing"


def _reason_against_count(task: Task, split: str, needed: int, inputs: Inputs) -> str | None:
    known = int(np.isfinite(label_of(task, inputs.columns[split])).sum())
    if known >= needed:
        return None
    return f"{known} {split} objects have the label {task.target}, and it takes {needed}"
