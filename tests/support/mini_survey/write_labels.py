"""Writes the label catalogues: PROVABGS, its variant in the Multimodal Universe, and the votes of Galaxy Zoo DECaLS."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import h5py
import numpy as np
from astropy.table import Table

from mini_survey.geometry import coarse_pixel, pixel
from mini_survey.labels import ANSWERS
from mini_survey.objects import Label, Sky

N_SAMPLES, N_PARAMETERS = 100, 13
MASS_FORMED_DEX = 0.25
"""What the mass formed, the first parameter, exceeds the stellar mass by."""
VOTES, FEWER_VOTES = 40, 10
"""Votes of a question, and those for another than the most frequent answer."""


def write_provabgs(sky: Sky, path: Path) -> None:
    """Write the catalogue as astropy writes a table to HDF5: one array of compound type."""
    with h5py.File(path, "w") as file:
        file["__astropy_table__"] = _provabgs(sky.labels).as_array()


def write_multimodal(sky: Sky, folder: Path) -> None:
    """Write the variant: an array a column, by HEALPix pixel of nside 16."""
    parts: defaultdict[int, list[Label]] = defaultdict(list)
    for label in sky.labels:
        if label.multimodal:
            parts[coarse_pixel(label.place)].append(label)
    for number, labels in parts.items():
        table = _provabgs(labels)
        place = folder / f"healpix={number}"
        place.mkdir(parents=True)
        with h5py.File(place / "001-of-001.hdf5", "w") as file:
            for name in table.colnames:
                file[{"RA": "ra", "DEC": "dec"}.get(name, name)] = np.asarray(table[name])
            file["object_id"] = np.asarray(table["TARGETID"])
            file["healpix"] = np.full(len(labels), number)
            file["TAGE_MW"] = np.array([label.age_gyr for label in labels])
            file["Z_MW"] = np.array([label.metallicity for label in labels])
            file["AVG_SFR"] = np.array([label.star_formation_rate for label in labels])


def _provabgs(labels: list[Label]) -> Table:
    rows = len(labels)
    mass = np.array([label.log_mass for label in labels])
    best = np.zeros((rows, N_PARAMETERS))
    best[:, 0] = mass + MASS_FORMED_DEX
    magnitudes = np.array([label.magnitudes for label in labels])
    ra, dec = np.array([label.place for label in labels]).T
    return Table(
        {
            "TARGETID": np.array([label.target_id for label in labels]),
            "RA": ra,
            "DEC": dec,
            "Z_HP": np.array([label.redshift for label in labels]),
            "ZERR": np.full(rows, 3e-5),
            "TSNR2_BGS": np.full(rows, 1000.0),
            **{f"MAG_{band}": magnitudes[:, number] for number, band in enumerate("GRZ")},
            "MAG_W1": magnitudes[:, 2] + 0.5,
            "FIBMAG_R": magnitudes[:, 1] + 1.0,
            "SCHLEGEL_COLOR": np.full(rows, 0.1),
            "HPIX_64": np.array([pixel(label.place) for label in labels]),
            "PROVABGS_MCMC": np.repeat(best[:, None, :], N_SAMPLES, axis=1),
            "PROVABGS_THETA_BF": best,
            "PROVABGS_LOGMSTAR_BF": mass,
            "PROVABGS_LOGMSTAR": np.stack([label.mass_samples for label in labels]),
            "PROVABGS_Z_MAX": np.full(rows, 0.4),
            "PROVABGS_W_ZFAIL": np.full(rows, 1.01),
            "PROVABGS_W_FIBASSIGN": np.full(rows, 1.25),
            "IS_BGS_BRIGHT": np.ones(rows, bool),
            "IS_BGS_FAINT": np.zeros(rows, bool),
        }
    )


def write_votes(sky: Sky, path: Path) -> None:
    """Write the volunteers' votes: a row a galaxy, with counts, totals and fractions; no fraction without votes."""
    names = ["iauname", "ra", "dec", "redshift", "wrong_size_statistic", "wrong_size_warning"]
    for question, options in ANSWERS.items():
        names += [f"{question}_total-votes"]
        names += [f"{question}_{answer}{part}" for part in ("", "_fraction", "_debiased") for answer in options]
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, names, restval="")
        writer.writeheader()
        for number, (place, given) in enumerate(sky.votes):
            row: dict[str, object] = {"iauname": f"J{number:08d}", "ra": repr(place[0]), "dec": repr(place[1])}
            row |= {"wrong_size_statistic": 100.0, "wrong_size_warning": False}
            for question, options in ANSWERS.items():
                row |= _counts(question, options, given.get(question))
            writer.writerow(row)


def _counts(question: str, options: tuple[str, ...], chosen: str | None) -> dict[str, object]:
    """Return the columns of a question; the answer before the one most chosen has the other votes.

    No question that leads to others is answered in two ways, so that none is asked of a few volunteers alone.
    """
    leads_on = question in ("smooth-or-featured", "disk-edge-on", "has-spiral-arms")
    votes = dict.fromkeys(options, 0)
    if chosen:
        votes[options[options.index(chosen) - 1]] = 0 if leads_on else FEWER_VOTES
        votes[chosen] = VOTES if leads_on else VOTES - FEWER_VOTES
    columns: dict[str, object] = {f"{question}_{answer}": count for answer, count in votes.items()}
    columns[f"{question}_total-votes"] = sum(votes.values())
    for answer, count in votes.items() if chosen else ():
        columns[f"{question}_{answer}_fraction"] = columns[f"{question}_{answer}_debiased"] = count / VOTES
    return columns
