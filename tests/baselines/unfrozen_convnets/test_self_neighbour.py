"""The mistake in Siddiquei's in-modal scores, made here on purpose: a query that is its own neighbour.

The mean over the 16 nearest then holds the answer itself, at distance 0, and 15 others: it misses by 15/16 of what the
mean over 15 honest neighbours misses. So 1 - R^2 shrinks to (15/16)^2, 0.879, of its value, whatever the embedding.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor

from astroclip_bench.datasets.arrays import arrow_to_numpy
from astroclip_bench.embedders import load_embedder
from dataset_builders.mock_survey.source import MockSurvey

GALAXIES, K = 200, 16
COLUMNS = {"image": ("image",), "spectrum": ("flux", "ivar")}


@pytest.fixture(scope="module")
def survey():
    """Return vectors by modality, and redshifts, of simulated galaxies embedded by the bundled model."""
    embedder, truth = load_embedder("astroclip-mini"), []
    vectors = {modality: [] for modality in COLUMNS}
    for batch in MockSurvey(GALAXIES, seed=5).objects(list(range(GALAXIES))):
        truth += batch["redshift"].to_pylist()
        for modality, names in COLUMNS.items():
            columns = {name: arrow_to_numpy(batch[name]) for name in names}
            vectors[modality].append(embedder.embed(columns, modality))
    return {modality: np.concatenate(parts) for modality, parts in vectors.items()}, np.array(truth)


def score_with_itself(vectors, truth, k=K):
    """Return the R^2 of the mistake: every galaxy is among those that it is compared with."""
    return r2_score(truth, KNeighborsRegressor(k).fit(vectors, truth).predict(vectors))


def score_without_itself(vectors, truth, k):
    """Return the R^2 of the mean over the k nearest others."""
    near = KNeighborsRegressor(k + 1).fit(vectors, truth).kneighbors(vectors, return_distance=False)[:, 1:]
    return r2_score(truth, truth[near].mean(axis=1))


@pytest.mark.parametrize("modality", COLUMNS)
def test_the_published_relation_undoes_the_mistake(survey, modality):
    vectors, truth = survey[0][modality].astype(float), survey[1]
    wrong = score_with_itself(vectors, truth)
    corrected = 1 - (1 - wrong) / ((K - 1) / K) ** 2
    assert corrected == pytest.approx(score_without_itself(vectors, truth, K - 1), abs=1e-9)
    honest = score_without_itself(vectors, truth, K)
    assert corrected == pytest.approx(honest, abs=0.05)  # of 15 and of 16 others
    assert wrong - honest > 0.05 * (1 - honest)


def test_vectors_that_know_nothing_score_a_sixteenth(survey):
    """The mean of k draws misses by 1 + 1/k of the variance: 1/16 below 0, or above it with the answer among them."""
    random = np.random.default_rng(1)
    vectors, truth = random.normal(size=(GALAXIES, 32)), survey[1]
    labels = [random.permutation(truth) for _ in range(50)]
    wrong = np.mean([score_with_itself(vectors, truth) for truth in labels])
    honest = np.mean([score_without_itself(vectors, truth, K) for truth in labels])
    assert wrong == pytest.approx(1 / K, abs=0.02)
    assert honest == pytest.approx(-1 / K, abs=0.02)
