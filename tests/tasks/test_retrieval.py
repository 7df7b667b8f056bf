"""Retrieval counts against the full float64 matrix; scores against simulated orders of ties."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.errors import EmbedderError, TaskError
from astroclip_bench.tasks import retrieval
from astroclip_bench.tasks.bootstrap import bootstrap
from astroclip_bench.tasks.protocols import l2_normalise
from astroclip_bench.tasks.retrieval import Counts, pools, query_scores, random_floor, retrieval_counts, score_names


def pairs(n: int, d: int = 48, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(n)
    latent = generator.standard_normal((n, d))
    return tuple(l2_normalise(latent + noise * generator.standard_normal((n, d))) for _ in range(2))


def full_matrix(query: np.ndarray, reference: np.ndarray) -> Counts:
    similarity = query.astype(np.float64) @ reference.astype(np.float64).T
    own = np.diag(similarity).copy()[:, None]
    np.fill_diagonal(similarity, -np.inf)
    tied = np.abs(similarity - own) <= 1e-12
    return Counts(((similarity > own) & ~tied).sum(axis=1), tied.sum(axis=1))


def check(query: np.ndarray, reference: np.ndarray) -> None:
    found = retrieval_counts(query, reference)
    for counts, expected in (
        (found.forward, full_matrix(query, reference)),
        (found.backward, full_matrix(reference, query)),
    ):
        np.testing.assert_array_equal(counts.greater, expected.greater)
        np.testing.assert_array_equal(counts.ties, expected.ties)


@pytest.mark.parametrize("n", [1, 2, 37, 500, 1_201])
@pytest.mark.parametrize("noise", [0.3, 3.0, 300.0])
def test_equals_the_full_matrix_in_blocks(n: int, noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK", 203)
    check(*pairs(n, noise=noise))


def test_equals_the_full_matrix_at_the_real_block_size() -> None:
    check(*pairs(2_600, noise=3.0))


def test_partial_ties() -> None:
    """A third of the vectors are copies of ten: ties within and across blocks, among other similarities."""
    query, reference = pairs(900)
    query[::3], reference[::3] = query[np.arange(300) % 10], reference[np.arange(300) % 10]
    counts = retrieval_counts(query, reference)
    assert counts.forward.ties.max() >= 29
    check(query, reference)


def test_similarities_below_float32_resolution_are_told_apart() -> None:
    query, reference = pairs(400)
    generator = np.random.default_rng(0)
    reference[:] = reference[0] + 1e-7 * generator.standard_normal(reference.shape).astype(np.float32)
    check(query, reference)


@pytest.mark.parametrize("n", [50, 2_350])
def test_a_collapsed_embedder_scores_at_chance(n: int) -> None:
    query, reference = pairs(n, d=33)
    query[:], reference[:] = query[0], reference[0]
    counts = retrieval_counts(query, reference)
    floor = random_floor(n)
    for side in (counts.forward, counts.backward):
        for name, values in query_scores(side, n).items():
            np.testing.assert_allclose(values, floor[name], rtol=1e-12, err_msg=name)


def test_a_zero_vector_ties_with_all() -> None:
    query, reference = pairs(20)
    query[3] = 0
    counts = retrieval_counts(query, reference)
    assert (counts.forward.greater[3], counts.forward.ties[3]) == (0, 19)


def test_scores_are_means_over_random_orders_of_ties() -> None:
    counts, pool = Counts(np.array([0, 2, 7, 0, 40]), np.array([0, 4, 8, 59, 3])), 60
    generator = np.random.default_rng(0)
    ranks = 1 + counts.greater + np.floor(generator.random((40_000, 5)) * (counts.ties + 1)).astype(int)
    scores = query_scores(counts, pool)
    assert list(scores) == score_names()
    for k in (1, 5, 10):
        np.testing.assert_allclose(scores[f"recall@{k}"], (ranks <= k).mean(axis=0), atol=0.01)
    np.testing.assert_allclose(scores["mrr"], (1 / ranks).mean(axis=0), atol=0.005)
    np.testing.assert_allclose(scores["median_rank_fraction"], ranks.mean(axis=0) / pool, atol=0.005)
    for percent, k in ((1, 1), (5, 3), (10, 6), (20, 12), (50, 30)):
        np.testing.assert_allclose(scores[f"accuracy@{percent}%"], (ranks <= k).mean(axis=0), atol=0.01)


def test_floors_are_the_scores_of_every_rank_once() -> None:
    pool = 137
    scores = query_scores(Counts(np.arange(pool), np.zeros(pool, dtype=int)), pool)
    floor = random_floor(pool)
    assert list(floor) == score_names()
    for name, values in scores.items():
        middle = np.median(values) if name == "median_rank_fraction" else values.mean()
        assert floor[name] == pytest.approx(middle), name


def test_a_median_is_taken_over_the_queries() -> None:
    values = np.random.default_rng(0).random(101)
    found = bootstrap(
        {name: retrieval.statistic(name, values) for name in ("recall@1", "median_rank_fraction")}, np.arange(101)
    )
    assert found["recall@1"].value == pytest.approx(values.mean())
    assert found["median_rank_fraction"].value == pytest.approx(np.median(values))
    assert retrieval.direction_of("median_rank_fraction") == "lower"
    assert retrieval.direction_of("mrr") == "higher"


def test_pools_are_disjoint_and_depend_on_ids_alone() -> None:
    names = [str(number) for number in range(3_456)]
    dealt = pools(names)
    assert [len(pool) for pool in dealt] == [1_000] * 3
    assert len(np.unique(np.concatenate(dealt))) == 3_000
    reverse = pools(names[::-1])
    for pool, other in zip(dealt, reverse, strict=True):
        assert [names[row] for row in pool] == [names[::-1][row] for row in other]
    assert abs(np.mean(dealt[0]) - 1_728) < 150
    np.testing.assert_array_equal(pools(names[:1_000])[0], np.arange(1_000))


def test_misuse_is_one_clear_line() -> None:
    query, reference = pairs(30)
    with pytest.raises(TaskError, match="pairs of the same shape"):
        retrieval_counts(query, reference[1:])
    query[3, 3] = np.nan
    with pytest.raises(EmbedderError, match="NaN"):
        retrieval_counts(query, reference)


def test_progress_reaches_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK", 10)
    seen: list[tuple[int, int]] = []
    retrieval_counts(*pairs(37), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (37 * 37, 37 * 37)
    assert seen == sorted(seen)
