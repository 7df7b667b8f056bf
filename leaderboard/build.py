"""From submissions to the board: verify what is new, keep what was verified, write tables and pages."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astroclip_bench import __version__
from astroclip_bench.files import atomic_path
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
    submissions: Path, rows: Path, open_datasets: Opener, say: Callable[[str], None] = lambda text: None
) -> list[Row]:
    """Return the row of every submission, verified now where there is none of its present state.

    Parameters
    ----------
    submissions, rows
        Folder of submissions, and of what is kept of them.
    open_datasets
        Gives the verifier's data sets; asked once, if something must be verified.
    say
        Takes a line for each verification.
    """
    found: list[Row] = []
    datasets: Sequence[BenchDataset] | None = None
    for folder in list_submissions(submissions):
        basis = basis_of(folder, __version__)
        row = read_row(rows, folder.name)
        if row is None or row.basis != basis:
            datasets = open_datasets() if datasets is None else datasets
            row = _verified(folder, basis, datasets, say)
            if row is None:
                continue
            write_row(row, rows)
        found.append(row)
    return found


def _verified(folder: Path, basis: str, datasets: Sequence[BenchDataset], say: Callable[[str], None]) -> Row | None:
    with tempfile.TemporaryDirectory() as scratch:
        outcomes = Path(scratch) / "outcomes.parquet"
        verdict = verify_submission(folder, datasets, outcomes=outcomes)
        reasons = "; ".join(f"{check.name}: {check.detail}" for check in verdict.failures)
        say(f"{verdict.name}: {'verified' if verdict.passed else f'refused ({reasons})'}, {verdict.seconds:.1f} s")
        if verdict.submission is None:
            return None
        drawn = replicates_of(verdict.result, outcomes) if verdict.passed and verdict.result else {}
        return make_row(verdict, basis, drawn)


def build_board(rows: Sequence[Row], out: Path) -> None:
    """Write README.md, board.parquet and site/ to a folder."""
    tables, published = make_tables(rows), published_table()
    with atomic_path(out / README) as temporary:
        temporary.write_text(readme(rows, tables, published), encoding="utf-8")
    write_parquet(tables, out / PARQUET)
    write_site(rows, tables, out / SITE, published, __version__)
