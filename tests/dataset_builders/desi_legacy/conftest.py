"""The survey in miniature, made once a test session."""

from __future__ import annotations

import pytest
from mini_survey import Truth, make_survey


@pytest.fixture(scope="session")
def mini_survey(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Return what is in the files of a survey of 2,300 spectra, and what must come of it."""
    return make_survey(tmp_path_factory.mktemp("survey"))
