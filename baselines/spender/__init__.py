"""Spender: an autoencoder of galaxy spectra whose decoder works at rest (Melchior et al. 2023; Liang et al. 2023)."""

from __future__ import annotations
