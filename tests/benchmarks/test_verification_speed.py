"""Verification of submissions of 20,000 x 512 x 2 against the searches that it cannot do without."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_source import LABELS, LabelledSource
from product_ratio import cpu_seconds
from submissions import CARD
from test_retrieval_speed import memory_bytes

from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders.stored import StoredEmbeddings
from astroclip_bench.evaluation import evaluate
from astroclip_bench.tasks import neighbours, probes, retrieval
from dataset_builders.parquet import build_dataset
from leaderboard.submit import keep, prepare
from leaderboard.verify import open_for_many, verify_submission

pytestmark = pytest.mark.slow
DIMENSION = 512


def embeddings(dataset: Any) -> StoredEmbeddings:
    """Return what a middling model gives: labels with errors, and much else, in every direction."""
    random = np.random.default_rng(0)
    splits = dataset.splits.values()
    ids = [name for view in splits for name in view.object_ids]
    labels = np.stack([np.concatenate([view.column(name) for view in splits]) for name in LABELS], axis=1)
    latent = np.c_[
        labels + 0.5 * labels.std(axis=0) * random.normal(size=labels.shape), random.normal(size=(len(ids), 20))
    ]
    mixing = random.normal(size=(latent.shape[1], DIMENSION))
    arrays = {
        name: (latent @ mixing + random.normal(size=(len(ids), DIMENSION))).astype(np.float32)
        for name in dataset.modalities
    }
    return StoredEmbeddings("large", "2" * 32, ids, arrays)


@pytest.fixture(scope="module")
def submission(tmp_path_factory) -> tuple[Path, Any]:
    """Return a submission of 20,000 x 512 x 2, and the data set that it is scored on."""
    folder = tmp_path_factory.mktemp("large")
    dataset = open_for_many(open_dataset(build_dataset(LabelledSource(n_shards=4, shard_rows=5_000), folder / "data")))
    embedder = embeddings(dataset)
    with prepare(
        evaluate(embedder, dataset, floors=()), CARD, dataset, folder, name="large", embedder=embedder
    ) as made:
        return keep(made, folder), dataset


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """Return the function, which adds the CPU time of each call to `spent`."""

    def call(*arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        found = function(*arguments, **options)
        spent.append(time.process_time() - start)
        return found

    return call


def test_verification_of_20k(benchmark, submission, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several one after the other: the time of each, and no memory that grows with their number."""
    folder, dataset = submission
    spent: list[float] = []
    for module, name in (
        (probes, "nearest_neighbours"),
        (neighbours, "nearest_neighbours"),
        (retrieval, "retrieval_counts"),
    ):
        monkeypatch.setattr(module, name, timed(getattr(module, name), spent))
    ours: list[float] = []
    searches: list[float] = []
    memory: list[int] = []

    def verify() -> None:
        spent.clear()
        ours.append(cpu_seconds(lambda: verdicts.append(verify_submission(folder, [dataset]))))
        searches.append(sum(spent))
        memory.append(memory_bytes("VmRSS"))

    verdicts: list[Any] = []
    benchmark.pedantic(verify, rounds=4)
    assert all(verdict.passed for verdict in verdicts)
    ratios = [one / other for one, other in zip(ours, searches, strict=True)]
    benchmark.extra_info["cpu_seconds"] = [round(seconds, 1) for seconds in ours]
    benchmark.extra_info["cpu_ratio_to_searches"] = [round(ratio, 2) for ratio in ratios]
    benchmark.extra_info["resident_megabytes"] = [value // 10**6 for value in memory]
    assert min(ratios) <= 3
    assert memory[-1] < 1.1 * memory[1]
    assert memory_bytes("VmHWM") < 2 * 10**9
