"""Writes some of the spectra as the Multimodal Universe does, with the redshift warning turned round."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from mini_survey.content import N_GRID, combined_spectrum
from mini_survey.geometry import coarse_pixel
from mini_survey.objects import Spectrum


def write_spectra(spectra: Iterable[Spectrum], folder: Path, *, inverted: bool) -> None:
    """Write spectra by HEALPix pixel of nside 16.

    Parameters
    ----------
    spectra
        The rows.
    folder
        Where the folders of the pixels go.
    inverted
        Whether ZWARN is a flag that is true for a good redshift, or as in DESI's catalogue a number that is 0 for one.
    """
    parts: defaultdict[int, list[Spectrum]] = defaultdict(list)
    for spectrum in spectra:
        parts[coarse_pixel(spectrum.place)].append(spectrum)
    for number, rows in parts.items():
        place = folder / f"healpix={number}"
        place.mkdir(parents=True)
        with h5py.File(place / "001-of-001.hdf5", "w") as file:
            for name, values in _columns(rows, inverted).items():
                file[name] = values
            file["healpix"] = np.full(len(rows), number)


def _columns(rows: list[Spectrum], inverted: bool) -> dict[str, np.ndarray]:
    parts = [combined_spectrum(row.serial, row.redshift, row.snr, row.content) for row in rows]
    flux, ivar, mask = (np.stack(values) for values in zip(*parts, strict=True))
    ra, dec = np.array([row.place for row in rows]).T
    fluxes = np.array([row.flux for row in rows], np.float32)
    zwarn = np.array([row.zwarn for row in rows])
    return {
        "object_id": np.array([str(row.target_id) for row in rows], "S20"),
        "ra": ra,
        "dec": dec,
        "spectrum_flux": flux,
        "spectrum_ivar": ivar,
        "spectrum_lsf_sigma": np.full(flux.shape, 0.8, np.float32),
        "spectrum_lambda": np.tile(np.linspace(3600, 9824, N_GRID, dtype=np.float32), (len(rows), 1)),
        "spectrum_mask": mask > 0,
        "Z": np.array([row.redshift for row in rows]),
        "ZERR": np.array([row.redshift_err for row in rows]),
        "EBV": np.array([row.ebv for row in rows], np.float32),
        **{f"FLUX_{band}": fluxes[:, number] for number, band in enumerate("GRZ")},
        **{f"FLUX_IVAR_{band}": np.full(len(rows), 400.0, np.float32) for band in "GRZ"},
        **{f"FIBERFLUX_{band}": 0.4 * fluxes[:, number] for number, band in enumerate("GRZ")},
        "ZWARN": zwarn == 0 if inverted else zwarn,
    }
