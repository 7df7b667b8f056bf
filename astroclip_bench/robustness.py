"""How scores fall when the queries are worse observations than the reference set, or another population.

The reference set, the train split, stays clean. The test objects are changed before the model sees them, one
perturbation and level at a time, and scored as `evaluate` scores them; level 0 is the clean score. In the population
shift nothing is changed: faint queries are asked of a reference set that is more and more of bright galaxies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import DataError, ResultError, TaskError
from astroclip_bench.files import digest_strings
from astroclip_bench.perturbations import SEED, Perturbation, perturbations
from astroclip_bench.perturbed import QUERY_SPLIT, REFERENCE_SPLIT, Bench, PerturbedSplit, Vectors, choose_splits
from astroclip_bench.progress import progress_bar
from astroclip_bench.tasks.bootstrap import Estimate, bootstrap
from astroclip_bench.tasks.metrics import Sample, score
from astroclip_bench.tasks.probes import knn_regress
from astroclip_bench.tasks.protocols import get_protocol, scale
from astroclip_bench.tasks.retrieval import query_scores, retrieval_counts, statistic

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.embedders import Embedder
    from astroclip_bench.inputs import ShowProgress

Rows = NDArray[np.int64]
Curves = list[dict[str, Any]]

ROBUSTNESS_VERSION = 1
PROTOCOL, METRIC = "knn16", "r2"
TARGETS = {"redshift": "redshift", "stellar-mass": "log_stellar_mass"}
"""Tasks scored by `PROTOCOL` and `METRIC`, and their labels."""
SEARCH_TASK, SEARCH_PROTOCOL, SEARCH_METRIC = "retrieval", "cosine", "recall@10"
SHIFT_COLUMN = "mag_r"

SHIFT = Perturbation(
    "population-shift",
    f"queries of the faint half by {SHIFT_COLUMN}; this share of the reference set, always half the train split, is of "
    "the bright half; 0 is the control of the same size",
    "bright fraction",
    (0.0, 0.5, 0.9, 1.0),
    {},
)
"""Done to the choice of objects, and not to any modality."""


def measure_robustness(
    embedder: Embedder,
    dataset: BenchDataset,
    *,
    names: Sequence[str] | None = None,
    limit: int | None = None,
    previous: Mapping[str, Any] | None = None,
    save: Callable[[dict[str, Any]], None] = lambda record: None,
    show_progress: ShowProgress = lambda what: progress_bar(what, quiet=True),
) -> dict[str, Any]:
    """Score a model on perturbed queries, perturbation by perturbation and level by level.

    Parameters
    ----------
    names
        Perturbations; all that touch a modality of the data set by default.
    limit
        Use this many objects of each split, chosen by hash of their ids.
    previous
        A record of the same model, data and options: its levels are kept.
    save
        Called with the record whenever a level is done.

    Returns
    -------
    dict
        The record: ``dataset``, ``embedder``, ``options``, ``perturbations``, ``not_applicable`` and ``curves``, one
        entry for each perturbation, level, task, and pair of modalities.

    Raises
    ------
    DataError
        If the data set lacks a split, or shares no modality with the model.
    TaskError
        If a perturbation is unknown, or nothing can be scored.
    ResultError
        If `previous` is of another model, other data or options.
    """
    wanted = (*TARGETS.values(), SHIFT_COLUMN)
    bench = Bench(embedder, dataset, choose_splits(dataset, limit), wanted, show_progress)
    if not bench.modalities:
        raise DataError(f"{embedder.info.name} embeds none of {', '.join(dataset.modalities)}", "a modality in common")
    known = perturbations(bench.modalities.values()) | {SHIFT.name: SHIFT}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise TaskError(f"there is no perturbation {unknown[0]!r} of this data set", f"some of {', '.join(known)}")
    chosen = {name: item for name, item in known.items() if names is None or name in names}
    record = _header(bench, limit)
    record["not_applicable"] = _reasons_against(chosen, bench)
    record["curves"] = _kept(previous, record)
    record["perturbations"] = {
        name: {"description": item.description, "unit": item.unit, "levels": list(item.levels)}
        for name, item in known.items()
    }
    done = {(row["perturbation"], row["level"]) for row in record["curves"]}
    for item in [item for name, item in chosen.items() if name not in record["not_applicable"]]:
        for level in item.levels:
            if (item.name, level) not in done:
                record["curves"] += _shifted(bench, level) if item is SHIFT else _perturbed(bench, item, level)
                save(record)
    save(record)
    return record


def _header(bench: Bench, limit: int | None) -> dict[str, Any]:
    from astroclip_bench.embedders.cache import code_digest

    dataset, info = bench.dataset, bench.embedder.info
    return {
        "robustness_version": ROBUSTNESS_VERSION,
        "dataset": {
            "name": dataset.info.name,
            "version": dataset.info.version,
            "digest": dataset.digest,
            "simulated": dataset.info.simulated,
            "splits": {
                name: {"rows": view.rows, "ids_digest": digest_strings(view.object_ids)}
                for name, view in bench.splits.items()
            },
        },
        "embedder": asdict(info),
        "options": {"limit": limit, "seed": SEED, "embedder_code": code_digest(bench.embedder)},
    }


def _kept(previous: Mapping[str, Any] | None, record: Mapping[str, Any]) -> Curves:
    """Return the curves of an earlier record, if it is of the same model, data and options."""
    if previous is None:
        return []
    for what, before, now in (
        ("version", previous.get("robustness_version"), record["robustness_version"]),
        ("data set", previous.get("dataset"), record["dataset"]),
        ("model", (previous.get("embedder") or {}).get("digest"), record["embedder"]["digest"]),
        ("options", previous.get("options"), record["options"]),
    ):
        if before != now:
            raise ResultError(
                f"the earlier record is of another {what}", todo="name another --out, or remove the old file"
            )
    return list(previous["curves"])


def _reasons_against(chosen: Mapping[str, Perturbation], bench: Bench) -> dict[str, str]:
    """Return the perturbations that cannot be scored, each with the reason."""
    from astroclip_bench.embedders.stored import StoredEmbeddings

    reasons = {}
    if isinstance(bench.embedder, StoredEmbeddings):
        reasons = {name: "stored embeddings are of clean objects" for name in chosen if name != SHIFT.name}
    if SHIFT.name in chosen and SHIFT_COLUMN not in bench.dataset.schema.names:
        reasons[SHIFT.name] = f"the data set has no column {SHIFT_COLUMN}"
    if len(reasons) == len(chosen):
        raise TaskError("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
    return reasons


def _perturbed(bench: Bench, item: Perturbation, level: float) -> Curves:
    """Score the test objects, perturbed in one modality after the other, against clean ones."""
    curves: Curves = []
    rows = {split: np.arange(view.rows) for split, view in bench.splits.items()}
    for name, modality in bench.modalities.items():
        if item.effect_on(modality) is None:
            continue
        query = bench.clean[QUERY_SPLIT, name]
        if level:
            query = bench.embed(PerturbedSplit(bench.splits[QUERY_SPLIT], modality, item, level), name)
        for reference in bench.references(name):
            pair = (reference, name)
            curves += [_point(item, level, *row, pair) for row in _score_labels(bench, reference, query, rows)]
            if reference != name:
                curves.append(_point(item, level, *_score_search(bench, reference, query), pair))
    return curves


def _shifted(bench: Bench, bright_share: float) -> Curves:
    """Score the faint half of the test objects against train objects of which a share is bright."""
    bright, faint = _halves(bench, REFERENCE_SPLIT)
    size = min(len(bright), len(faint))
    count = round(bright_share * size)
    reference_rows = np.sort(np.concatenate([bright[:count], faint[: size - count]]))
    rows = {REFERENCE_SPLIT: reference_rows, QUERY_SPLIT: np.sort(_halves(bench, QUERY_SPLIT)[1])}
    curves: Curves = []
    for name in bench.modalities:
        query = bench.clean[QUERY_SPLIT, name]
        for reference in bench.references(name):
            scores = _score_labels(bench, reference, query, rows)
            curves += [_point(SHIFT, bright_share, *row, (reference, name)) for row in scores]
    return curves


def _halves(bench: Bench, split: str) -> tuple[Rows, Rows]:
    """Return the rows of the bright and of the faint half of a split, each in the order of the ids' hashes."""
    magnitude = bench.columns[split][SHIFT_COLUMN]
    ids = bench.splits[split].object_ids
    order = np.argsort([hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids], kind="stable")
    order = order[np.isfinite(magnitude[order])]
    middle = np.nanmedian(magnitude)
    return order[magnitude[order] <= middle], order[magnitude[order] > middle]


