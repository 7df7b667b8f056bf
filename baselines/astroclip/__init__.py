"""AstroCLIP (Parker et al. 2024, MNRAS 531, 4990): its models, its training, and the authors' published weights.

`BUNDLED` is a small model trained here, registered under the name ``astroclip-mini``. Importing this package loads
nothing heavy.
"""

from __future__ import annotations

from pathlib import Path

BUNDLED = Path(__file__).parent / "mini" / "model.pt"
"""Weights that the recipe `mini` gave, read by the harness like any user's ``model.pt``."""
