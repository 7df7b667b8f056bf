"""The bundled reference model: a small contrastive model of galaxy images and spectra, trained on the mock survey.

`MODEL_FILE` is its weights, registered under the name ``contrastive-mini``. Importing this module loads nothing heavy.
"""

from __future__ import annotations

from pathlib import Path

MODEL_FILE = Path(__file__).with_name("model.pt")
"""Path of the committed weights, read by ``astroclip_bench`` like any user's ``model.pt``."""
