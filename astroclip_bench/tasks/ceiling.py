"""The ceiling that noise of the labels sets: what a model would score that knew the truth.

A simulation knows it (a column ``<label>_true``), and it is scored as a prediction of the label. Elsewhere a label is the
truth and an error, of which the data set may tell the spread: draws from the posterior (``<label>_samples``), or its
standard deviation (``<label>_std``). A draw from the posterior is as far from the label as the truth is, so it is scored
in its place, and the score is the mean over several draws. For R^2 this tends to 1 - (mean squared error of a label) /
(variance of the labels). It holds as far as the posteriors are right: where a width is given as a share of a noisy label,
it is too large for the large labels, and the ceiling too low.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.results.record import ALL, Score
from astroclip_bench.tasks.bootstrap import SEED
from astroclip_bench.tasks.labels import label_of
from astroclip_bench.tasks.metrics import Sample, score
from astroclip_bench.tasks.rows import score_rows
from astroclip_bench.tasks.scoring import point_metrics
from astroclip_bench.tasks.task import Task

Float64 = NDArray[np.float64]

PROTOCOL = "label-noise"
LABEL = "label"
"""Stands where other rows name a modality."""
DRAWS = 4
"""Of so many, R^2 of 500 galaxies is uncertain by 3 % of its distance from one."""


def error_columns(target: str) -> tuple[str, str, str]:
    """Return the columns that may tell the errors of a label: its truth, samples, and standard deviation."""
    return f"{target}_true", f"{target}_samples", f"{target}_std"


def score_ceilings(tasks: Sequence[Task], columns: Mapping[str, NDArray[Any]]) -> list[Score]:
    """Score the truth, or posterior draws, as predictions of the labels, for the tasks that have either.

    Parameters
    ----------
    columns
        Of the test split: pixels, labels, and `error_columns` where the data set has them.
    """
    scores: list[Score] = []
    for task in tasks:
        drawn = _draw(task.target, columns) if task.probe == "regress" and task.target else None
        if drawn is not None:
            scores += _score(task, drawn, columns)
    return scores


def _draw(target: str, columns: Mapping[str, NDArray[Any]]) -> Float64 | None:
    """Return what may be the truth behind each object's label, (draws, n); NaN where nothing is known of it."""
    truth, samples, deviation = (columns.get(name) for name in error_columns(target))
    if truth is not None:
        return truth[None]
    if samples is not None:
        # Evenly from the whole chain: neighbours in it are alike.
        places = np.linspace(0, samples.shape[1] - 1, min(DRAWS, samples.shape[1])).astype(int)
        return samples[:, places].T.astype(np.float64)
    if deviation is None:
        return None
    normal = np.random.default_rng(SEED).standard_normal((DRAWS, len(deviation)))
    drawn: Float64 = columns[target] + deviation * normal
    return drawn


def _score(task: Task, drawn: Float64, columns: Mapping[str, NDArray[Any]]) -> list[Score]:
    label = label_of(task, columns)
    known = np.isfinite(label) & np.isfinite(drawn).all(axis=0)
    samples = [Sample(label[known], one[known]) for one in drawn]
    estimates = score(point_metrics(task), samples, columns["healpix"][known])
    pair = (LABEL, LABEL)
    return score_rows(task, PROTOCOL, pair, {ALL: estimates}, {})
