"""The linear probe against scikit-learn: predictions, both ways to choose a strength, odd embeddings, memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.preprocessing import StandardScaler

from astroclip_bench.tasks import protocols, ridge
from astroclip_bench.tasks.ridge import ALPHAS, fit_ridge


def embeddings(n: int, seed: int, d: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings (n, d) of unequal scales with an offset, and two noisy targets, one of them faint."""
    random = np.random.default_rng(seed)
    latent = random.standard_normal((n, 3))
    mixing = np.random.default_rng(99).standard_normal((3, d))
    vectors = 2 + np.tanh(latent @ mixing) * np.linspace(0.1, 4, d) + 0.1 * random.standard_normal((n, d))
    targets = np.stack([latent[:, 0], 0.1 * latent[:, 1] + 5], axis=1) + random.standard_normal((n, 2)) * [0.3, 1.0]
    return vectors.astype(np.float32), targets


def scaled(*sides: np.ndarray) -> list[np.ndarray]:
    scaler = StandardScaler().fit(sides[0].astype(np.float64))
    return [scaler.transform(side.astype(np.float64)) for side in sides]


@pytest.mark.parametrize("n", [15, 300])
def test_every_strength_equals_scikit_learn(n):
    vectors, targets = embeddings(n, 0)
    query, _ = embeddings(50, 1)
    reference, asked = scaled(vectors, query)
    path = fit_ridge(vectors, targets)
    for place, alpha in enumerate(ALPHAS):
        expected = Ridge(alpha=n * alpha, solver="svd").fit(reference, targets).predict(asked)
        np.testing.assert_allclose(path.predict(query, np.full(2, place)), expected, atol=1e-6)


@pytest.mark.parametrize("n", [15, 300])
def test_without_other_objects_the_choice_is_that_of_ridge_cv(n):
    vectors, targets = embeddings(n, 0)
    query, _ = embeddings(50, 1)
    reference, asked = scaled(vectors, query)
    path = fit_ridge(vectors, targets)
    best = path.best_left_out(vectors, targets)
    expected = RidgeCV(n * ALPHAS, alpha_per_target=True).fit(reference, targets)
    np.testing.assert_allclose(n * ALPHAS[best], expected.alpha_)
    np.testing.assert_allclose(path.predict(query, best), expected.predict(asked), atol=1e-6)
    assert best[0] < best[1]


def test_the_choice_on_other_objects_is_the_best_of_all_strengths():
    vectors, targets = embeddings(300, 0)
    other, labels = embeddings(200, 2)
    reference, elsewhere = scaled(vectors, other)
    fits = [Ridge(alpha=300 * alpha).fit(reference, targets).predict(elsewhere) for alpha in ALPHAS]
    errors = np.array([((labels - fit) ** 2).sum(axis=0) for fit in fits])
    np.testing.assert_array_equal(fit_ridge(vectors, targets).best_elsewhere(other, labels), errors.argmin(axis=0))


def test_blocks_of_rows_change_nothing(monkeypatch):
    vectors, targets = embeddings(300, 0)

    def answers():
        path = fit_ridge(vectors, targets)
        best = [path.best_left_out(vectors, targets), path.best_elsewhere(vectors[:77], targets[:77])]
        return np.stack([*best, *path.predict(vectors[:9], best[0])])

    whole = answers()
    for module in (ridge, protocols):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 32)
    np.testing.assert_allclose(answers(), whole, atol=1e-10)


def test_constant_repeated_and_too_many_dimensions_are_no_trouble():
    vectors, targets = embeddings(40, 0)
    odd = np.hstack([vectors, vectors, np.full((40, 1), 0.1, np.float32), vectors[:, :3] * 1e-8])
    path = fit_ridge(odd, targets)
    best = path.best_left_out(odd, targets)
    expected = RidgeCV(40 * ALPHAS, alpha_per_target=True).fit(*scaled(odd), targets)
    np.testing.assert_allclose(path.predict(odd, best), expected.predict(*scaled(odd)), atol=1e-6)
    same = np.full((40, 4), 0.1, np.float32)
    flat = fit_ridge(same, targets)
    np.testing.assert_allclose(flat.predict(same[:2], flat.best_left_out(same, targets)), [targets.mean(axis=0)] * 2)


def test_memory_does_not_grow_with_the_number_of_objects():
    vectors = np.zeros((400_000, 16), np.float32)
    vectors[:, :] = np.random.default_rng(0).standard_normal(16, np.float32)
    vectors[::3] *= 2
    targets = vectors[:, :1].astype(np.float64)
    tracemalloc.start()
    try:
        path = fit_ridge(vectors, targets)
        path.best_left_out(vectors, targets)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * vectors.nbytes
