"""The result record, version 1: one evaluation of one embedder on one data set.

Scores are one long table; provenance (data digest, digests of ids and labels, model digest, versions, environment,
seeds, timings) stands beside it. Tables, pages and comparisons are views of this record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclip_bench.errors import ResultError
from astroclip_bench.files import storage_errors, write_json

if TYPE_CHECKING:
    import pandas

RESULT_VERSION = 1
ALL = "all"
"""The group of every test object."""
LABELS = "labels:"
"""Begins the group of a score, on every test object, of a probe that was given so many train labels: ``labels:100``."""


@dataclass(frozen=True)
class Score:
    """One number: what it measures, its value, its uncertainty from the clustered bootstrap, and what chance gives.

    `value` is None where the metric is undefined (too few objects); `standard_error`, `low` and `high` (95 %) are
    None where no interval can be given. `chance` is the expected value for uninformative embeddings, where it has a
    closed form.
    """

    task: str
    task_version: int
    protocol: str
    protocol_version: int
    reference: str
    query: str
    target: str | None
    metric: str
    group: str
    value: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    n: int
    chance: float | None = None

    @property
    def cell(self) -> tuple[str, int, str, int, str, str]:
        """What must be recomputed as one: task, protocol and modality pair, with versions."""
        return (self.task, self.task_version, self.protocol, self.protocol_version, self.reference, self.query)

    @property
    def part(self) -> str:
        """The part of the cell that the row belongs to: a number of labels, or `ALL` with its groups."""
        return self.group if self.group.startswith(LABELS) else ALL


@dataclass
class Result:
    """One evaluation. `scores` holds the rows; everything else says what they are worth.

    Parameters
    ----------
    dataset
        name, version, digest, simulated, and per split the number of objects and the digests of ids and labels.
    embedder
        name, digest, dimension, modalities, preprocessing, and what else its `info` says.
    complete
        True if every applicable task was scored on the whole test split; `incomplete_because` says why not.
    floors
        Scores of the built-in floors on the same data: name -> rows of the same shape.
    not_applicable
        task -> reason, for tasks that this data set or embedder cannot be asked.
    ceilings
        Scores that a model would have that knew the truth behind the labels, where something is known of it: rows on
        all test objects (`astroclip_bench.tasks.ceiling`).
    outcomes
        Of the file of single objects' outcomes beside the result: version, sha256, number of rows; None without one.
    """

    dataset: dict[str, Any]
    embedder: dict[str, Any]
    scores: list[Score]
    complete: bool
    incomplete_because: list[str] = field(default_factory=list)
    floors: dict[str, list[Score]] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    timings_seconds: dict[str, float] = field(default_factory=dict)
    created: str = ""
    outcomes: dict[str, Any] | None = None
    ceilings: list[Score] = field(default_factory=list)
    result_version: int = RESULT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as in the JSON file."""
        return asdict(self)

    def to_frame(self) -> pandas.DataFrame:
        """Return the long table: one row a score, of the embedder and of the floors, with data set and model named."""
        import pandas as pd

        data = {"dataset": self.dataset["name"], "dataset_version": self.dataset["version"]}
        models = {self.embedder["name"]: self.scores, **self.floors}
        return pd.DataFrame([{**data, "model": name, **asdict(row)} for name, rows in models.items() for row in rows])

    def find(self, **equal: object) -> list[Score]:
        """Return the scores whose fields equal the given values: `result.find(task="redshift", metric="r2")`."""
        return [score for score in self.scores if all(getattr(score, key) == value for key, value in equal.items())]

    def ceiling_of(self, score: Score) -> Score | None:
        """Return the ceiling of a score on all test objects, if there is one: ``score.value / ceiling.value`` is its skill."""
        same = [row for row in self.ceilings if (row.task, row.metric) == (score.task, score.metric)]
        return same[0] if same and score.group in (ALL, score.part) else None


@cache
def result_schema() -> dict[str, Any]:
    """Return the JSON schema of the result record (draft 2020-12) that ships with the package."""
    text = files("astroclip_bench.results").joinpath("schemas/result-v1.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def validate(content: Mapping[str, Any], where: str) -> None:
    """Check a result's plain values against the schema.

    Raises
    ------
    ResultError
        Naming `where` and the first value at fault.
    """
    import jsonschema

    version = content.get("result_version")
    if version != RESULT_VERSION:
        raise ResultError(f"{where}: result_version is {version!r}", f"{RESULT_VERSION}", "evaluate again")
    validator = jsonschema.Draft202012Validator(result_schema())
    error = jsonschema.exceptions.best_match(validator.iter_errors(content))
    if error is not None:
        raise ResultError(f"{where}: {error.json_path}: {error.message[:200]}", todo="evaluate again")


def write_result(result: Result, path: Path | str) -> None:
    """Validate and write a result as JSON, atomically."""
    content = result.to_dict()
    validate(content, "this result")
    write_json(path, content)


def read_result(path: Path | str) -> Result:
    """Read and validate a result.

    Raises
    ------
    ResultError
        If the file is not JSON or not of the schema.
    StorageError
        If it cannot be read.
    """
    with storage_errors(path):
        raw = Path(path).read_bytes()
    try:
        content = json.loads(raw)
    except ValueError as error:
        raise ResultError(f"{path}: not JSON ({error})", "a result written by astroclip-bench evaluate") from error
    if not isinstance(content, dict):
        raise ResultError(f"{path}: holds a {type(content).__name__}", "a result written by astroclip-bench evaluate")
    validate(content, str(path))
    content["scores"] = [Score(**row) for row in content["scores"]]
    content["ceilings"] = [Score(**row) for row in content.get("ceilings", ())]
    content["floors"] = {name: [Score(**row) for row in rows] for name, rows in content["floors"].items()}
    return Result(**content)
