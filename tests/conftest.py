"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Return the folder of small real survey files that stands beside a developer's checkout."""
    folder = ROOT.parent / "shared" / "realdata"
    if not folder.is_dir():
        pytest.skip(f"the real survey files are not at {folder}")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep every test away from the user's cache, unless a run names one to share generated surveys."""
    patch = pytest.MonkeyPatch()
    import os

    if "ASTROCLIP_BENCH_TEST_CACHE" in os.environ:
        patch.setenv("ASTROCLIP_BENCH_CACHE", os.environ["ASTROCLIP_BENCH_TEST_CACHE"])
    else:
        patch.setenv("ASTROCLIP_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("HF_HUB_OFFLINE", "1")
