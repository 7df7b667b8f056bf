"""The committed entries: each is verified anew, and the committed board is what they give."""

from __future__ import annotations

from pathlib import Path

import pytest

import leaderboard
from astroclip_bench import __version__
from astroclip_bench.datasets import open_dataset
from astroclip_bench.environment import usable_cores
from leaderboard.board import make_tables
from leaderboard.columns import SUPERVISED
from leaderboard.pages import published_table, readme
from leaderboard.rows import basis_of, numbers_of, read_row
from leaderboard.submission import list_submissions
from leaderboard.verify import open_for_many, verify_submission

ROOM = Path(leaderboard.__file__).parent
ENTRIES = list_submissions(ROOM / "submissions")


@pytest.fixture(scope="module")
def mock():
    return open_for_many(open_dataset("mock-mini", workers=usable_cores()))


@pytest.mark.parametrize("folder", ENTRIES, ids=lambda folder: folder.name)
def test_an_entry_is_verified_and_its_row_is_what_came_of_it(folder, mock):
    verdict = verify_submission(folder, [mock])
    assert verdict.passed, verdict.failures
    row = read_row(ROOM / "rows", folder.name)
    assert row is not None
    assert row.basis == basis_of(folder, __version__), "run: astroclip-bench leaderboard build"
    numbers, _ = numbers_of(verdict.result.scores)
    assert row.scores.keys() == numbers.keys()
    for key, number in numbers.items():
        assert row.scores[key].value == pytest.approx(number.value, abs=1e-4)


def test_the_board_is_that_of_its_rows():
    rows = [read_row(ROOM / "rows", folder.name) for folder in ENTRIES]
    assert (ROOM / "README.md").read_text() == readme(rows, make_tables(rows), published_table())


def test_every_baseline_that_skill_is_measured_by_is_there():
    names = {folder.name for folder in ENTRIES}
    assert {f"{name}--mock-mini" for name in SUPERVISED.values()} <= names
    assert {
        "mean--mock-mini",
        "magnitudes--mock-mini",
        "random-projection--mock-mini",
        "astroclip-mini--mock-mini",
    } <= names
