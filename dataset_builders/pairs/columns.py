"""The columns that a data set of pairs may have besides images and spectra, in their order."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from astroclip_bench.records import COLUMNS, Column


def _property(name: str, unit: str, description: str, dtype: pa.DataType | None = None) -> Column:
    return Column(name, dtype or pa.float32(), unit, description, "property")


LABELS = ("redshift", "log_stellar_mass", "age", "metallicity", "log_ssfr")
PHOTOMETRY_BANDS = ("g", "r", "z", "W1", "W2")

PAIR_PROPERTIES = (
    COLUMNS["mag_r"],
    replace(COLUMNS["snr"], description="Median signal-to-noise ratio per pixel of the R arm, 5800 to 7600 angstrom"),
    COLUMNS["hemisphere"],
    COLUMNS["ebv"],
    _property("redshift_err", "", "Standard error of redshift, from redrock"),
    _property("zwarn", "", "Redshift warning bits of redrock; 0 is good", pa.int64()),
    _property("deltachi2", "", "Chi-squared by which the best redshift beats the next"),
    _property("spectype", "", "Spectral class of redrock: GALAXY, QSO or STAR", pa.string()),
    _property("survey", "", "DESI survey: cmx, sv1, sv2, sv3, main or special", pa.string()),
    _property("program", "", "DESI programme: bright, dark, backup or other", pa.string()),
    _property(
        "label_catalogues", "", "Catalogues of the labels besides the redshift, the first counting most", pa.string()
    ),
    _property("match_method", "", "How the image was found: by target_id or on the sky", pa.string()),
    _property("match_separation", "arcsec", "Distance of the image's catalogue position from the spectrum's target"),
    _property("match_ambiguous", "", "Whether spectrum or image had a second candidate on the sky", pa.bool_()),
)
"""What is known of the observation and the match; `None` where the sources do not tell."""
