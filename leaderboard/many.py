"""Many submissions: one after the other or in several processes, each kept as it comes, none verified twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclip_bench import __version__
from astroclip_bench.files import digest_strings, storage_errors, write_json
from astroclip_bench.processes import run_numbered
from leaderboard.errors import SubmissionError
from leaderboard.rows import basis_of
from leaderboard.submission import EMBEDDINGS_FOLDER
from leaderboard.verify import verify_submission

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset


@dataclass(frozen=True)
class _Verification:
    folders: tuple[Path, ...]
    datasets: Sequence[BenchDataset]

    def __call__(self, number: int, tick: Callable[[int], None]) -> tuple[int, dict[str, Any]]:
        basis = _state_of(self.folders[number], self.datasets)
        verdict = verify_submission(self.folders[number], self.datasets)
        data = verdict.result.dataset if verdict.result else None
        described = None if data is None else {key: data[key] for key in ("name", "version", "simulated")}
        # Not its scores: a hundred submissions have half a million.
        return number, {**verdict.to_dict(), "dataset": described, "basis": basis}


def verify_all(
    folders: Sequence[Path],
    datasets: Sequence[BenchDataset],
    *,
    out: Path | None = None,
    resume: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Return the verdict on each submission, as `Verdict.to_dict`, with `dataset` and `basis`, in the order of folders.

    Parameters
    ----------
    datasets
        The verifier's own, opened for many.
    out
        JSON file of the verdicts, written anew after each of them.
    resume
        Keep the verdicts in `out` on submissions of which no file has changed since, nor the data, nor what scores them.
    workers
        Processes; each holds the labels of the data and one submission in memory.
    progress
        Called with (submissions done, of how many).
    say
        Takes a line on how many verdicts are kept.

    Raises
    ------
    SubmissionError
        If `out` is there, is to be gone on from, and holds something else than verdicts.
    """
    kept = _kept(out) if resume and out is not None else {}
    found = [kept.get(_state_of(folder, datasets)) if kept else None for folder in folders]
    missing = [number for number, verdict in enumerate(found) if verdict is None]
    if len(missing) < len(folders):
        say(f"{len(folders) - len(missing)} of {len(folders)} verdicts are kept from {out}")
    for number, verdict in run_numbered(_Verification(tuple(folders), datasets), missing, workers):
        found[number] = verdict
        done = [verdict for verdict in found if verdict is not None]
        if out is not None:
            write_json(out, done)
        progress(len(done), len(folders))
    return [verdict for verdict in found if verdict is not None]


def _state_of(folder: Path, datasets: Sequence[BenchDataset]) -> str:
    """Return the digest of what a verdict follows from; of files their size and times: nobody knows yet what they are."""
    found = [folder]
    with storage_errors(folder):
        for place in (folder, folder / EMBEDDINGS_FOLDER):
            if place.is_dir() and not place.is_symlink():
                found += sorted(place.iterdir())
        states = [(path, path.lstat()) for path in found]
    files = [
        f"{path.name} {state.st_mode} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}" for path, state in states
    ]
    data = sorted(f"{dataset.info.name} {dataset.digest}" for dataset in datasets)
    return digest_strings([basis_of(folder, __version__), *data, *files])


def _kept(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    with storage_errors(path):
        content = path.read_text(encoding="utf-8")
    try:
        return {verdict["basis"]: verdict for verdict in json.loads(content)}
    except (ValueError, TypeError, KeyError) as error:
        raise SubmissionError(
            f"{path}: no verdicts in it", "what `leaderboard verify --out` writes", "name another file, or verify anew"
        ) from error
