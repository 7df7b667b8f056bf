"""Errors are one line, and survive the way out of a worker process."""

from __future__ import annotations

import pickle
import re
import tomllib
from pathlib import Path

from astroclip_bench.errors import DataError, MissingExtraError

ROOT = Path(__file__).resolve().parents[1]


def test_the_message_is_one_line_of_found_expected_todo():
    error = DataError("a\n  b", "c", "d")
    assert str(error) == "a b; expected c; d"
    assert error.exit_code == 2


def test_errors_survive_pickling():
    for error in (DataError("found", "expected", "todo"), MissingExtraError("galsim", "mock")):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)


def test_every_extra_that_a_message_names_can_be_installed():
    sources = [
        path for room in ("astroclip_bench", "dataset_builders", "baselines") for path in (ROOT / room).rglob("*.py")
    ]
    named = {
        name
        for path in sources
        for name in re.findall(r"MissingExtraError\([^()]*, \"(\w+)\"\)", path.read_text("utf-8"))
    }
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert len(named) > 3
    assert named <= set(extras)
