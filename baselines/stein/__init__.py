"""Self-supervised images of galaxies: MoCo v2 as Stein et al. 2021, and photometric redshifts from few labels."""

from __future__ import annotations
