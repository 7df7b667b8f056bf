"""`eval.yaml`: what the Hub shows as a benchmark, with its leaderboard.

Format: https://huggingface.co/docs/hub/eval-results (name, description, evaluation framework, tasks with an id, a
configuration and a split). The Hub takes only frameworks of its own list (`EVALUATION_FRAMEWORKS` of its package
`@huggingface/tasks`) and refuses a file that names another; this project is not on it yet. `data push` therefore
leaves the file at home unless it is told to take it along.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from astroclip_bench.datasets.manifest import Manifest
from astroclip_bench.files import atomic_path
from astroclip_bench.records import CONFIG_NAME, read_schema
from astroclip_bench.tasks.catalogue import BUILTIN_TASKS
from astroclip_bench.tasks.labels import needed_labels
from astroclip_bench.tasks.task import Task

EVAL_NAME = "eval.yaml"
FRAMEWORK = "astroclip-bench"
QUERY_SPLIT = "test"


def write_eval_yaml(folder: Path, schema: pa.Schema, manifest: Manifest) -> bool:
    """Write `eval.yaml` into a data set folder, atomically, and say whether there is a task to name in it."""
    values = eval_metadata(schema, manifest)
    if not values["tasks"]:
        return False
    # JSON is YAML; a key a line keeps it readable.
    text = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    with atomic_path(folder / EVAL_NAME) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return True


def eval_metadata(schema: pa.Schema, manifest: Manifest) -> dict[str, Any]:
    """Return what `eval.yaml` holds: the tasks that this data set can be used for, if it has test rows at all."""
    info, modalities = read_schema(schema)
    tasks = BUILTIN_TASKS if manifest.counts.get(QUERY_SPLIT) else ()
    return {
        "name": info.title,
        "description": info.description.strip(),
        "evaluation_framework": FRAMEWORK,
        "tasks": [
            {"id": task.name, "config": CONFIG_NAME, "split": QUERY_SPLIT}
            for task in tasks
            if _applies(task, schema.names, list(modalities))
        ],
    }


def _applies(task: Task, columns: list[str], modalities: list[str]) -> bool:
    """Say whether the data set has the columns that the task needs, and modalities enough to make a pair of."""
    return {*needed_labels(task), *task.matched} <= set(columns) and bool(task.pairs(modalities))
