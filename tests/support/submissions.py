"""Submissions for tests: a small survey, an honest model's embeddings of it, and how a cheat would seal a folder again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from leaderboard.texts import dump_yaml

DIMENSION = 8
CARD: dict[str, Any] = {
    "name": "toy",
    "authors": ["A. Astronomer", "B. Astronomer"],
    "paper": "https://example.org/paper",
    "code": None,
    "licence": "MIT",
    "parameters": 1000,
    "training_data": [{"name": "the train split", "footprint": {"benchmark": ["train"]}}],
    "labels": {"benchmark": False, "external": False, "which": []},
    "contact": "a@example.org",
}


def honest_arrays(dataset: Any, seed: int = 0) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return ids and vectors that hold the redshift with an error, and share noise between modalities."""
    random = np.random.default_rng(seed)
    splits = dataset.splits.values()
    ids = [name for view in splits for name in view.object_ids]
    redshift = np.concatenate([view.column("redshift") for view in splits])
    truth = np.where(np.isfinite(redshift), redshift, random.uniform(0, 1, len(ids)))
    latent = np.stack([truth + 0.15 * random.normal(size=len(ids)), *random.normal(size=(3, len(ids)))], axis=1)
    mixing = random.normal(size=(4, DIMENSION))
    return ids, {
        name: (latent @ mixing + 0.3 * random.normal(size=(len(ids), DIMENSION))).astype(np.float32)
        for name in dataset.modalities
    }


def seal(folder: Path) -> None:
    """Write the digests of a changed folder into its submission.yaml, as a careful cheat would."""
    where = folder / "submission.yaml"
    content = yaml.safe_load(where.read_text())
    content["result"]["sha256"] = hashlib.sha256((folder / "result.json").read_bytes()).hexdigest()
    for entry in content["embeddings"]:
        vectors = (folder / "embeddings" / f"{entry['split']}.parquet").read_bytes()
        entry["bytes"], entry["sha256"] = len(vectors), hashlib.sha256(vectors).hexdigest()
    where.write_text(dump_yaml(content))


def change_result(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit result.json and seal the folder."""
    where = folder / "result.json"
    content = json.loads(where.read_text())
    change(content)
    where.write_text(json.dumps(content))
    seal(folder)


def change_card(folder: Path, **changes: Any) -> None:
    """Edit what the card declares."""
    where = folder / "submission.yaml"
    content = yaml.safe_load(where.read_text())
    content["card"] |= changes
    where.write_text(dump_yaml(content))


def change_vectors(folder: Path, split: str, change: Callable[[pa.Table], pa.Table], **options: Any) -> None:
    """Edit a file of embeddings and seal the folder."""
    where = folder / "embeddings" / f"{split}.parquet"
    pq.write_table(change(pq.read_table(where)), where, **{"use_dictionary": False, **options})
    seal(folder)


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    """Return a table with one column's values replaced."""
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
