"""DESI spectra and Legacy Survey images, in the formats their owners publish."""
