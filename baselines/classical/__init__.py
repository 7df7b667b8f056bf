"""What was done before networks: averages, trees on magnitudes, principal components, templates."""

from __future__ import annotations
