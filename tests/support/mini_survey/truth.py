"""What a correct build makes of the survey: every row, every label, every count."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mini_survey.content import combined_spectrum, image
from mini_survey.geometry import pixel, separation_arcsec, split
from mini_survey.labels import ANSWERS
from mini_survey.objects import Pair, Sky

MISSING = math.nan


@dataclass(frozen=True)
class Files:
    """Where the files of the survey are."""

    folder: Path

    @property
    def spectra(self) -> Path:
        """Folder of the coadd and redrock files."""
        return self.folder / "spectra"

    @property
    def catalogue(self) -> Path:
        """The redshift catalogue."""
        return self.folder / "zall-pix-edr-vac.fits"

    @property
    def images(self) -> Path:
        """Folder of the image files."""
        return self.folder / "images"

    @property
    def provabgs(self) -> Path:
        """The label catalogue."""
        return self.folder / "provabgs.hdf5"

    @property
    def provabgs_multimodal(self) -> Path:
        """Folder of its variant."""
        return self.folder / "provabgs_mmu"

    @property
    def votes(self) -> Path:
        """The votes on morphology."""
        return self.folder / "gz_decals_volunteers_5.csv"

    @property
    def multimodal_inverted(self) -> Path:
        """Folder of some of the spectra as the Multimodal Universe hands them out: ZWARN true if good."""
        return self.folder / "mmu_desi" / "inverted"

    @property
    def multimodal_original(self) -> Path:
        """Folder of the same spectra with ZWARN as in DESI's catalogue: 0 if good."""
        return self.folder / "mmu_desi" / "original"


@dataclass(frozen=True)
class Truth:
    """What is in the files, and what must come of it.

    Parameters
    ----------
    files
        Where they are.
    table
        One row a pair, indexed by object_id, in no particular order: position, HEALPix pixel, split, labels (NaN or
        None where missing), properties, how the pair was matched, and its trap. Columns are named as in the record.
    read
        Rows in the files, by kind.
    dropped
        (Step, reason) -> rows dropped; the steps in `mini_survey.objects`, in their order.
    multimodal_zwarn
        TARGETID -> ZWARN in DESI's meaning of the spectra in the Multimodal Universe's form.
    image_files
        Which file, below the folder of images, holds an image: its serial number -> name.
    """

    files: Files
    table: pd.DataFrame
    read: dict[str, int]
    dropped: Counter[tuple[str, str]]
    multimodal_zwarn: dict[int, int]
    image_files: dict[int, str]
    sky: Sky

    def dropped_at(self, step: str) -> dict[str, int]:
        """Return the rows dropped at a step, by reason."""
        return {reason: count for (where, reason), count in self.dropped.items() if where == step}

    def expected_image(self, object_id: str) -> np.ndarray:
        """Return the image of a pair, (3, 152, 152)."""
        row = self._pair(object_id).image
        return image(row.serial, row.flux, row.content)

    def expected_spectrum(self, object_id: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return flux, ivar and mask of a pair on the common grid, each (7781,)."""
        row = self._pair(object_id).spectrum
        return combined_spectrum(row.serial, row.redshift, row.snr, row.content)

    def _pair(self, object_id: str) -> Pair:
        return self.sky.pairs[int(self.table["number"][object_id])]


def truth_table(sky: Sky) -> pd.DataFrame:
    """Return the rows of the finished data set."""
    rows = [{"number": number, **_row(pair)} for number, pair in enumerate(sky.pairs)]
    return pd.DataFrame(rows).set_index("object_id")


def _row(pair: Pair) -> dict[str, Any]:
    spectrum, image_row = pair.spectrum, pair.image
    healpix = pixel(spectrum.place)
    return {
        "object_id": str(spectrum.target_id),
        "ra": spectrum.place[0],
        "dec": spectrum.place[1],
        "healpix": healpix,
        "split": split(healpix),
        "redshift": spectrum.redshift,
        **{f"flux_{band}": flux for band, flux in zip("grz", image_row.flux, strict=True)},
        # From the spectrum's file, which has twice the z flux there; the images' files have none.
        **{f"flux_{band}": float(np.float32(2 * spectrum.flux[2])) for band in ("W1", "W2")},
        **_labels(pair),
        **{f"morphology_{question.replace('-', '_')}": pair.answers.get(question) for question in ANSWERS},
        "mag_r": 22.5 - 2.5 * math.log10(image_row.flux[1]),
        "snr": spectrum.snr,
        "hemisphere": image_row.hemisphere,
        "ebv": spectrum.ebv,
        "redshift_err": spectrum.redshift_err,
        "zwarn": spectrum.zwarn,
        "deltachi2": spectrum.deltachi2,
        "spectype": spectrum.spectype,
        "survey": spectrum.survey,
        "program": spectrum.program,
        "match_method": pair.method,
        "match_ambiguous": pair.ambiguous,
        "match_separation": separation_arcsec(spectrum.place, image_row.place),
        "trap": pair.trap,
    }


def _labels(pair: Pair) -> dict[str, float]:
    label = pair.label
    mass = label.log_mass if label else MISSING
    both = label if label and label.multimodal else None
    forming = both is not None and both.star_formation_rate > 0
    return {
        "log_stellar_mass": mass,
        "log_stellar_mass_std": float(np.std(label.mass_samples, ddof=1)) if label else MISSING,
        "age": both.age_gyr if both else MISSING,
        "metallicity": both.metallicity if both else MISSING,
        "log_ssfr": math.log10(both.star_formation_rate) - mass if both and forming else MISSING,
        **{
            f"mag_{band}_dereddened": label.magnitudes[number] if label else MISSING
            for number, band in enumerate("grz")
        },
    }
