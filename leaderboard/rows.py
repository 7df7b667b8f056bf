"""What the board keeps of a verified submission: a small file of numbers, and the same numbers on every resample of the sky.

``NAME.json`` and ``NAME.parquet`` are made from a verdict, and made again when the submission or what scores it has changed. The board
is built from them alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import UserError
from astroclip_bench.files import atomic_path, digest_strings, write_json
from astroclip_bench.results.record import ALL, LABELS
from leaderboard.columns import COLUMNS, GROUPED, PROTOCOLS, track_of

if TYPE_CHECKING:
    from astroclip_bench.results.record import Score
    from leaderboard.verify import Verdict

ROW_VERSION = 2


@dataclass(frozen=True)
class Number:
    """A score with its 95 % interval, what chance gives, the number of objects, and the worst group."""

    value: float
    low: float | None
    high: float | None
    chance: float | None
    n: int
    worst: float | None = None
    worst_group: str | None = None


@dataclass(frozen=True)
class Row:
    """One submission on the board.

    Parameters
    ----------
    name
        Of its folder.
    basis
        Digest of what the row was made from.
    dataset
        name, version, digest, simulated, test_rows.
    card, embedder
        What its authors declare; dimension, parameters and modalities of the model.
    verdict
        As `Verdict.to_dict`.
    scores
        "track|protocol|column" -> number; none, if it did not pass.
    groups
        The same key -> group -> score.
    """

    name: str
    basis: str
    dataset: dict[str, Any]
    card: dict[str, Any]
    embedder: dict[str, Any]
    verdict: dict[str, Any]
    scores: dict[str, Number] = field(default_factory=dict)
    groups: dict[str, dict[str, float]] = field(default_factory=dict)
    replicates: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False, compare=False)
    """The key of a score -> the score on each resample of the sky."""


def key_of(track: str, protocol: str, column: str) -> str:
    """Return the key of a number."""
    return f"{track}|{protocol}|{column}"


def numbers_of(scores: Sequence[Score]) -> tuple[dict[str, Number], dict[str, dict[str, float]]]:
    """Return the numbers that the board shows of a result's rows, and the groups of `GROUPED`."""
    wanted = {
        (column.task, column.metric, protocol): column
        for column in COLUMNS
        for protocol in ([column.protocol] if column.protocol else PROTOCOLS)
    }
    numbers: dict[str, Number] = {}
    groups: dict[str, dict[str, float]] = {}
    for score in scores:
        column = wanted.get((score.task, score.metric, score.protocol))
        if column is None or score.value is None or score.group.startswith(LABELS):
            continue
        key = key_of(track_of(score.reference, score.query), score.protocol, column.key)
        if score.group == ALL:
            numbers[key] = Number(score.value, score.low, score.high, score.chance, score.n)
        elif "=" in score.group or "<" in score.group:
            groups.setdefault(key, {})[score.group] = score.value
    better = {column.key: max if column.better == "lower" else min for column in COLUMNS}
    for key, of_groups in groups.items():
        worst = better[key.rpartition("|")[2]](of_groups, key=lambda name: of_groups[name])
        numbers[key] = Number(**{**asdict(numbers[key]), "worst": of_groups[worst], "worst_group": worst})
    return numbers, {key: found for key, found in groups.items() if key.rpartition("|")[2] in GROUPED}


def make_row(verdict: Verdict, basis: str, replicates: Mapping[str, NDArray[np.floating]]) -> Row:
    """Return the row of a verdict whose submission could be read.

    Parameters
    ----------
    replicates
        The key of a score -> the score on each resample.
    """
    assert verdict.submission is not None
    result = verdict.result if verdict.passed else None
    stated = verdict.submission.result
    described = stated.dataset
    numbers, groups = numbers_of(result.scores if result else [])
    return Row(
        name=verdict.name,
        basis=basis,
        dataset={
            **{key: described[key] for key in ("name", "version", "digest", "simulated")},
            "test_rows": described["splits"]["test"]["rows"],
        },
        card=verdict.submission.card,
        embedder={key: stated.embedder.get(key) for key in ("dimension", "parameters", "modalities", "preprocessing")},
        verdict=verdict.to_dict(),
        scores=numbers,
        groups=groups,
        replicates={key: values.astype(np.float32) for key, values in replicates.items() if key in numbers},
    )


def write_row(row: Row, folder: Path) -> None:
    """Write a row to ``folder/NAME.json`` and its replicates to ``folder/NAME.parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = {key: value for key, value in asdict(row).items() if key != "replicates"}
    with atomic_path(folder / f"{row.name}.parquet") as temporary:
        table = pa.table(dict(row.replicates)).replace_schema_metadata({"basis": row.basis})
        pq.write_table(table, temporary, compression="zstd", use_dictionary=False, use_byte_stream_split=True)
    write_json(folder / f"{row.name}.json", {"row_version": ROW_VERSION, **content})


def read_row(folder: Path, name: str) -> Row | None:
    """Return the row of a submission; None if there is none of this version, or its two files do not belong together."""
    import pyarrow.parquet as pq

    path, table = folder / f"{name}.json", folder / f"{name}.parquet"
    if not (path.exists() and table.exists()):
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.pop("row_version", None) != ROW_VERSION:
        return None
    with pq.ParquetFile(table, pre_buffer=False) as file:  # of a file so small, half the time of read_table
        drawn = file.read(use_threads=False)
    if (drawn.schema.metadata or {}).get(b"basis") != content["basis"].encode():
        return None
    content["scores"] = {key: Number(**values) for key, values in content["scores"].items()}
    replicates = {key: drawn[key].to_numpy() for key in drawn.column_names}
    return Row(**content, replicates=replicates)


def basis_of(folder: Path, version: str) -> str:
    """Return the digest of what a row is made from: the submission as it states itself, and what scores it.

    Prompts are embedded by the model alone, so that no row of a board is scored by them.
    """
    from astroclip_bench.tasks.protocols import PROTOCOLS as PROTOCOLS_SCORED
    from astroclip_bench.tasks.registry import all_tasks
    from leaderboard.submission import SUBMISSION_FILE
    from leaderboard.texts import MAX_YAML_BYTES, read_bytes

    versions = {name: task.version for name, task in all_tasks().items() if not task.prompts}
    versions |= {name: each.version for name, each in PROTOCOLS_SCORED.items() if each.uses != "prompts"}
    try:
        stated = sha256(read_bytes(folder / SUBMISSION_FILE, MAX_YAML_BYTES)).hexdigest()
    except UserError:  # verification says what is wrong with it
        stated = ""
    return digest_strings([stated, json.dumps([ROW_VERSION, version, sorted(versions.items())])])
