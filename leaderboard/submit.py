"""From a result and a model card to a submission: found, checked, scored again as it will be verified, and written."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.errors import StorageError
from astroclip_bench.files import atomic_folder, sha256_file
from leaderboard import rescore
from leaderboard.errors import SubmissionError
from leaderboard.submission import (
    EMBEDDINGS_FOLDER,
    NAME,
    RESULT_FILE,
    SUBMISSION_FILE,
    SUBMISSION_VERSION,
    VectorFile,
)
from leaderboard.texts import dump_yaml, require_schema
from leaderboard.vectors import Layout, common_exponent, to_float16, write_vectors
from leaderboard.verify import Verdict, find_dataset, require_submittable, verify_submission

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.embedders import Embedder
    from astroclip_bench.results.record import Result

Vectors = NDArray[np.float32]
LARGEST_SHIFT = 0.02
"""How far rounding to float16 may move a primary score, beside its standard error."""


@dataclass(frozen=True)
class Prepared:
    """A submission that is written and verified, in a folder that goes when the block ends."""

    folder: Path
    verdict: Verdict
    shift: float
    """How far the largest primary score moved by rounding to float16."""

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.name

    def files(self) -> list[Path]:
        """Return the files of the folder, the texts first."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return sorted(found, key=lambda path: (path.suffix == ".parquet", path))


@contextmanager
def prepare(
    result: Result,
    card: Mapping[str, Any],
    dataset: BenchDataset,
    near: Path,
    *,
    name: str,
    embedder: Embedder | None = None,
) -> Iterator[Prepared]:
    """Give a submission in a temporary folder, verified as the board verifies it.

    Parameters
    ----------
    result
        As evaluate wrote it.
    card
        From `leaderboard.card.read_card`.
    near
        Folder to make the temporary one in: the submission is then moved, not copied.
    name
        Of the submission's folder.
    embedder
        The model, or its stored embeddings. Without it the vectors are looked for in the cache.

    Raises
    ------
    SubmissionError
        If the result may not be submitted, its vectors are not to be had, or do not give its scores.
    """
    if not NAME.fullmatch(name):
        raise SubmissionError(f"{name!r} is no name of a submission", "letters, digits, '.', '_' and '-'")
    require_submittable(result)
    find_dataset(result, [dataset])
    layouts = rescore.layouts(result, dataset)
    if embedder is not None and embedder.info.digest != result.embedder["digest"]:
        raise SubmissionError(
            f"--model has the digest {embedder.info.digest[:16]}...",
            f"{result.embedder['digest'][:16]}..., the result's",
        )
    arrays = {split: _arrays(result, dataset, split, layout, embedder) for split, layout in layouts.items()}
    modalities = layouts["test"].modalities
    exponent = common_exponent(list(arrays.values()), modalities)
    rounded = {split: to_float16(found, modalities, exponent) for split, found in arrays.items()}
    parts = {split: (dataset.splits[split].object_ids, found) for split, found in rounded.items()}
    scored = rescore.rescore(result, parts, dataset)
    shift = largest_shift(result, scored)
    # What only the run on the model can tell stays the result's own.
    final = replace(
        scored,
        checks=result.checks,
        options=result.options,
        environment=result.environment,
        timings_seconds=result.timings_seconds,
    )
    with _written(near, name, final, card, layouts, parts) as folder:
        yield Prepared(folder, verify_submission(folder, [dataset]), shift)


