"""The neighbour search against float64 brute force, on data made to break shortcuts."""

from __future__ import annotations

import numpy as np
import pytest
from adversaries import ADVERSARIES, normal, tight_clusters, unit

from astroclip_bench.errors import EmbedderError, TaskError
from astroclip_bench.tasks import neighbours
from astroclip_bench.tasks.neighbours import nearest_neighbours


def brute_force(reference: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    squares = np.array([((reference.astype(np.float64) - row.astype(np.float64)) ** 2).sum(axis=1) for row in query])
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return np.sqrt(np.take_along_axis(squares, order, axis=1)), order


@pytest.mark.parametrize("kind", ADVERSARIES)
@pytest.mark.parametrize("coarse", [True, False])
def test_equals_brute_force(kind: str, coarse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_fast_bfloat16", lambda: coarse)
    reference = ADVERSARIES[kind](3_000, 65, 1).astype(np.float32)
    query = ADVERSARIES[kind](60, 65, 2).astype(np.float32)
    distances, indices = nearest_neighbours(reference, query, 16, block_bytes=2**20)
    expected_distances, expected_indices = brute_force(reference, query, 16)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-13)
    # Sums of another order may swap neighbours whose distances agree to the last digits.
    differs = indices != expected_indices
    np.testing.assert_allclose(distances[differs], expected_distances[differs], rtol=1e-14)
    assert differs.mean() < 0.01


@pytest.mark.parametrize("coarse", [True, False])
def test_exact_ties_go_to_the_lower_index(coarse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers have exact distances, and a small grid of them has ties beyond any fixed number of candidates."""
    monkeypatch.setattr(neighbours, "_fast_bfloat16", lambda: coarse)
    generator = np.random.default_rng(3)
    reference = generator.integers(0, 3, (4_000, 5)).astype(np.float32)
    query = generator.integers(0, 3, (80, 5)).astype(np.float32)
    distances, indices = nearest_neighbours(reference, query, 30)
    expected_distances, expected_indices = brute_force(reference, query, 30)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_array_equal(distances, expected_distances)


def test_identical_vectors_give_the_first_rows() -> None:
    reference = np.tile(normal(1, 40, 0), (5_000, 1))
    distances, indices = nearest_neighbours(reference, reference[:7] + 1, 16)
    np.testing.assert_array_equal(indices, np.tile(np.arange(16), (7, 1)))
    np.testing.assert_allclose(distances, np.sqrt(40), rtol=1e-6)


def test_copies_of_a_query_are_at_distance_zero() -> None:
    reference = normal(2_500, 40, 0)
    reference[[5, 700, 2_400]] = reference[3]
    distances, indices = nearest_neighbours(reference, reference[3:4], 6)
    np.testing.assert_array_equal(indices[0, :4], [3, 5, 700, 2_400])
    assert np.all(distances[0, :4] == 0)
    assert np.all(distances[0, 4:] > 0)


def test_doubtful_rows_go_through_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof is not vacuous: without the later stages these data would be answered wrongly."""
    monkeypatch.setattr(neighbours, "_fast_bfloat16", lambda: True)
    undecided = []

    def decide_nothing(search: neighbours._Search, rows: np.ndarray) -> None:
        undecided.extend(rows)

    monkeypatch.setattr(neighbours, "_decide", decide_nothing)
    reference = tight_clusters(3_000, 65, 1).astype(np.float32)
    nearest_neighbours(reference, tight_clusters(50, 65, 2).astype(np.float32), 16)
    assert len(undecided) == 50


@pytest.mark.parametrize("k", [1, 2, 40])
@pytest.mark.parametrize("n", [40, 41, 1_100])
def test_small_references(k: int, n: int) -> None:
    reference, query = normal(n, 8, 0), normal(9, 8, 1)
    np.testing.assert_array_equal(nearest_neighbours(reference, query, k)[1], brute_force(reference, query, k)[1])


def test_block_size_changes_nothing() -> None:
    reference, query = unit(normal(40_000, 16, 0)), unit(normal(70, 16, 1))
    small, large = (nearest_neighbours(reference, query, 16, block_bytes=size) for size in (2**18, 2**27))
    np.testing.assert_array_equal(small[1], large[1])
    np.testing.assert_array_equal(small[0], large[0])


def test_no_queries() -> None:
    distances, indices = nearest_neighbours(normal(50, 8, 0), np.empty((0, 8), dtype=np.float32), 3)
    assert distances.shape == indices.shape == (0, 3)


def test_progress_reaches_the_total() -> None:
    seen: list[tuple[int, int]] = []
    nearest_neighbours(
        normal(2_000, 8, 0), normal(50, 8, 1), 3, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_read_only_input() -> None:
    reference, query = normal(300, 8, 0), normal(5, 8, 1)
    reference.flags.writeable = query.flags.writeable = False
    np.testing.assert_array_equal(nearest_neighbours(reference, query, 4)[1], brute_force(reference, query, 4)[1])


@pytest.mark.parametrize(
    ("reference", "query", "k", "message"),
    [
        (normal(10, 4, 0), normal(2, 4, 0), 11, "11 neighbours asked of a reference set of 10 objects"),
        (normal(10, 4, 0), normal(2, 4, 0), 0, "0 neighbours"),
        (normal(10, 4, 0), normal(2, 5, 0), 3, "dimension 5"),
        (normal(10, 4, 0)[0], normal(2, 4, 0), 3, "shape"),
    ],
)
def test_misuse_is_one_clear_line(reference: np.ndarray, query: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        nearest_neighbours(reference, query, k)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_embeddings_are_refused(value: float) -> None:
    query = normal(3, 4, 0)
    query[1, 2] = value
    with pytest.raises(EmbedderError, match="query embeddings hold NaN"):
        nearest_neighbours(normal(10, 4, 0), query, 2)
