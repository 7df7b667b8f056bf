"""Make and score baselines, one after the other; what was made before, of the same data and settings, is kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroclip_bench.errors import DataError, EmbedderError, MissingExtraError, TaskError, UserError
from astroclip_bench.files import write_json
from astroclip_bench.plugins import suggest
from astroclip_bench.progress import Progress, progress_bar
from astroclip_bench.results.record import Result, read_result, write_result
from baselines.suite.makers import PREDICTIONS, Job, write_columns
from baselines.suite.table import BASELINES, TARGETS, Baseline

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.embedders import Embedder

MADE, RESULT = "made.json", "result.json"
KNOWN_SHARE = 0.5
"""Labels that fewer of the train galaxies have are not learnt: they would take the others' galaxies away."""


@dataclass(frozen=True)
class Outcome:
    """What became of a baseline: a result for each seed, or the reason why there is none."""

    baseline: Baseline
    results: tuple[Result, ...] = ()
    reason: str = ""


def choose(names: Sequence[str] | None) -> list[Baseline]:
    """Return the baselines of these names in the order of the table, or all of them.

    Raises
    ------
    UserError
        If one is unknown.
    """
    known = [baseline.name for baseline in BASELINES]
    for name in names or ():
        if name not in known:
            raise UserError(f"unknown baseline {name!r}", todo=suggest(name, known))
    return [baseline for baseline in BASELINES if names is None or baseline.name in names]


def run_baselines(
    dataset: BenchDataset,
    out: Path,
    chosen: Sequence[Baseline],
    seeds: int = 3,
    *,
    device: str = "cpu",
    quiet: bool = False,
    say: Callable[[str], None] = lambda message: None,
) -> list[Outcome]:
    """Make and score baselines in ``out/NAME/seed-K``.

    Parameters
    ----------
    seeds
        Times that a baseline with random parts is made; others are made once.
    say
        Called with a line about each baseline.
    """
    targets = known_targets(dataset)
    outcomes = []
    for baseline in chosen:
        reason = reason_against(baseline, dataset, targets)
        results: list[Result] = []
        for seed in range(min(seeds, baseline.seeds) if not reason else 0):
            job = Job(dataset, targets, baseline.settings, seed, out / baseline.name / f"seed-{seed}", quiet)
            try:
                results.append(_run_one(baseline, job, device, say))
            except (DataError, EmbedderError, MissingExtraError, TaskError) as error:
                reason = str(error)
                break
        if reason:
            say(f"{baseline.name}: left out, {reason}")
        outcomes.append(Outcome(baseline, () if reason else tuple(results), reason))
    return outcomes


def known_targets(dataset: BenchDataset) -> tuple[str, ...]:
    """Return the labels to learn: those of `TARGETS` that at least half of the train galaxies have."""
    if "train" not in dataset.splits:
        return ()
    train = dataset.splits["train"]
    present = [name for name in TARGETS if name in dataset.labels]
    return tuple(name for name in present if np.isfinite(train.column(name)).mean() >= KNOWN_SHARE)


def reason_against(baseline: Baseline, dataset: BenchDataset, targets: Sequence[str]) -> str:
    """Return why a baseline cannot be had for a data set here, or nothing."""
    from baselines.frozen.timm_models import missing_weights

    for split in ("train", "validation", "test"):
        if split not in dataset.splits or not dataset.splits[split].rows:
            return f"the data set has no {split} split"
    missing = [name for name in baseline.modalities if name not in dataset.modalities and name != "any"]
    if missing:
        return f"the data set has no {missing[0]}"
    if baseline.learns and not targets:
        return f"the data set has none of the labels {', '.join(TARGETS)} for half of its galaxies"
    if baseline.label is not None and baseline.label not in targets:
        return f"the data set has no label {baseline.label} for half of its galaxies"
    if baseline.package is not None and find_spec(baseline.package) is None:
        return str(MissingExtraError(baseline.package, baseline.extra))
    if baseline.weights is not None:
        where = missing_weights(baseline.weights)
        if where is not None:
            return f"its weights are not in the Hub's cache; run: hf download {where}"
    return ""


