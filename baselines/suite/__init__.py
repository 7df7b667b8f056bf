"""All reference rows of a data set by one command: ``astroclip-bench baselines``."""

from __future__ import annotations
