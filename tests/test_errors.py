"""Errors are one line, and survive the way out of a worker process."""

from __future__ import annotations

import pickle

from astroclip_bench.errors import DataError, MissingExtraError


def test_the_message_is_one_line_of_found_expected_todo():
    error = DataError("a\n  b", "c", "d")
    assert str(error) == "a b; expected c; d"
    assert error.exit_code == 2


def test_errors_survive_pickling():
    for error in (DataError("found", "expected", "todo"), MissingExtraError("galsim", "mock")):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
