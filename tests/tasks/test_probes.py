"""k-NN probes and protocols against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler, normalize

from astroclip_bench.errors import TaskError
from astroclip_bench.tasks import probes
from astroclip_bench.tasks.probes import inverse_distance_weights, knn_regress
from astroclip_bench.tasks.protocols import PROTOCOLS, get_protocol, scale

KNN = [protocol for protocol in PROTOCOLS.values() if protocol.k]


def embeddings(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings (n, 24) with unequal scales and an offset, and two targets that depend on them."""
    generator = np.random.default_rng(seed)
    latent = generator.standard_normal((n, 3))
    mixing = np.random.default_rng(99).standard_normal((3, 24))
    vectors = 2 + np.tanh(latent @ mixing) * np.linspace(0.1, 4, 24) + 0.1 * generator.standard_normal((n, 24))
    return vectors.astype(np.float32), np.stack([latent[:, 0], latent[:, 1] ** 2], axis=1)


def reference_scaling(reference: np.ndarray, query: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    if scaling == "l2":
        return normalize(reference), normalize(query)
    scaler = StandardScaler().fit(reference)
    return scaler.transform(reference), scaler.transform(query)


@pytest.mark.parametrize("protocol", KNN, ids=lambda protocol: protocol.name)
def test_equals_scikit_learn(protocol: probes.Protocol) -> None:
    reference, targets = embeddings(2_000, 0)
    query, _ = embeddings(300, 1)
    query[:20] = reference[100:120]  # exact matches take all the weight
    scaled_reference, scaled_query = reference_scaling(
        reference.astype(np.float64), query.astype(np.float64), protocol.scaling
    )
    ours = scale(reference, query, protocol)
    np.testing.assert_allclose(ours[0], scaled_reference, atol=2e-6)
    np.testing.assert_allclose(ours[1], scaled_query, atol=2e-6)
    regressor = KNeighborsRegressor(protocol.k, weights="distance", algorithm="brute").fit(
        ours[0].astype(np.float64), targets
    )
    prediction = knn_regress(reference, targets, query, protocol)
    # scikit-learn's expanded squares may leave an exact match at a tiny distance: it is checked apart.
    np.testing.assert_allclose(prediction.values[20:], regressor.predict(ours[1].astype(np.float64))[20:], atol=1e-5)
    np.testing.assert_allclose(prediction.values[:20], targets[100:120])


def test_kd_tree_agrees_on_exact_matches() -> None:
    """scikit-learn's trees compute differences, so that it sees a distance of zero as zero."""
    reference, targets = embeddings(500, 0)
    reference[50:60] = reference[7]
    scaled, _ = scale(reference, reference, PROTOCOLS["knn16"])
    regressor = KNeighborsRegressor(16, weights="distance", algorithm="kd_tree").fit(scaled.astype(np.float64), targets)
    ours = knn_regress(reference, targets, reference, PROTOCOLS["knn16"])
    np.testing.assert_allclose(ours.values, regressor.predict(scaled.astype(np.float64)), atol=1e-12)


@pytest.mark.parametrize("protocol", KNN, ids=lambda protocol: protocol.name)
def test_shuffled_labels_predict_nothing(protocol: probes.Protocol) -> None:
    reference, targets = embeddings(3_000, 0)
    query, truth = embeddings(1_000, 1)
    good = knn_regress(reference, targets, query, protocol).values
    shuffled = np.random.default_rng(5).permutation(targets)
    bad = knn_regress(reference, shuffled, query, protocol).values
    assert r2_score(truth[:, 0], good[:, 0]) > 0.8
    assert r2_score(truth[:, 0], bad[:, 0]) <= 0.02
    assert r2_score(truth[:, 1], bad[:, 1]) <= 0.02


def test_missing_labels_do_not_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, targets = embeddings(400, 0)
    query, _ = embeddings(50, 1)
    targets = np.column_stack([targets, targets[:, 0] + 1, targets[:, 1]])
    missing = np.random.default_rng(2).random(400) < 0.5
    targets[missing, 1] = np.nan
    searches = []
    search = probes.nearest_neighbours

    def counted(*arguments, **options):
        searches.append(arguments[2])
        return search(*arguments, **options)

    monkeypatch.setattr(probes, "nearest_neighbours", counted)
    prediction = knn_regress(reference, targets, query, PROTOCOLS["knn16"])
    assert len(searches) == 2
    assert prediction.neighbours[0] is prediction.neighbours[2]
    assert not missing[prediction.neighbours[1]].any()
    assert np.isfinite(prediction.values).all()
    np.testing.assert_allclose(prediction.values[:, 2], prediction.values[:, 0] + 1)
    for target in range(4):
        votes = prediction.weights[target] * targets[prediction.neighbours[target], target]
        np.testing.assert_allclose(votes.sum(axis=1), prediction.values[:, target])


def test_one_target_may_be_flat() -> None:
    reference, targets = embeddings(100, 0)
    flat = knn_regress(reference, targets[:, 0], reference[:3], PROTOCOLS["knn16"])
    assert flat.values.shape == (3, 1)
    np.testing.assert_allclose(flat.values[:, 0], targets[:3, 0])


def test_too_few_labels_is_one_clear_line() -> None:
    reference, targets = embeddings(100, 0)
    targets[10:, 0] = np.nan
    with pytest.raises(TaskError, match="needs 16 reference objects with a label, and there are 10"):
        knn_regress(reference, targets, reference, PROTOCOLS["knn16"])
    with pytest.raises(TaskError, match="does not predict"):
        knn_regress(reference, targets, reference, PROTOCOLS["cosine"])
    with pytest.raises(TaskError, match="99 labels for 100"):
        knn_regress(reference, targets[1:], reference, PROTOCOLS["knn16"])


def test_weights_sum_to_one_and_fall_with_distance() -> None:
    weights = inverse_distance_weights(np.array([[0.5, 1.0, 2.0], [0.0, 0.0, 3.0]]))
    np.testing.assert_allclose(weights, [[4 / 7, 2 / 7, 1 / 7], [0.5, 0.5, 0.0]])


def test_scaling_is_fitted_on_the_reference_alone() -> None:
    reference, _ = embeddings(200, 0)
    query, _ = embeddings(50, 1)
    for protocol in PROTOCOLS.values():
        scaled, _ = scale(reference, query, protocol)
        again, _ = scale(reference, query * 7 + 3, protocol)
        np.testing.assert_array_equal(scaled, again)


def test_degenerate_vectors_stay_finite() -> None:
    reference, query = np.full((30, 4), 0.1, dtype=np.float32), np.zeros((2, 4), dtype=np.float32)
    for protocol in PROTOCOLS.values():
        scaled_reference, scaled_query = scale(reference, query, protocol)
        assert np.isfinite(scaled_reference).all()
        assert np.abs(scaled_query).max() <= 0.11


def test_unknown_protocol() -> None:
    with pytest.raises(TaskError, match="there is no protocol 'knn17'; expected one of knn16"):
        get_protocol("knn17")
