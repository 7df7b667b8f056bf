"""The verdict on a submission: its form, its data, its embeddings, every score computed again, and the controls.

No code of the submission runs, and nothing that it names is opened: the data sets are the verifier's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroclip_bench.datasets.views import SplitView
from astroclip_bench.errors import UserError
from leaderboard import rescore
from leaderboard.checks import Check
from leaderboard.controls import CONTROLS, OWN_PREDICTIONS, Evidence, Part, own_predictions, run_controls
from leaderboard.errors import SubmissionError
from leaderboard.footprint import Overlap, Sky, overlap
from leaderboard.submission import Submission, fetch, read_submission
from leaderboard.vectors import read_vectors

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.results.record import Result


class _RememberingView(SplitView):
    """A split whose columns are read once, however many submissions are scored on it."""

    @cached_property
    def _columns(self) -> dict[str, Any]:
        return {}

    def column(self, name: str) -> Any:
        """Return one column, as `SplitView.column` does, not to be written to."""
        if name not in self._columns:
            self._columns[name] = super().column(name)
            self._columns[name].flags.writeable = False
        return self._columns[name]


def open_for_many(dataset: BenchDataset) -> BenchDataset:
    """Return the same data set, of which labels and pixels are kept in memory from one submission to the next."""
    views = {
        name: _RememberingView(view.name, view.folder, view.files, view.schema, view.selected)
        for name, view in dataset.splits.items()
    }
    return replace(dataset, splits=views)


@dataclass
class Verdict:
    """What came of a verification.

    Parameters
    ----------
    name
        Of the submission's folder.
    checks
        In the order in which they were made; after one that failed, those that need it are "not made".
    submission
        What was read; None if that failed.
    result
        The result computed again, which the board shows; None if that failed.
    overlap
        Of the declared training footprint with the test sky.
    """

    name: str
    checks: list[Check] = field(default_factory=list)
    submission: Submission | None = None
    result: Result | None = None
    overlap: Overlap | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every score is what its embeddings give, and no control speaks against them."""
        return bool(self.checks) and all(check.outcome in ("passed", "flagged") for check in self.checks)

    @property
    def flags(self) -> list[Check]:
        """What the board says beside the row."""
        return [check for check in self.checks if check.outcome == "flagged"]

    @property
    def failures(self) -> list[Check]:
        """Why it does not pass."""
        return [check for check in self.checks if check.outcome == "failed"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: the verdict without the scores."""
        return {
            "name": self.name,
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
            "overlap": None if self.overlap is None else {**asdict(self.overlap), "share": self.overlap.share},
            "seconds": round(self.seconds, 2),
        }


class _RefusedError(Exception):
    """Ends a verification: what follows needs what failed."""


def verify_submission(folder: Path | str, datasets: Sequence[BenchDataset], *, outcomes: Path | None = None) -> Verdict:
    """Verify one submission.

    Parameters
    ----------
    folder
        Of the submission.
    datasets
        The verifier's own copies of data sets, one of which it must be scored on.
    outcomes
        File to write the outcomes of single objects to, which paired comparisons need.
    """
    start = time.perf_counter()
    verdict = Verdict(Path(folder).resolve().name)
    try:
        _verify(verdict, Path(folder), datasets, outcomes)
    except _RefusedError:
        pass
    except Exception as error:  # one submission, whatever it holds, does not end the verification of the others
        text = " ".join(str(error).split())[:200]
        name = _not_made(verdict)[0]
        verdict.checks.append(Check(name, "failed", f"it cannot be verified: {type(error).__name__}: {text}"))
    verdict.checks += [Check(name, "not made") for name in _not_made(verdict)]
    verdict.seconds = time.perf_counter() - start
    return verdict


NAMES = (
    "form",
    "state",
    "data",
    "embeddings",
    "scores",
    *CONTROLS,
    OWN_PREDICTIONS,
    "training footprint",
    "declarations",
)
"""The checks, in order."""


def _not_made(verdict: Verdict) -> list[str]:
    made = {check.name for check in verdict.checks}
    return [name for name in NAMES if name not in made]


def _verify(verdict: Verdict, folder: Path, datasets: Sequence[BenchDataset], outcomes: Path | None) -> None:
    with _check(verdict, "form"):
        submission = verdict.submission = read_submission(folder)
    stated = submission.result
    with _check(verdict, "state"):
        require_submittable(stated)
    with _check(verdict, "data"):
        dataset = find_dataset(stated, datasets)
    with _check(verdict, "embeddings"):
        parts = read_parts(submission, dataset)
        rescore.stored_embedder(stated.embedder, parts)
    with _check(verdict, "scores"):
        found = rescore.rescore(stated, parts, dataset, outcomes)
        compare(stated, found)
    verdict.result = found
    columns = {split: _columns(dataset, split, parts) for split in parts}
    for check in _controls(submission, dataset, parts, columns):
        verdict.checks.append(check)
    verdict.checks += own_predictions(_predictions(submission, parts), columns["test"][0])
    with _check(verdict, "training footprint") as flag:
        verdict.overlap = overlap(submission.card["training_data"], sky_of(dataset))
        if verdict.overlap.objects:
            flag(f"{verdict.overlap.share:.0%} of the test objects lie where the model was trained")
    with _check(verdict, "declarations") as flag:
        for text in declared_otherwise(submission):
            flag(text)


@contextmanager
def _check(verdict: Verdict, name: str) -> Iterator[Callable[[str], None]]:
    """Note what comes of a check: failed with the words of the error, or flagged with what it is told."""
    flags: list[str] = []
    try:
        yield flags.append
    except UserError as error:
        verdict.checks.append(Check(name, "failed", str(error)))
        raise _RefusedError from error
    verdict.checks.append(Check(name, "flagged" if flags else "passed", "; ".join(flags)))


def require_submittable(result: Result) -> None:
    """Refuse a result that no submission may hold: incomplete, limited, or of tasks and protocols that have changed.

    Raises
    ------
    SubmissionError
        With the reason.
    """
    from astroclip_bench.tasks.protocols import PROTOCOLS
    from astroclip_bench.tasks.registry import all_tasks

    again = "evaluate again, and submit that result"
    if result.options.get("limit") is not None:
        raise SubmissionError(f"the result is of --limit {result.options['limit']}", "of the whole data set", again)
    if not result.complete:
        raise SubmissionError(f"the result is incomplete: {'; '.join(result.incomplete_because)}", None, again)
    if not result.scores:
        raise SubmissionError("the result holds no scores", None, again)
    failed = [str(check.get("name")) for check in result.checks if not check.get("passed")]
    if failed:
        raise SubmissionError(f"the model failed the check {failed[0]!r}", "astroclip-bench check-model to pass", again)
    for kind, known, names in (
        ("task", all_tasks(), {(score.task, score.task_version) for score in result.scores}),
        ("protocol", PROTOCOLS, {(score.protocol, score.protocol_version) for score in result.scores}),
    ):
        for name, version in sorted(names):
            current = getattr(known.get(name), "version", None)
            if version != current:
                raise SubmissionError(
                    f"scores of version {version} of the {kind} {name!r}",
                    f"version {current}" if current else f"a {kind} that is known here",
                    again,
                )


def find_dataset(result: Result, datasets: Sequence[BenchDataset]) -> BenchDataset:
    """Return the verifier's copy of the data that a result is of.

    Raises
    ------
    SubmissionError
        If there is none, or its digests of data, ids or labels are others than those the result names.
    """
    named = result.dataset
    for dataset in datasets:
        if (dataset.info.name, dataset.info.version) == (named["name"], named["version"]):
            break
    else:
        here = ", ".join(f"{dataset.info.name} {dataset.info.version}" for dataset in datasets)
        raise SubmissionError(
            f"a result on {named['name'][:80]!r} {named['version'][:40]}", here or "no data set", "name it with --data"
        )
    if named["digest"] != dataset.digest:
        raise SubmissionError(
            f"data of digest {named['digest'][:64]}", dataset.digest, "evaluate on the published data"
        )
    if named["simulated"] != dataset.info.simulated:
        raise SubmissionError(f"simulated: {named['simulated']}", str(dataset.info.simulated))
    return dataset


def read_parts(submission: Submission, dataset: BenchDataset) -> rescore.Parts:
    """Return the embeddings that the scores are of: split -> ids and arrays.

    Raises
    ------
    SubmissionError
        If a file is missing, another one, or does not hold what the split needs.
    """
    layouts = rescore.layouts(submission.result, dataset)
    extra = sorted(set(submission.files) - set(layouts))
    if extra:
        raise SubmissionError(f"embeddings of the split {extra[0]}", "those that a score needs", "leave them out")
    parts = {}
    for split, layout in layouts.items():
        ids = dataset.splits[split].object_ids
        parts[split] = read_vectors(fetch(submission, split, layout.bytes_of(len(ids))), layout, ids)
    return parts


def compare(stated: Result, found: Result) -> None:
    """Compare a stated result with the recomputed one.

    Raises
    ------
    SubmissionError
        With everything that differs, in one line.
    """
    problems = []
    for name, split in found.dataset["splits"].items():
        theirs = stated.dataset["splits"].get(name)
        if theirs != split:
            what = next((key for key in split if theirs and theirs.get(key) != split[key]), "all of it")
            problems.append(f"the {name} split is described otherwise than it is ({what})")
    if stated.dataset["splits"].keys() - found.dataset["splits"].keys():
        problems.append("the result names splits that the data set has not")
    if stated.floors:
        problems.append("floors are scored by the board, and the result brings its own")
    if stated.not_applicable != found.not_applicable:
        differing = sorted({*stated.not_applicable} ^ {*found.not_applicable}) or sorted(found.not_applicable)
        problems.append(f"not applicable is stated otherwise of {differing[0]}")
    problems += rescore.differences(stated.scores, found.scores)
    problems += [f"ceilings: {text}" for text in rescore.differences(stated.ceilings, found.ceilings)]
    if problems:
        raise SubmissionError("; ".join(problems)[:1_000], f"what the embeddings give, to {rescore.TOLERANCE}")


def sky_of(dataset: BenchDataset) -> Sky:
    """Return the ids and pixels of a data set's objects."""
    return Sky(
        {name: view.object_ids for name, view in dataset.splits.items()},
        {name: view.column("healpix") for name, view in dataset.splits.items()},
    )


def declared_otherwise(submission: Submission) -> list[str]:
    """Return what the card and the result say differently."""
    card, info = submission.card, submission.result.embedder
    found = []
    if info.get("parameters") is not None and card["parameters"] not in (None, info["parameters"]):
        found.append(f"{card['parameters']:,} parameters are declared, and the model has {info['parameters']:,}")
    return found


def _columns(dataset: BenchDataset, split: str, parts: rescore.Parts) -> tuple[Mapping[str, Any], Any]:
    """Return the numeric labels and the pixels of a split, in the order of the submission's rows."""
    from astroclip_bench.tasks.registry import all_tasks

    view = dataset.splits[split]
    place = {name: row for row, name in enumerate(view.object_ids)}
    order = np.array([place[name] for name in parts[split][0]], np.int64)
    targets = [name for name in dict.fromkeys(task.target for task in all_tasks().values()) if name in dataset.labels]
    found = {name: view.column(str(name)) for name in targets}
    return {str(name): values[order] for name, values in found.items() if values.dtype.kind == "f"}, view.column(
        "healpix"
    )[order]


def _predictions(submission: Submission, parts: rescore.Parts) -> dict[str, Any]:
    targets = submission.result.embedder.get("targets", {})
    named = [(label, modality) for modality, labels in targets.items() for label in labels]
    found = parts["test"][1]
    columns = {f"{label} from {modality}": f"predicted_{label}_from_{modality}" for label, modality in named}
    return {name: found[column].astype(np.float64) for name, column in columns.items() if column in found}


def _controls(
    submission: Submission, dataset: BenchDataset, parts: rescore.Parts, columns: Mapping[str, tuple[Any, Any]]
) -> Iterable[Check]:
    if "train" not in parts:
        return [Check(name, "passed", "no embeddings to look at") for name in CONTROLS]
    modalities = rescore.layouts(submission.result, dataset)["train"].modalities
    train, test = (
        Part({name: parts[split][1][name].astype(np.float32) for name in modalities}, *columns[split])
        for split in ("train", "test")
    )
    labels = submission.card["labels"]
    return run_controls(Evidence(train, test, bool(labels["benchmark"] or labels["external"])))
