"""Image, spectrum and text of a galaxy in one space, aligned pairwise."""

from __future__ import annotations
