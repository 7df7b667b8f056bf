"""Spaces, islands, clusters, and what they hold."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.analysis.structure import (
    JOINT,
    NO_ISLAND,
    describe_parts,
    explained,
    find_clusters,
    find_islands,
    number_by_size,
    project,
    spaces,
)
from astroclip_bench.errors import TaskError


def blobs(sizes, d=8, spread=0.05, seed=0):
    """Return unit vectors around as many axes as there are sizes, and the blob of each."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    vectors = np.eye(d)[labels] + spread * random.normal(size=(len(labels), d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def same_division(one, other):
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


def test_the_joint_space_is_the_mean_of_vectors_of_length_one():
    one, other = np.array([[2.0, 0.0]], np.float32), np.array([[0.0, 5.0]], np.float32)
    found = spaces({"image": one, "spectrum": other}, shared=True)
    assert list(found) == ["image", "spectrum", JOINT]
    assert found[JOINT].tolist() == [[0.5, 0.5]]
    assert found["image"].tolist() == [[1.0, 0.0]]


def test_there_is_no_joint_space_of_one_modality_or_of_spaces_apart():
    one = np.ones((3, 2), np.float32)
    assert list(spaces({"image": one}, shared=True)) == ["image"]
    assert list(spaces({"image": one, "spectrum": one}, shared=False)) == ["image", "spectrum"]


def test_islands_are_chains_of_enough_within_reach_and_the_largest_is_the_first():
    line = np.stack([np.arange(9) * 0.15, np.zeros(9)], axis=1)
    few = np.array([[10.0, 0.0], [10.1, 0.0], [10.0, 0.1], [10.1, 0.1]])
    tight = np.array([[0.0, 5.0]]) + 0.01 * np.arange(5)[:, None]
    islands = find_islands(np.concatenate([few, tight, line]), eps=0.31, minimum=5)
    assert islands[:4].tolist() == [NO_ISLAND] * 4
    assert set(islands[4:9]) == {1}
    assert set(islands[9:]) == {0}


def test_clusters_are_as_many_as_there_are_blobs_by_the_silhouette():
    from sklearn.metrics import silhouette_score

    vectors, labels = blobs([40, 90, 60, 50])
    found = find_clusters(vectors, counts=range(2, 8))
    assert found.k == 4
    assert same_division(found.labels, labels)
    assert np.bincount(found.labels).tolist() == [90, 60, 50, 40]
    assert found.silhouettes[4] == pytest.approx(silhouette_score(vectors, labels))
    assert max(found.silhouettes.values()) == found.silhouettes[4]


def test_clusters_are_the_same_for_the_same_seed():
    vectors = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    assert np.array_equal(find_clusters(vectors, (3, 4)).labels, find_clusters(vectors, (3, 4)).labels)


def test_one_place_has_no_clusters():
    with pytest.raises(TaskError, match="different"):
        find_clusters(np.ones((40, 3), np.float32))


def test_numbers_follow_the_sizes():
    assert number_by_size(np.array([4, 7, 7, -1, 4, 7, 2])).tolist() == [1, 0, 0, -1, 1, 0, 2]


def test_parts_are_described_beside_the_whole():
    columns = {
        "redshift": np.array([0.1, 0.2, 0.6, np.nan]),
        "flag": np.array([0, 1, 1, 1]),
        "hemisphere": np.array(["north", "south", None, "south"], object),
        "name": np.array([f"galaxy {number}" for number in range(4)], object),
        "empty": np.full(4, np.nan),
    }
    many = {name: np.tile(column, 3) for name, column in columns.items()}
    many["name"] = np.array([f"galaxy {number}" for number in range(12)], object)
    whole, first, second = describe_parts(np.tile([0, 0, 1, 1], 3), many)
    assert (whole["part"], first["part"], second["part"]) == (None, 0, 1)
    assert (whole["n"], first["n"], second["n"]) == (12, 6, 6)
    assert whole["median"]["redshift"] == pytest.approx(0.2)
    assert first["mean"] == {"redshift": pytest.approx(0.15), "flag": 0.5}
    assert second["median"] == {"redshift": pytest.approx(0.6), "flag": 1.0}
    assert whole["share"] == {"hemisphere": {"north": pytest.approx(1 / 3), "south": pytest.approx(2 / 3)}}
    assert second["share"]["hemisphere"] == {"south": 1.0}


def test_explained_variance_is_all_none_or_between():
    labels = np.array([0, 0, 1, 1])
    assert explained(labels, np.array([1.0, 1.0, 3.0, 3.0])) == 1
    assert explained(labels, np.array([1.0, 3.0, 1.0, 3.0])) == 0
    assert explained(labels, np.array([0.0, 2.0, 2.0, 4.0])) == pytest.approx(0.5)
    assert explained(labels, np.array([0.0, np.nan, 2.0, np.nan])) == 1
    assert np.isnan(explained(labels, np.ones(4)))
    assert np.isnan(explained(labels, np.full(4, np.nan)))


@pytest.mark.slow
def test_a_map_keeps_blobs_apart_and_is_the_same_for_the_same_seed():
    vectors, labels = blobs([80, 80, 80])
    plane = project(vectors, seed=3)
    assert plane.shape == (240, 2)
    assert np.array_equal(plane, project(vectors, seed=3))
    assert same_division(find_islands(plane, eps=1.5), labels)
    assert project(vectors[:6]).shape == (6, 2)


def test_three_objects_make_no_map():
    with pytest.raises(TaskError, match="map"):
        project(np.eye(3, dtype=np.float32))
