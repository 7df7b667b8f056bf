"""Two models scored on one small data set, with the outcomes of single objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from answer_source import AnswerSource, write_vectors

from astroclip_bench.datasets import BenchDataset, open_dataset
from astroclip_bench.embedders import load_embedder
from astroclip_bench.evaluation import evaluate
from astroclip_bench.results.outcomes import outcomes_path
from astroclip_bench.results.record import write_result
from astroclip_bench.tasks import suites
from astroclip_bench.tasks.suites import Suite
from dataset_builders.parquet import build_dataset

SUITE = Suite("small", "One protocol of each kind", ("knn16", "mlp", "cosine"), (100,))
TASKS = ("redshift", "morphology-bar", "retrieval", "retrieval-lookalikes", "neighbours-redshift")
Scored = Callable[..., Path]


@pytest.fixture(scope="session")
def answers(tmp_path_factory: pytest.TempPathFactory) -> BenchDataset:
    """Return a data set of 500 galaxies with two modalities, redshifts, and answers about bars."""
    return open_dataset(
        build_dataset(AnswerSource(n_shards=2, shard_rows=250), tmp_path_factory.mktemp("answers") / "data")
    )


@pytest.fixture(scope="session")
def _small_suite() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suites, "SUITES", {**suites.SUITES, SUITE.name: SUITE})
        yield


@pytest.fixture(scope="session")
def scored(_small_suite: None, answers: BenchDataset, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """Return a function that scores embeddings of some noise, and gives the path of the result."""
    folder = tmp_path_factory.mktemp("scored")

    def score(name: str, noise: float, tasks: tuple[str, ...] = TASKS, **options: object) -> Path:
        vectors = write_vectors(folder / f"{name}.npz", answers, noise, seed=len(name))
        path = folder / f"{name}.json"
        result = evaluate(
            load_embedder(str(vectors)),
            answers,
            tasks=tasks,
            suite=SUITE.name,
            floors=(),
            outcomes=outcomes_path(path),
            **options,
        )
        write_result(result, path)
        return path

    return score


@pytest.fixture(scope="session")
def good(scored: Scored) -> Path:
    """Return the result of the better model."""
    return scored("good", 0.1)


@pytest.fixture(scope="session")
def poor(scored: Scored) -> Path:
    """Return the result of the worse model."""
    return scored("poorer", 3.0)
