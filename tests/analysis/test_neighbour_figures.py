"""What searches over all pairs of modalities find, and which members of the parts of a map are shown."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from astroclip_bench.analysis import neighbours, parts_map
from astroclip_bench.records import image_modality, spectrum_modality


def vectors(count: int = 30) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    image = random.normal(size=(count, 6)).astype(np.float32)
    return {"image": image, "spectrum": image + 1e-3 * random.normal(size=image.shape).astype(np.float32)}


def test_a_query_is_left_out_within_its_modality_and_found_in_the_other():
    subject = SimpleNamespace(vectors=vectors())
    rows = [3, 17, 5]
    found = neighbours.searches(subject, rows, 4)
    assert list(found) == [(one, other) for one in ("image", "spectrum") for other in ("image", "spectrum")]
    for (one, other), members in found.items():
        assert members.shape == (3, 4)
        own = [row in best for row, best in zip(rows, members, strict=True)]
        assert all(own) if one != other else not any(own)
    assert found["image", "spectrum"][:, 0].tolist() == rows
    unit = subject.vectors["image"] / np.linalg.norm(subject.vectors["image"], axis=1, keepdims=True)
    cosine = unit[3] @ unit.T
    assert found["image", "image"][0].tolist() == np.argsort(-cosine)[1:5].tolist()
    assert set(neighbours.shown_rows(found, rows)) >= set(rows)


def test_the_largest_parts_are_shown_and_nothing_of_none():
    labels = np.repeat([-1, 0, 1, 2, 3, 4], [50, 20, 10, 5, 3, 2])
    for modality, count in ((image_modality(), parts_map.IMAGES), (spectrum_modality(), parts_map.SPECTRA)):
        members = parts_map.members_of(labels, modality)
        assert list(members) == [0, 1, 2, 3]
        for part, rows in members.items():
            assert set(labels[rows]) == {part}
            assert len(set(rows)) == len(rows) == min(count, (labels == part).sum())
    assert parts_map.members_of(np.full(5, -1), image_modality()) == {}
