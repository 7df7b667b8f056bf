"""What of the tasks can be scored on a data set by an embedder, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroclip_bench.tasks.bootstrap import MINIMUM_OBJECTS
from astroclip_bench.tasks.protocols import get_protocol
from astroclip_bench.tasks.retrieval import SMALLEST_POOL
from astroclip_bench.tasks.task import Task

if TYPE_CHECKING:
    from astroclip_bench.embedders import Embedder
    from astroclip_bench.evaluation import Inputs

Cell = tuple[Task, str, str, str]
"""Task, protocol, reference modality and query modality: what is scored as one."""

Pairs = list[tuple[str, str]]


def identity(cell: Cell) -> tuple[str, int, str, int, str, str]:
    """Return what names a cell in a result: `Score.cell` of its rows."""
    task, protocol, reference, query = cell
    return (task.name, task.version, protocol, get_protocol(protocol).version, reference, query)


def find_cells(tasks: Sequence[Task], embedder: Embedder, inputs: Inputs) -> dict[str, list[Cell]]:
    """Return all that can be scored, by what the protocols use of the model: ``embeddings`` and ``predictions``."""
    cells: dict[str, list[Cell]] = {"embeddings": [], "predictions": []}
    for task in tasks:
        for use, pairs in _pairs(task, embedder, inputs).items():
            if pairs and not _reason_against(task, use, inputs):
                names = [name for name in task.protocols if get_protocol(name).uses == use]
                cells[use] += [(task, name, *pair) for pair in pairs for name in names]
    return cells


def reasons_against(tasks: Sequence[Task], embedder: Embedder, inputs: Inputs) -> dict[str, str]:
    """Return the tasks of which nothing can be scored, each with the reason."""
    cells = find_cells(tasks, embedder, inputs)
    scored = {task.name for part in cells.values() for task, *_ in part}
    reasons = {}
    for task in tasks:
        if task.name not in scored:
            ways = [use for use, pairs in _pairs(task, embedder, inputs).items() if pairs]
            reason = _reason_against(task, ways[0], inputs) if ways else _reason_for_no_pair(task, embedder, inputs)
            reasons[task.name] = str(reason)
    return reasons


def _pairs(task: Task, embedder: Embedder, inputs: Inputs) -> dict[str, Pairs]:
    """Return the pairs of modalities that a task is scored on, by what is used of the model.

    Of embeddings: in-modal pairs alone, if the spaces are not shared. Of predictions: each modality they are from.
    """
    pairs = task.pairs(inputs.modalities(embedder))
    pairs = [pair for pair in pairs if embedder.info.shared_space or pair[0] == pair[1]]
    return {"embeddings": pairs, "predictions": [(name, name) for name in inputs.predicting(embedder, task.target)]}


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
    if task.target is None:
        rows = inputs.splits["test"].rows
        return None if rows >= SMALLEST_POOL else f"a search among {rows} test object tells nothing"
    if task.target not in inputs.dataset.labels:
        return f"the data set has no label {task.target}"
    protocols = [get_protocol(name) for name in task.protocols]
    voters = max((protocol.k or 0 for protocol in protocols if protocol.uses == use), default=0)
    for split, needed in (("train", voters), ("test", MINIMUM_OBJECTS)):
        known = int(np.isfinite(inputs.columns[split][task.target].astype(float)).sum())
        if known < needed:
            return f"{known} {split} objects have the label {task.target}, and it takes {needed}"
    return None