def _score_labels(
    bench: Bench, reference: str, query: Vectors, rows: Mapping[str, Rows]
) -> list[tuple[str, str, str, Estimate]]:
    """Return task, protocol, metric and score of each label that the data set has, on the chosen rows."""
    train, test = (
        {name: column[rows[split]] for name, column in bench.columns[split].items()}
        for split in (REFERENCE_SPLIT, QUERY_SPLIT)
    )
    tasks = [task for task, target in TARGETS.items() if target in train]
    if not tasks:
        return []
    labels = np.stack([train[TARGETS[task]] for task in tasks], axis=1)
    vectors = bench.clean[REFERENCE_SPLIT, reference][rows[REFERENCE_SPLIT]]
    found = knn_regress(vectors, labels, query[rows[QUERY_SPLIT]], get_protocol(PROTOCOL))
    scores = []
    for place, task in enumerate(tasks):
        known = np.isfinite(test[TARGETS[task]])
        sample = Sample(test[TARGETS[task]][known], found.values[known, place])
        estimate = score([METRIC], sample, test["healpix"][known])[METRIC]
        scores.append((task, PROTOCOL, METRIC, estimate))
    return scores


def _score_search(bench: Bench, reference: str, query: Vectors) -> tuple[str, str, str, Estimate]:
    """Return task, protocol, metric and score of finding each query among the clean test objects."""
    searched, asking = scale(bench.clean[QUERY_SPLIT, reference], query, get_protocol(SEARCH_PROTOCOL))
    found = query_scores(retrieval_counts(asking, searched).forward, len(asking))[SEARCH_METRIC]
    pixels = bench.columns[QUERY_SPLIT]["healpix"]
    estimate = bootstrap({SEARCH_METRIC: statistic(SEARCH_METRIC, found)}, pixels)[SEARCH_METRIC]
    return SEARCH_TASK, SEARCH_PROTOCOL, SEARCH_METRIC, estimate


def _point(
    item: Perturbation, level: float, task: str, protocol: str, metric: str, estimate: Estimate, pair: tuple[str, str]
) -> dict[str, Any]:
    return {
        "perturbation": item.name,
        "level": level,
        "unit": item.unit,
        "task": task,
        "protocol": protocol,
        "metric": metric,
        "reference": pair[0],
        "query": pair[1],
        "value": estimate.value,
        "standard_error": estimate.standard_error,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
    }
