"""From submissions to the board: verify what is new, keep what was verified, write tables and pages."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from astroclip_bench import __version__
from astroclip_bench.files import atomic_path
from astroclip_bench.processes import run_numbered
from leaderboard.board import make_tables
from leaderboard.pages import README, published_table, readme, write_parquet, write_site
from leaderboard.replicates import replicates_of
from leaderboard.rows import Row, basis_of, make_row, read_row, write_row
from leaderboard.submission import list_submissions
from leaderboard.verify import verify_submission

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset

ROWS, PARQUET, SITE = "rows", "board.parquet", "site"
Opener = Callable[[], Sequence["BenchDataset"]]


def collect_rows(
    submissions: Path,
    rows: Path,
    open_datasets: Opener,
    say: Callable[[str], None] = lambda text: None,
    workers: int = 1,
) -> list[Row]:
    """Return the row of every submission, verified now where there is none of its present state.

    Parameters
    ----------
    submissions, rows
        Folder of submissions, and of what is kept of them: each row as soon as it is made.
    open_datasets
        Gives the verifier's data sets; asked once, if something must be verified.
    say
        Takes a line for each verification.
    workers
        Processes to verify in.
    """
    folders = list_submissions(submissions)
    bases = [basis_of(folder, __version__) for folder in folders]
    found = [read_row(rows, folder.name) for folder in folders]
    missing = [
        number for number, (row, basis) in enumerate(zip(found, bases, strict=True)) if not row or row.basis != basis
    ]
    if missing:
        task = _Verification(tuple(folders), tuple(bases), open_datasets(), rows)
        for number, line, row in run_numbered(task, missing, workers):
            found[number] = row
            say(line)
    return [row for row in found if row is not None]


@dataclass(frozen=True)
class _Verification:
    """Called with the number of a submission: verifies it, writes its row, and returns it with a line that says so."""

    folders: tuple[Path, ...]
    bases: tuple[str, ...]
    datasets: Sequence[BenchDataset]
    rows: Path

    def __call__(self, number: int, tick: Callable[[int], None]) -> tuple[int, str, Row | None]:
        with tempfile.TemporaryDirectory() as scratch:
            outcomes = Path(scratch) / "outcomes.parquet"
            verdict = verify_submission(self.folders[number], self.datasets, outcomes=outcomes)
            reasons = "; ".join(f"{check.name}: {check.detail}" for check in verdict.failures)
            outcome = "verified" if verdict.passed else f"refused ({reasons})"
            line = f"{verdict.name}: {outcome}, {verdict.seconds:.1f} s"
            if verdict.submission is None:
                return number, line, None
            drawn = replicates_of(verdict.result, outcomes) if verdict.passed and verdict.result else {}
            row = make_row(verdict, self.bases[number], drawn)
        write_row(row, self.rows)
        return number, line, row


def build_board(rows: Sequence[Row], out: Path) -> None:
    """Write README.md, board.parquet and site/ to a folder."""
    tables, published = make_tables(rows), published_table()
    markdown = readme(rows, tables, published)
    with atomic_path(out / README) as temporary:
        temporary.write_text(markdown, encoding="utf-8")
    write_parquet(tables, out / PARQUET)
    write_site(rows, tables, out / SITE, published, markdown, __version__)
