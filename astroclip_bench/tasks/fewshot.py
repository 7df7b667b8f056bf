"""Few-shot scores: probes trained on reference embeddings and labels, and scores against the number of labels.

A probe sees one modality of the train split and is asked about the test split in every modality, as neighbours are. Where
fewer labels are given, they are those of the objects whose ids hash lowest, so that fewer are part of more; three such
draws are made, by the salt of the hash.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.datasets.views import lowest_hashes
from astroclip_bench.results.outcomes import Keep, discard
from astroclip_bench.results.record import Score
from astroclip_bench.tasks.bootstrap import MINIMUM_OBJECTS
from astroclip_bench.tasks.classification import indicators, largest
from astroclip_bench.tasks.labels import label_of
from astroclip_bench.tasks.metrics import Sample
from astroclip_bench.tasks.mlp import EPOCHS, fit_mlp
from astroclip_bench.tasks.neighbours import Progress
from astroclip_bench.tasks.probes import knn_regress
from astroclip_bench.tasks.protocols import Protocol, get_protocol
from astroclip_bench.tasks.ridge import fit_ridge
from astroclip_bench.tasks.rows import Side
from astroclip_bench.tasks.scoring import point_metrics, score_samples
from astroclip_bench.tasks.task import Task

if TYPE_CHECKING:
    from astroclip_bench.cells import Cell

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Vectors = NDArray[np.floating]
Labelled = tuple[Vectors, Float64]
"""Embeddings (n, d) and their labels (n, t), finite."""
Predict = Callable[[Vectors, Labelled | None], Float64]
"""From query embeddings (m, d), and labelled ones of the validation split, to predictions (seeds, m, t)."""
Run = tuple[Int64, tuple[int, ...]]
"""One training: rows of the train split, and the seeds of what is trained on them."""

SEEDS = (0, 1, 2)
"""Of a network, and of the draws of labels."""
BY_VALIDATION, BY_LEAVE_ONE_OUT = "validation split", "leave-one-out"


def alpha_source(labels: NDArray[Any] | None) -> str:
    """Return on what the strength of a ridge regression is chosen, given a target's labels in the validation split."""
    return BY_LEAVE_ONE_OUT if labels is None or len(_known(labels)) < MINIMUM_OBJECTS else BY_VALIDATION


def score_reference(
    cells: Sequence[Cell],
    train: Side,
    queries: Mapping[str, Side],
    selection: Mapping[str, Side],
    progress: Progress = lambda done, total: None,
    keep: Keep = discard,
) -> list[Score]:
    """Score the probes that are trained on one reference modality.

    Parameters
    ----------
    cells
        All of this reference modality.
    train
        The train split in the reference modality.
    queries, selection
        The test and the validation split by query modality; of the latter none, if the data set has none. Its labels
        choose the strength of `linear`, for each pair of modalities, and nothing else.
    progress
        Called as ``progress(done, total)`` with numbers of objects that probes are shown.
    keep
        Takes the outcomes of single objects, of cells with all labels.
    """
    together: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        # Numbers known for the same objects are trained at once; the classes of a question are several already.
        known = [np.isfinite(label_of(cell.task, side.columns)) for side in (train, *selection.values())]
        question = cell.task.name if cell.task.classes else None
        key = (cell.protocol, cell.labels, question, *(mask.tobytes() for mask in known))
        together.setdefault(key, []).append(cell)
    plans = [(group, _runs(group[0], train)) for group in together.values()]
    advance = _counter(progress, sum(_cost(group[0], runs) for group, runs in plans))
    scores: list[Score] = []
    for group, runs in plans:
        tasks = list(dict.fromkeys(cell.task for cell in group))
        predicted = _predict(group, tasks, runs, train, queries, selection, advance)
        for cell in group:
            values, train_label = predicted[cell.query], label_of(cell.task, train.columns)
            one = largest(values, train_label) if cell.task.classes else values[:, :, tasks.index(cell.task)]
            scores += _score(cell, one, train_label, queries[cell.query], keep)
    return scores


