"""Scores of a submission's embeddings, by the harness that scores every model; and how far stated scores are off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.embedders.protocol import ANY_MODALITY, EmbedderInfo
from astroclip_bench.embedders.stored import StoredEmbeddings
from astroclip_bench.results.record import ALL, Result, Score
from leaderboard.errors import SubmissionError
from leaderboard.vectors import Layout

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset

TOLERANCE = 1e-4
"""How far a stated number may be from the recomputed one; relative, where that is above 1."""
MAX_DIMENSION = 16_384
NUMBERS = ("value", "standard_error", "low", "high", "chance")
Parts = Mapping[str, tuple[Sequence[str], Mapping[str, NDArray[Any]]]]
"""Split -> ids and arrays."""


def layouts(result: Result, dataset: BenchDataset) -> dict[str, Layout]:
    """Return what a submission of this result must bring of each split; nothing of a split that nothing is scored with.

    Raises
    ------
    SubmissionError
        If the model embeds nothing that the data set has, or vectors of an unheard-of length.
    """
    info = result.embedder
    named = info["modalities"]
    modalities = tuple(name for name in dataset.modalities if name in named or ANY_MODALITY in named)
    predictions = tuple(
        f"predicted_{target}_from_{modality}"
        for modality, targets in sorted(info.get("targets", {}).items())
        for target in targets
        if modality in dataset.modalities
    )
    if not (modalities or predictions):
        raise SubmissionError(f"{info['name']!r} embeds no modality of {result.dataset['name']}, and predicts nothing")
    if modalities and not 0 < info["dimension"] <= MAX_DIMENSION:
        raise SubmissionError(f"vectors of dimension {info['dimension']:,}", f"1 to {MAX_DIMENSION:,}")
    found = {"test": Layout(modalities, info["dimension"], predictions)}
    for split, is_needed in (("train", bool(modalities)), ("validation", bool(modalities) and _chooses(result))):
        if is_needed and split in dataset.splits and dataset.splits[split].rows:
            found[split] = Layout(modalities, info["dimension"])
    return found


def _chooses(result: Result) -> bool:
    """Whether labels of the validation split choose something for one of the scores."""
    from astroclip_bench.tasks.protocols import PROTOCOLS

    return any(PROTOCOLS[score.protocol].fits == "ridge" for score in result.scores if score.protocol in PROTOCOLS)


def suite_of(result: Result) -> str:
    """Return the smallest suite that has everything that a result scores.

    Raises
    ------
    SubmissionError
        If none has: tasks or protocols that this version of the harness does not know.
    """
    from astroclip_bench.tasks.suites import SUITES

    tasks, protocols = ({getattr(score, name) for score in result.scores} for name in ("task", "protocol"))
    has_curves = any(score.part != ALL for score in result.scores)
    for suite in SUITES.values():
        known = {task.name for task in suite.tasks()}
        if tasks <= known and protocols <= set(suite.protocols) and (suite.label_counts or not has_curves):
            return suite.name
    raise SubmissionError(
        f"scores of {', '.join(sorted(map(repr, (tasks | protocols))))[:200]}",
        "the tasks and protocols of one suite",
        "evaluate again with the installed version of astroclip-bench",
    )


def stored_embedder(embedder: Mapping[str, Any], parts: Parts) -> StoredEmbeddings:
    """Return embeddings of several splits as the embedder that the result describes.

    Raises
    ------
    EmbedderError
        If an id occurs twice, or a vector is not finite.
    """
    ids = [name for found, _ in parts.values() for name in found]
    names = dict.fromkeys(name for _, arrays in parts.values() for name in arrays)
    arrays = {
        name: np.concatenate(
            [found[name] if name in found else np.full(len(some), np.nan, np.float32) for some, found in parts.values()]
        )
        for name in names
    }
    stored = StoredEmbeddings(embedder["name"], embedder["digest"], ids, arrays, where="the embeddings")
    info = described(embedder)
    stored.info = replace(
        stored.info, preprocessing=info.preprocessing, parameters=info.parameters, details=dict(info.details)
    )
    return stored


def described(embedder: Mapping[str, Any]) -> EmbedderInfo:
    """Return the description of an embedder from a result's plain values."""
    values = dict(embedder)
    values["modalities"] = tuple(values["modalities"])
    values["targets"] = {name: tuple(labels) for name, labels in values.get("targets", {}).items()}
    return EmbedderInfo(**values)


def rescore(result: Result, parts: Parts, dataset: BenchDataset, outcomes: Path | None = None) -> Result:
    """Return the result that the harness gives of these embeddings, in the suite of `result`, without floors.

    Parameters
    ----------
    outcomes
        File to write the outcomes of single objects to.
    """
    from astroclip_bench.evaluation import evaluate

    embedder = stored_embedder(result.embedder, parts)
    found = evaluate(embedder, dataset, suite=suite_of(result), floors=(), outcomes=outcomes, use_cache=False)
    return replace(found, embedder=result.embedder)


def differences(stated: Sequence[Score], found: Sequence[Score]) -> list[str]:
    """Return in words where stated scores are not what was found: rows missing or added, numbers off."""
    by_key = [{(score.cell, score.metric, score.group): score for score in scores} for scores in (stated, found)]
    mine, theirs = by_key
    problems = []
    if len(mine) < len(stated):
        problems.append(f"{len(stated) - len(mine)} rows are given twice")
    for what, keys in (
        ("missing", theirs.keys() - mine.keys()),
        ("not scored by the suite", mine.keys() - theirs.keys()),
    ):
        if keys:
            problems.append(f"{len(keys)} rows are {what}, such as {_name(min(keys))}")
    off = []
    for key in mine.keys() & theirs.keys():
        distance, text = _difference(mine[key], theirs[key])
        if text:
            off.append((distance, f"{_name(key)}: {text}"))
    if off:
        problems.append(f"{len(off)} rows are off, most {max(off)[1]}")
    return problems


def _name(key: tuple[tuple[Any, ...], str, str]) -> str:
    (task, _, protocol, _, reference, query), metric, group = key
    return f"{task} {protocol} {reference} -> {query} {metric} ({group})"


def _difference(stated: Score, found: Score) -> tuple[float, str]:
    """Return how far a row is off, and the first number that is; nothing within `TOLERANCE`."""
    for name in ("n", "target"):
        if getattr(stated, name) != getattr(found, name):
            return float("inf"), f"{name} {getattr(stated, name)} is {getattr(found, name)}"
    for name in NUMBERS:
        before, now = getattr(stated, name), getattr(found, name)
        if (before is None) != (now is None):
            return float("inf"), f"{name} {before} is {now}"
        if now is not None:
            distance = abs(before - now) / max(1.0, abs(now))
            if not distance <= TOLERANCE:  # NaN is no number within it
                return distance, f"{name} {before:.6g} is {now:.6g}"
    return 0.0, ""
