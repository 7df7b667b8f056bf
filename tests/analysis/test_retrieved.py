"""Pictures of searches: which ones are shown, and that the true pair is."""

from __future__ import annotations

import numpy as np

from astroclip_bench.analysis.retrieved import find_examples


def pairs(count: int = 40, noise: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    query = random.normal(size=(count, 4)).astype(np.float32)
    return query, query + noise * random.normal(size=query.shape).astype(np.float32)


def test_examples_are_the_nearest_and_go_from_well_to_badly_found():
    query, reference = pairs()
    found = find_examples(query, reference, count=4, found=3)
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (query, reference)]
    similarity = unit[0] @ unit[1].T
    ranks = (similarity > np.diag(similarity)[:, None]).sum(axis=1) + 1
    for search in found:
        assert list(search.found) == list(np.argsort(-similarity[search.query])[:3])
        assert search.rank == ranks[search.query]
    shown = [search.rank for search in found]
    assert shown == sorted(shown)
    assert shown[0] <= np.percentile(ranks, 25)
    assert shown[-1] >= np.percentile(ranks, 75)


def test_the_true_pair_is_shown_once_whether_it_was_found_or_not():
    for search in find_examples(*pairs(noise=2.0), count=8, found=3):
        assert search.shown.count(search.query) == 1
        assert len(search.shown) == (3 if search.rank <= 3 else 4)


def test_few_objects_give_few_examples():
    assert len(find_examples(*pairs(2))) == 2