def _run_one(baseline: Baseline, job: Job, device: str, say: Callable[[str], None]) -> Result:
    """Make and score a baseline with one seed, or return the result of an earlier run."""
    identity = _identity(baseline, job)
    made = _read(job.folder / MADE)
    name = f"{baseline.name}, seed {job.seed}"
    if made.get("identity") != identity:
        say(f"{name}: making")
        _clear(job.folder, identity)
        start = time.perf_counter()
        model = baseline.make(job)
        seconds = round(time.perf_counter() - start, 1)
        write_json(job.folder / MADE, {"identity": identity, "model": _relative(model, job.folder), "seconds": seconds})
    elif made.get("scored") == _tasks() and (job.folder / RESULT).exists():
        say(f"{name}: kept")
        return read_result(job.folder / RESULT)
    return _score(baseline, job, device, say)


def _score(baseline: Baseline, job: Job, device: str, say: Callable[[str], None]) -> Result:
    from astroclip_bench.embedders import load_embedder
    from astroclip_bench.evaluation import evaluate

    say(f"{baseline.name}, seed {job.seed}: scoring")
    made = _read(job.folder / MADE)
    file = job.folder / made["model"]
    embedder = load_embedder(str(file) if file.is_file() else made["model"], device=device)
    path = job.folder / RESULT
    result = evaluate(
        embedder,
        job.dataset,
        floors=(),
        previous=read_result(path) if path.exists() else None,
        show_progress=partial(_show, quiet=job.quiet),
    )
    result.embedder["name"] = baseline.name
    if not (job.folder / PREDICTIONS).exists():
        columns = predictions_of(embedder, job)
        write_columns(job.folder / PREDICTIONS, job.dataset.splits["test"].object_ids, columns)
    write_result(result, path)
    write_json(job.folder / MADE, {**made, "scored": _tasks()})
    return result


def predictions_of(embedder: Embedder, job: Job) -> dict[str, np.ndarray]:
    """Return what is scored of each label for the test split: the model's own predictions, or its neighbours' votes."""
    from astroclip_bench.embedders import embed_split, predict_split
    from astroclip_bench.tasks.probes import knn_regress
    from astroclip_bench.tasks.protocols import get_protocol

    columns: dict[str, np.ndarray] = {}
    train, test = job.dataset.splits["train"], job.dataset.splits["test"]
    labels = np.stack([train.column(target) for target in job.targets], axis=1) if job.targets else None
    for name, modality in job.dataset.modalities.items():
        if embedder.info.predicts(name):
            found = predict_split(embedder, test, modality, data_digest=job.dataset.digest)
        elif embedder.info.supports(name) and labels is not None:
            sides = [embed_split(embedder, split, modality, data_digest=job.dataset.digest) for split in (train, test)]
            votes = knn_regress(sides[0].vectors, labels, sides[1].vectors, get_protocol("knn16")).values
            found = dict(zip(job.targets, votes.T, strict=True))
        else:
            continue
        columns |= {f"predicted_{target}_from_{name}": values for target, values in found.items()}
    return columns


def _identity(baseline: Baseline, job: Job) -> dict[str, Any]:
    """Return all that decides what is made, as plain values."""
    from baselines.astroclip.config import read_recipe

    settings: dict[str, Any] = {**job.settings, "targets": list(job.targets)}
    if "recipe" in settings:
        recipe = json.dumps(asdict(read_recipe(settings["recipe"])), sort_keys=True)
        settings["recipe_digest"] = hashlib.sha256(recipe.encode()).hexdigest()[:32]
    return {"baseline": baseline.name, "settings": settings, "seed": job.seed, "data": job.dataset.digest}


def _clear(folder: Path, identity: dict[str, Any]) -> None:
    """Remove what was made with other settings; what a run of these settings left behind stays to go on from."""
    begun = folder / "begun.json"
    if _read(begun) != identity:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(begun, identity)


def _tasks() -> list[list[Any]]:
    from astroclip_bench.tasks.registry import all_tasks

    return [[task.name, task.version, *task.protocols] for task in all_tasks().values()]


def _relative(model: str, folder: Path) -> str:
    path = Path(model)
    return path.name if path.parent == folder else model


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _show(what: str, *, quiet: bool) -> AbstractContextManager[Progress]:
    return progress_bar(what, quiet=quiet)
