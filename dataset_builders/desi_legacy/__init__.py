"""Cross-matched DESI spectra and Legacy Survey images, with PROVABGS and Galaxy Zoo labels."""
