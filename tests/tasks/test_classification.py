"""Answers in words: metrics and votes against scikit-learn, and what is kept of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize

from astroclip_bench.cells import Cell
from astroclip_bench.errors import DataError
from astroclip_bench.records import MORPHOLOGY_QUESTIONS
from astroclip_bench.tasks.bootstrap import cluster_counts
from astroclip_bench.tasks.catalogue import BUILTIN_TASKS
from astroclip_bench.tasks.classification import largest
from astroclip_bench.tasks.fewshot import score_reference
from astroclip_bench.tasks.labels import label_of
from astroclip_bench.tasks.metrics import METRICS, Sample, score
from astroclip_bench.tasks.ridge import ALPHAS, fit_ridge
from astroclip_bench.tasks.rows import Side
from astroclip_bench.tasks.scoring import score_pair

BAR = next(task for task in BUILTIN_TASKS if task.name == "morphology-bar")
ANSWERS = MORPHOLOGY_QUESTIONS["bar"]
NAMES = [name for name, metric in METRICS.items() if metric.of_classes]
SKLEARN = {
    "accuracy": sklearn_metrics.accuracy_score,
    "balanced_accuracy": sklearn_metrics.balanced_accuracy_score,
    "weighted_f1": lambda *pair, **more: sklearn_metrics.f1_score(*pair, average="weighted", zero_division=0, **more),
    "macro_f1": lambda *pair, **more: sklearn_metrics.f1_score(*pair, average="macro", zero_division=0, **more),
}


def side(n: int, seed: int, answers: tuple[str, ...] = ANSWERS, missing: int = 5) -> Side:
    """Return galaxies whose first dimensions tell the answer, but for one in `missing` that has none."""
    random = np.random.default_rng(seed)
    share = np.array([5.0, 3.0, 2.0])[: len(answers)]
    place = random.choice(len(answers), n, p=share / share.sum())
    vectors = random.standard_normal((n, 8)) + 1.5 * np.eye(8)[place]
    answer = np.array(answers, object)[place]
    answer[random.integers(0, missing, n) == 0] = None
    columns = {"healpix": np.arange(n) % 30, "morphology_bar": answer, "mag_r": np.full(n, 17.5)}
    return Side("image", vectors.astype(np.float32), [f"{seed}-{i}" for i in range(n)], columns)


@pytest.fixture(scope="module")
def sides():
    return side(400, 0), side(250, 1)


def answers_of(one: Side) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vectors and answers of the objects that have one, and which they are."""
    known = np.array([answer is not None for answer in one.columns["morphology_bar"]])
    return one.vectors[known], one.columns["morphology_bar"][known].astype(str), known


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_every_metric_of_classes_against_scikit_learn():
    assert set(SKLEARN) == set(NAMES)
    random = np.random.default_rng(0)
    label = random.choice(4, 300, p=[0.6, 0.3, 0.07, 0.03]).astype(float)
    # A class that no object has may be predicted, and one that some have may never be.
    prediction = np.where(random.random(300) < 0.6, label, random.integers(1, 6, 300))
    prediction[prediction == 3] = 2
    pixels = np.arange(300) // 10
    found = score(NAMES, Sample(label, prediction), pixels, keep_replicates=True)
    for name, expected in SKLEARN.items():
        assert found[name].value == pytest.approx(expected(label, prediction), abs=1e-12), name
        for row, counts in enumerate(cluster_counts(30)[:50]):
            # Drawn for real: scikit-learn still sees a class whose objects have weight zero.
            rows = np.repeat(np.arange(300), counts[pixels].astype(int))
            again = expected(label[rows], prediction[rows])
            assert found[name].replicates[row] == pytest.approx(again, abs=1e-12), name


def test_one_answer_for_all_has_the_balanced_accuracy_of_a_guess():
    label = np.repeat([0.0, 1.0, 2.0], [70, 20, 10])
    found = score(NAMES, Sample(label, np.zeros(100)), np.arange(100))
    assert found["balanced_accuracy"].value == pytest.approx(1 / 3)
    assert found["accuracy"].value == pytest.approx(0.7)
    assert found["macro_f1"].value == pytest.approx((2 * 70 / 170) / 3)


def test_the_vote_of_the_neighbours_is_that_of_scikit_learn(sides):
    train, test = sides
    kept = []
    rows = score_pair([(BAR, "knn16")], train, test, test, {}, lambda *args: kept.append(args))
    x, y, _ = answers_of(train)
    query, truth, known = answers_of(test)
    model = KNeighborsClassifier(16, weights="distance").fit(normalize(x.astype(float)), y)
    predicted = model.predict(normalize(query.astype(float)))
    scores = {row.metric: row for row in rows if row.group == "all"}
    assert list(scores) == list(BAR.metrics)
    for name, expected in SKLEARN.items():
        assert scores[name].value == pytest.approx(expected(truth, predicted), abs=1e-12)
        assert scores[name].n == known.sum()
        often = sklearn_metrics.accuracy_score(truth, np.full(len(truth), "strong"))
        assert scores["accuracy"].chance == pytest.approx(often)
    assert scores["balanced_accuracy"].chance == pytest.approx(1 / 3)
    assert scores["balanced_accuracy"].value > 0.6
    ((key, columns, seed),) = kept
    assert (key, seed) == (("morphology-bar", "knn16", "image", "image"), 0)
    assert (columns["predicted_class"][known] == predicted).all()
    assert (columns["label_class"] == test.columns["morphology_bar"]).all()
    assert {*columns["predicted_class"][~known]} == {None}


def test_the_linear_probe_is_scikit_learns_ridge_classifier():
    two = ("strong", "weak")
    train, test = side(300, 2, two), side(200, 3, two)
    rows = score_reference([Cell(BAR, "linear", "image", "image")], train, {"image": test}, {})
    x, y, _ = answers_of(train)
    query, truth, _ = answers_of(test)
    path = fit_ridge(x, (y == "strong").astype(float)[:, None])
    (place,) = path.best_left_out(x, (y == "strong").astype(float)[:, None])
    scaler = StandardScaler().fit(x.astype(float))
    model = RidgeClassifier(alpha=len(x) * ALPHAS[place]).fit(scaler.transform(x), y)
    predicted = model.predict(scaler.transform(query))
    scores = {row.metric: row.value for row in rows if row.group == "all"}
    for name, expected in SKLEARN.items():
        assert scores[name] == pytest.approx(expected(truth, predicted), abs=1e-12)


def test_the_validation_split_chooses_for_classes_too(sides):
    train, test = sides
    cells = [Cell(BAR, "linear", "image", "image")]
    rows = score_reference(cells, train, {"image": test}, {"image": side(300, 4)})
    (score_row,) = [row for row in rows if (row.metric, row.group) == ("balanced_accuracy", "all")]
    assert score_row.value > 0.6


def test_an_answer_that_no_reference_object_has_is_never_given():
    votes = np.array([[0.2, -0.3, 0.0], [-0.2, -0.1, 0.0]])
    assert largest(votes, np.array([0.0, 1.0, 1.0, np.nan])).tolist() == [0.0, 1.0]


def test_an_answer_off_the_list_is_refused():
    with pytest.raises(DataError, match="column morphology_bar holds 'perhaps'; expected one of strong, weak, no"):
        label_of(BAR, {"morphology_bar": np.array(["no", "perhaps", None], object)})
