"""SDSS spectroscopic galaxies with photometry alone: real data for photometric redshifts."""
