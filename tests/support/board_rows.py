"""Rows of a board that no model has: for what the board does with rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leaderboard.board import supervised_name
from leaderboard.columns import COLUMNS, OVERALL_TRACKS, RANKED
from leaderboard.rows import Number, Row, key_of

RESAMPLES = 200
DATASET = {"name": "made-up", "version": "1", "digest": "0" * 32, "simulated": True, "test_rows": 500}


def make_row(
    name: str,
    quality: float,
    tracks: Sequence[str] = OVERALL_TRACKS,
    protocol: str = "knn16",
    *,
    seed: int = 0,
    spread: float = 0.02,
    dataset: dict = DATASET,
    flags: Sequence[str] = (),
    passed: bool = True,
    title: str | None = None,
) -> Row:
    """Return a row whose ranked scores are about `quality`; noise of resamples is shared by rows of one seed."""
    shared = np.random.default_rng(seed).normal(0, spread, RESAMPLES)
    scores, groups, drawn = {}, {}, {}
    for track in tracks:
        for place, column in enumerate(COLUMNS):
            if column.protocol and "->" not in track:
                continue
            value = quality - 0.02 * place
            key = key_of(track, column.protocol or protocol, column.key)
            drawn[key] = (value + shared).astype(np.float32)
            low, high = np.percentile(drawn[key], (2.5, 97.5))
            scores[key] = Number(value, float(low), float(high), 0.0, 500, value - 0.3, "16<=mag_r<17")
            if column.key == "redshift.r2":
                groups[key] = {"0<=snr<1": value - 0.1, "16<=mag_r<17": value - 0.3}
    checks = [{"name": "scores", "outcome": "passed" if passed else "failed", "detail": "" if passed else "off by 1"}]
    checks += [{"name": "training footprint", "outcome": "flagged", "detail": flag} for flag in flags]
    return Row(
        name,
        "basis",
        dict(dataset),
        {
            "name": title or name,
            "authors": ["A. Stronomer"],
            "paper": None,
            "code": "https://example.org/code",
            "licence": "MIT",
            "parameters": 1_000_000,
            "training_data": [{"name": "a survey", "footprint": "none"}],
            "labels": {"benchmark": False, "external": False, "which": []},
            "contact": "a@example.org",
        },
        {"dimension": 128, "parameters": 1_000_000, "modalities": ["image", "spectrum"], "preprocessing": "asinh"},
        {
            "name": name,
            "passed": passed,
            "checks": checks,
            "overlap": {"objects": 0, "of_objects": 500, "pixels": 0, "of_pixels": 9, "share": 0.0},
            "seconds": 1.0,
        },
        scores if passed else {},
        groups if passed else {},
        drawn if passed else {},
    )


def supervised(dataset: dict = DATASET) -> list[Row]:
    """Return the rows that skill is measured by: 0.9 from images, 1.0 from spectra in every required column."""
    found = []
    for modality, value in (("image", 0.9), ("spectrum", 1.0)):
        row = make_row(supervised_name(modality, dataset), value, [modality], "direct", dataset=dataset)
        for column in RANKED:
            key = key_of(modality, "direct", column.key)
            row.scores[key] = Number(value, value - 0.01, value + 0.01, 0.0, 500)
            row.replicates[key] = np.full(RESAMPLES, value, np.float32)
        found.append(row)
    return found