def _predict(
    cells: Sequence[Cell],
    tasks: Sequence[Task],
    runs: Sequence[Run],
    train: Side,
    queries: Mapping[str, Side],
    selection: Mapping[str, Side],
    advance: Callable[[int], None],
) -> dict[str, Float64]:
    """Train probes on the targets of `tasks`; return their predictions (seeds, m, t) by query modality.

    The targets are several numbers, or the classes of one question.
    """
    protocol = get_protocol(cells[0].protocol)
    labels = _labels(train, tasks)
    found: dict[str, list[Float64]] = {cell.query: [] for cell in cells}
    for rows, seeds in runs:
        vectors = train.vectors if len(rows) == len(train.vectors) else train.vectors[rows]
        predict = _PROBES[protocol.fits](protocol, (vectors, labels[rows]), seeds, advance)
        for query, parts in found.items():
            parts.append(predict(queries[query].vectors, _choosing(selection.get(query), tasks)))
    return {query: np.concatenate(parts) for query, parts in found.items()}


def _choosing(side: Side | None, tasks: Sequence[Task]) -> Labelled | None:
    """Return what of the validation split carries the labels of `tasks` (the same objects for all), if it is enough."""
    labels = None if side is None else _labels(side, tasks)
    if side is None or labels is None or alpha_source(labels[:, 0]) == BY_LEAVE_ONE_OUT:
        return None
    rows = _known(labels[:, 0])
    return side.vectors[rows], labels[rows]


def _score(cell: Cell, values: Float64, train_label: Float64, test: Side, keep: Keep) -> list[Score]:
    """Score predictions (seeds, m)."""
    label = label_of(cell.task, test.columns)
    known = np.isfinite(label)
    return score_samples(
        cell.task,
        cell.protocol,
        (cell.reference, cell.query),
        point_metrics(cell.task),
        [Sample(label[known], one[known]) for one in values],
        train_label,
        test.columns,
        known,
        cell.part,
        keep,
    )


def _labels(side: Side, tasks: Sequence[Task]) -> Float64:
    if tasks[0].classes:
        return indicators(label_of(tasks[0], side.columns), tasks[0].classes)
    return np.stack([label_of(task, side.columns) for task in tasks], axis=1)


def _known(label: Float64) -> Int64:
    return np.flatnonzero(np.isfinite(label))


def _runs(cell: Cell, train: Side) -> list[Run]:
    known = _known(label_of(cell.task, train.columns))
    if cell.labels is None:
        return [(known, SEEDS)]
    ids = [train.object_ids[row] for row in known]
    return [(known[lowest_hashes(ids, cell.labels, seed)], (seed,)) for seed in SEEDS]


def _cost(cell: Cell, runs: Sequence[Run]) -> int:
    """Return the number of objects that the probes are shown."""
    passes = EPOCHS if get_protocol(cell.protocol).fits == "mlp" else 1
    return passes * sum(len(rows) * len(seeds) for rows, seeds in runs)


def _counter(progress: Progress, total: int) -> Callable[[int], None]:
    """Return a function that reports a number of further objects, from whatever thread."""
    lock, done = threading.Lock(), 0

    def advance(rows: int) -> None:
        nonlocal done
        with lock:
            done += rows
            progress(done, total)

    return advance


def _neighbours(
    protocol: Protocol, reference: Labelled, seeds: Sequence[int], advance: Callable[[int], None]
) -> Predict:
    advance(len(reference[0]))
    return lambda query, selection: knn_regress(*reference, query, protocol).values[None]


def _ridge(protocol: Protocol, reference: Labelled, seeds: Sequence[int], advance: Callable[[int], None]) -> Predict:
    """Nothing is drawn: one probe for all seeds."""
    path = fit_ridge(*reference)
    advance(len(reference[0]) * len(seeds))

    def predict(query: Vectors, selection: Labelled | None) -> Float64:
        best = path.best_left_out(*reference) if selection is None else path.best_elsewhere(*selection)
        return path.predict(query, best)[None]

    return predict


def _mlp(protocol: Protocol, reference: Labelled, seeds: Sequence[int], advance: Callable[[int], None]) -> Predict:
    network = fit_mlp(*reference, seeds, advance)
    return lambda query, selection: network(query)


_PROBES = {None: _neighbours, "ridge": _ridge, "mlp": _mlp}
