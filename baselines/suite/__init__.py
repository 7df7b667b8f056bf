"""All reference rows of a data set by one command: ``astroclip-bench baselines``."""

from __future__ import annotations

from pathlib import Path

MOCK_MINI_ROWS = Path(__file__).parent / "rows" / "mock-mini" / "baselines.json"
"""The committed reference rows of the data set that the command generates by itself."""
