"""Score any embedder of galaxy images, spectra and photometry."""

from __future__ import annotations

__version__ = "0.1.0"
