"""What the nearest objects of the same modality have in common with the query, against scikit-learn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from astroclip_bench.errors import TaskError
from astroclip_bench.tasks.catalogue import BUILTIN_TASKS
from astroclip_bench.tasks.inmodal import nearest_others, neighbour_scores, random_floor
from astroclip_bench.tasks.labels import label_of
from astroclip_bench.tasks.rows import Side
from astroclip_bench.tasks.scoring import score_pair

N = 300
TASKS = {task.name: task for task in BUILTIN_TASKS}


@pytest.fixture(scope="module")
def test_side():
    random = np.random.default_rng(0)
    redshift = random.uniform(0, 0.6, N)
    vectors = np.stack([np.sin(redshift), np.cos(redshift), *0.05 * random.standard_normal((4, N))], axis=1)
    answer = np.where(redshift < 0.25, "smooth", "featured-or-disk").astype(object)
    redshift[::7], answer[::5] = np.nan, None
    columns = {
        "healpix": np.arange(N) % 25,
        "redshift": redshift,
        "morphology_smooth_or_featured": answer,
        "mag_r": np.where(np.arange(N) < 5, 16.5, 17.5),
    }
    return Side("image", vectors.astype(np.float32), [str(i) for i in range(N)], columns)


@pytest.mark.parametrize("name", ["neighbours-redshift", "neighbours-morphology"])
def test_scores_and_chance_equal_those_of_scikit_learns_neighbours(test_side, name):
    task = TASKS[name]
    rows = score_pair([(task, "cosine")], test_side, test_side, test_side, {})
    label = label_of(task, test_side.columns)
    known = np.isfinite(label)
    vectors, label = normalize(test_side.vectors[known].astype(float)), label[known]
    # Asked without queries, scikit-learn leaves each object out of its own neighbours.
    found = NearestNeighbors(n_neighbors=10).fit(vectors).kneighbors(return_distance=False)
    compare = (lambda a, b: a == b) if task.classes else (lambda a, b: np.abs(a - b))
    every = compare(label[:, None], label[None, :]).astype(float)
    others = ~np.eye(len(label), dtype=bool)
    for row in rows:
        if row.group == "all":
            near = compare(label[found[:, : int(row.metric.partition("@")[2])]], label[:, None])
            assert row.value == pytest.approx(near.mean(axis=1).mean(), abs=1e-12)
            assert row.chance == pytest.approx(every[others].mean(), abs=1e-12)
            assert (row.n, row.reference, row.query) == (known.sum(), "image", "image")
    by_group = {row.group: row for row in rows if row.metric == task.metrics[0]}
    assert by_group["mag_r:17<=mag_r<18"].n < by_group["all"].n
    assert "mag_r:16<=mag_r<17" not in by_group  # five objects are too few
    better = by_group["all"].value - by_group["all"].chance
    assert better > 0.2 if task.classes else better < -0.1


def test_the_query_is_never_its_own_neighbour():
    vectors = np.random.default_rng(1).standard_normal((60, 3))
    found = nearest_others(vectors, 5)
    distances = pairwise_distances(vectors)
    np.fill_diagonal(distances, np.inf)
    assert np.array_equal(np.sort(found), np.sort(np.argsort(distances, axis=1)[:, :5]))
    same = nearest_others(np.zeros((40, 3)), 5)
    assert not (same == np.arange(40)[:, None]).any()
    assert same.shape == (40, 5)


def test_labels_that_have_nothing_to_do_with_the_vectors_agree_by_chance():
    random = np.random.default_rng(2)
    vectors, label = random.standard_normal((2_000, 8)), random.integers(0, 3, 2_000).astype(float)
    names = ["agreement@10", "difference@10"]
    found, chance = neighbour_scores(vectors, label, names), random_floor(label, names)
    for name in names:
        assert found[name].mean() == pytest.approx(chance[name].mean(), abs=0.02)


def test_an_unknown_score_is_refused(test_side):
    task = dataclasses.replace(TASKS["neighbours-redshift"], metrics=("recall@1",))
    with pytest.raises(TaskError, match="no metric 'recall@1' of a search; expected some of agreement@10"):
        score_pair([(task, "cosine")], test_side, test_side, test_side, {})
