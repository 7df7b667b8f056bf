"""SDSS spectra beside Legacy Survey images, from a list of pairs: a few real galaxies to try a model on."""