def _arrays(
    result: Result, dataset: BenchDataset, split: str, layout: Layout, embedder: Embedder | None
) -> dict[str, Vectors]:
    """Return the vectors and predictions of a split, from the model or from the cache."""
    from astroclip_bench.embedders import embed_split, predict_split
    from astroclip_bench.embedders.embed import read_cached

    info = rescore.described(result.embedder)
    view, dtype = dataset.splits[split], str(result.options.get("dtype", "float32"))
    found: dict[str, Vectors] = {}
    predicting = {modality: info.predicts(modality) for modality in dataset.modalities if layout.predictions}
    for name, modality in dataset.modalities.items():
        targets = predicting.get(name, ())
        if embedder is not None:
            if name in layout.modalities:
                found[name] = embed_split(embedder, view, modality, data_digest=dataset.digest, dtype=dtype).vectors
            if targets:
                values = predict_split(embedder, view, modality, data_digest=dataset.digest, dtype=dtype)
                found |= {f"predicted_{target}_from_{name}": values[target] for target in targets}
            continue
        code = str(result.options.get("embedder_code", ""))
        for predicted in [*([()] if name in layout.modalities else []), *([targets] if targets else [])]:
            cached = read_cached(
                info, code, view, modality, data_digest=dataset.digest, dtype=dtype, predicted=predicted
            )
            if cached is None:
                raise SubmissionError(
                    f"the cache has no embeddings of {info.name!r} for {split} {name}",
                    todo="name the model, or the file of its embeddings, with --model",
                )
            entries = {f"predicted_{target}_from_{name}": cached[:, place] for place, target in enumerate(predicted)}
            found |= entries or {name: cached}
    return found


def largest_shift(before: Result, after: Result) -> float:
    """Return how far the primary score that moved most did, and refuse more than rounding can explain.

    Raises
    ------
    SubmissionError
        If a primary score is another: the result is then not of these embeddings.
    """
    from leaderboard.eval_results import primary_scores

    largest = 0.0
    stated = {(score.cell, score.metric): score for score in primary_scores(before)}
    for score in primary_scores(after):
        old = stated.get((score.cell, score.metric))
        if old is None or (old.value is None) != (score.value is None):
            raise SubmissionError(
                f"the result lacks {score.task} {score.protocol} {score.reference} -> {score.query}, or states it empty",
                todo="evaluate again",
            )
        if old.value is None or score.value is None:
            continue
        moved = abs(old.value - score.value)
        if not moved <= LARGEST_SHIFT + (score.standard_error or 0.0):
            raise SubmissionError(
                f"the result states {score.metric} {old.value:.4f} of {score.task} {score.protocol} "
                f"{score.reference} -> {score.query}",
                f"{score.value:.4f}, what the embeddings give in float16",
                "evaluate again; if that changes nothing, float16 is too coarse for these vectors: take their mean off",
            )
        largest = max(largest, moved)
    return largest


@contextmanager
def _written(
    near: Path, name: str, result: Result, card: Mapping[str, Any], layouts: Mapping[str, Layout], parts: rescore.Parts
) -> Iterator[Path]:
    """Give the folder of the submission, inside a temporary one."""
    import tempfile

    from astroclip_bench.results.record import write_result

    with tempfile.TemporaryDirectory(prefix=".submit-", dir=near) as temporary:
        folder = Path(temporary) / name
        files = []
        for split, layout in layouts.items():
            path = folder / EMBEDDINGS_FOLDER / f"{split}.parquet"
            write_vectors(path, layout, *parts[split])
            files.append(VectorFile(split, path.stat().st_size, sha256_file(path)))
        write_result(result, folder / RESULT_FILE)
        content = {
            "submission_version": SUBMISSION_VERSION,
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "card": dict(card),
            "result": {"sha256": sha256_file(folder / RESULT_FILE)},
            "embeddings": [{key: value for key, value in asdict(file).items() if value is not None} for file in files],
        }
        require_schema(content, "submission-v1", SUBMISSION_FILE)
        (folder / SUBMISSION_FILE).write_text(dump_yaml(content), encoding="utf-8")
        yield folder


def keep(prepared: Prepared, out: Path) -> Path:
    """Move a prepared submission to the folder `out`, whole or not at all, and return its place there.

    Raises
    ------
    StorageError
        If there is one of that name.
    """
    import shutil

    place = out / prepared.name
    refuse_existing(place)
    with atomic_folder(place) as temporary:
        shutil.copytree(prepared.folder, temporary, dirs_exist_ok=True)
    return place


def refuse_existing(place: Path) -> None:
    """Fail if there is a submission of that name already.

    Raises
    ------
    StorageError
        Naming it.
    """
    if place.exists():
        raise StorageError(f"{place} exists", todo="remove it, or give this one another name with --name")
