"""Declarations, probes and metrics put together: groups, pools and both directions of retrieval."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.tasks.bootstrap import cluster_counts
from astroclip_bench.tasks.catalogue import REDSHIFT, RETRIEVAL
from astroclip_bench.tasks.rows import Side, group_masks
from astroclip_bench.tasks.scoring import score_pair, score_prediction

N = 2_500


def side(modality: str, vectors: np.ndarray) -> Side:
    columns = {"healpix": np.arange(len(vectors)) % 50, "redshift": np.linspace(0.01, 0.59, len(vectors))}
    return Side(modality, vectors.astype(np.float32), [str(i) for i in range(len(vectors))], columns)


@pytest.fixture(scope="module")
def pair():
    random = np.random.default_rng(0)
    shared = random.standard_normal((N, 16))
    image, spectrum = (shared + 0.7 * random.standard_normal((N, 16)) for _ in range(2))
    return side("image", image), side("spectrum", spectrum)


def retrieval(query: Side, reference: Side, known=None):
    asked = [(RETRIEVAL, "cosine")]
    return score_pair(asked, reference, query, reference, {} if known is None else known)


def test_retrieval_is_scored_whole_and_in_pools(pair):
    image, spectrum = pair
    rows = {(row.group, row.metric): row for row in retrieval(image, spectrum)}
    assert {group for group, _ in rows} == {"all", "pool:1000"}
    assert rows["all", "recall@10"].chance == 10 / N
    assert rows["pool:1000", "recall@10"].chance == 10 / 1000
    assert rows["all", "recall@10"].n == N
    assert rows["pool:1000", "recall@10"].n == 2_000
    assert rows["pool:1000", "recall@10"].value > rows["all", "recall@10"].value > 20 * 10 / N


def test_recall_equals_that_of_the_full_matrix(pair):
    image, spectrum = pair
    unit = [one.vectors / np.linalg.norm(one.vectors, axis=1, keepdims=True) for one in pair]
    similarity = unit[0].astype(float) @ unit[1].astype(float).T
    for rows, matrix in ((retrieval(image, spectrum), similarity), (retrieval(spectrum, image), similarity.T)):
        rank = 1 + (matrix > np.diag(matrix)[:, None]).sum(axis=1)
        value = {row.metric: row.value for row in rows if row.group == "all"}
        assert value["recall@10"] == pytest.approx((rank <= 10).mean(), abs=1e-9)
        assert value["mrr"] == pytest.approx((1 / rank).mean(), abs=1e-9)
        assert value["median_rank_fraction"] == pytest.approx(np.median(rank) / N, abs=1e-9)


def test_both_directions_come_from_one_search(pair, monkeypatch):
    image, spectrum = pair
    known = {}
    forward = retrieval(image, spectrum, known)
    from astroclip_bench.tasks import retrieval as module

    monkeypatch.setattr(module, "retrieval_counts", lambda *a, **k: pytest.fail("searched again"))
    backward = retrieval(spectrum, image, known)
    assert {(row.query, row.reference) for row in forward} == {("image", "spectrum")}
    assert {(row.query, row.reference) for row in backward} == {("spectrum", "image")}


def test_groups_are_the_bins_that_hold_objects():
    columns = {
        "redshift": np.array([0.05, 0.1, 0.15, 0.7]),
        "hemisphere": np.array(["north", None, "south", "north"], object),
    }
    known = np.array([True, True, True, False])
    masks = group_masks(REDSHIFT, columns, known)
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "redshift:0<=redshift<0.1": [True, False, False],
        "redshift:0.1<=redshift<0.2": [False, True, True],
        "hemisphere:north": [True, False, False],
        "hemisphere:south": [False, False, True],
    }


def test_objects_without_the_label_are_left_out(pair):
    image, _ = pair
    holes = image.columns["redshift"].copy()
    holes[::3] = np.nan
    query = Side("image", image.vectors, image.object_ids, {**image.columns, "redshift": holes})
    rows = score_pair([(REDSHIFT, "knn16")], image, query, query, {})
    assert {row.n for row in rows if row.group == "all"} == {int(np.isfinite(holes).sum())}


def test_a_prediction_has_the_interval_of_resampled_pixels(pair):
    from sklearn.metrics import r2_score

    columns = {**pair[0].columns, "mag_r": np.full(N, 17.5)}
    label, pixels = columns["redshift"], columns["healpix"]
    prediction = (label + np.random.default_rng(1).normal(0, 0.1, N)).astype(np.float32)
    rows = score_prediction(REDSHIFT, "direct", "image", prediction, columns, columns)
    scores = {(row.metric, row.group): row for row in rows}
    found = scores["r2", "all"]
    assert (found.reference, found.query, found.protocol, found.protocol_version) == ("image", "image", "direct", 1)
    assert found.value == pytest.approx(r2_score(label, prediction), abs=1e-9)
    drawn = [r2_score(label, prediction, sample_weight=counts[pixels]) for counts in cluster_counts(50)]
    assert found.standard_error == pytest.approx(np.std(drawn, ddof=1), rel=1e-6)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), rel=1e-6)
    assert scores["r2", "mag_r:17<=mag_r<18"].value == pytest.approx(found.value)
    assert found.chance == pytest.approx(0, abs=1e-9)
    assert {"crps", "pit_uniformity"}.isdisjoint({metric for metric, _ in scores})
