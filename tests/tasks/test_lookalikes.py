"""Pools of the objects most like the query, and what is found in them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from astroclip_bench.tasks.catalogue import LOOKALIKE_RETRIEVAL
from astroclip_bench.tasks.lookalikes import LOOKALIKES, lookalike_pools
from astroclip_bench.tasks.rows import Side
from astroclip_bench.tasks.scoring import score_pair

N = 400


def sides(noise: float, seed: int = 0, *, from_labels: bool = False) -> tuple[Side, Side]:
    """Return two views of galaxies: of something of their own, or of nothing but redshift and magnitude."""
    random = np.random.default_rng(seed)
    redshift, mag_r = random.uniform(0, 0.6, N), random.uniform(16, 20, N)
    columns = {"healpix": np.arange(N) % 25, "redshift": redshift, "mag_r": mag_r}
    columns["redshift"] = np.where(np.arange(N) % 9 == 0, np.nan, redshift)
    labels = np.stack([redshift * 6, mag_r - 18, np.full(N, 2.0)], axis=1)
    shared = labels if from_labels else random.standard_normal((N, 12))
    views = [shared + noise * random.standard_normal(shared.shape) for _ in range(2)]
    names = [str(i) for i in range(N)]
    image, spectrum = (
        Side(name, view.astype(np.float32), names, columns)
        for name, view in zip(("image", "spectrum"), views, strict=True)
    )
    return image, spectrum


def test_a_pool_holds_the_query_and_its_closest_in_redshift_and_magnitude():
    random = np.random.default_rng(3)
    columns = {"redshift": random.uniform(0, 0.6, N), "mag_r": random.normal(18, 1, N)}
    pools = lookalike_pools(columns, ["redshift", "mag_r"])
    values = StandardScaler().fit_transform(np.stack(list(columns.values()), axis=1))
    expected = NearestNeighbors(n_neighbors=LOOKALIKES - 1).fit(values).kneighbors(return_distance=False)
    assert (pools[:, 0] == np.arange(N)).all()
    assert np.array_equal(np.sort(pools[:, 1:]), np.sort(expected))


def test_scores_equal_those_of_the_full_matrix():
    image, spectrum = sides(0.8)
    rows = score_pair([(LOOKALIKE_RETRIEVAL, "cosine")], image, spectrum, image, {})
    known = np.isfinite(image.columns["redshift"])
    unit = [
        side.vectors[known] / np.linalg.norm(side.vectors[known], axis=1, keepdims=True) for side in (spectrum, image)
    ]
    similarity = unit[0].astype(float) @ unit[1].astype(float).T
    pools = lookalike_pools({name: image.columns[name][known] for name in ("redshift", "mag_r")}, ["redshift", "mag_r"])
    rank = 1 + (np.take_along_axis(similarity, pools, axis=1) > np.diag(similarity)[:, None]).sum(axis=1)
    scores = {row.metric: row for row in rows if row.group == "all"}
    assert scores["recall@1"].value == pytest.approx((rank == 1).mean(), abs=1e-12)
    assert scores["mrr"].value == pytest.approx((1 / rank).mean(), abs=1e-12)
    assert scores["median_rank_fraction"].value == pytest.approx(np.median(rank) / LOOKALIKES, abs=1e-12)
    assert (scores["recall@1"].chance, scores["recall@1"].n) == (1 / LOOKALIKES, known.sum())
    assert (scores["recall@1"].reference, scores["recall@1"].query) == ("image", "spectrum")
    assert {row.group.partition(":")[0] for row in rows} == {"all", "redshift", "mag_r"}


def test_redshift_and_magnitude_alone_find_a_galaxy_among_all_but_not_among_its_lookalikes():
    from astroclip_bench.tasks.catalogue import RETRIEVAL

    image, spectrum = sides(0.1, from_labels=True)
    rows = score_pair([(RETRIEVAL, "cosine"), (LOOKALIKE_RETRIEVAL, "cosine")], image, spectrum, image, {})
    rank = {row.task: row for row in rows if (row.metric, row.group) == ("median_rank_fraction", "all")}
    assert rank["retrieval"].value < 0.05
    assert rank["retrieval-lookalikes"].value > 3 * rank["retrieval"].value


def test_a_collapsed_embedder_scores_at_chance():
    image, spectrum = sides(0.5)
    ones = [
        Side(side.modality, np.ones_like(side.vectors), side.object_ids, side.columns) for side in (image, spectrum)
    ]
    for row in score_pair([(LOOKALIKE_RETRIEVAL, "cosine")], ones[0], ones[1], ones[0], {}):
        assert row.value == pytest.approx(row.chance, rel=1e-9)
