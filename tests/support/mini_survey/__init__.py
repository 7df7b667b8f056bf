"""A survey in miniature: thousands of galaxies in the files of DESI, the Legacy Surveys, PROVABGS and Galaxy Zoo.

Written from the owners' descriptions of their formats alone, and nothing of the readers, so that it tests them. The
traps in it are a table, `TRAPS`; what a correct build makes of all of it is the `Truth`.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from mini_survey import write_desi, write_images, write_labels, write_multimodal
from mini_survey.survey import PLAIN, TRAPS, make_sky, shuffle_rows
from mini_survey.truth import Files, Truth, truth_table

N_MULTIMODAL = 60
"""Good spectra in the Multimodal Universe's form, besides those with a redshift warning."""


def make_survey(folder: Path, n_objects: int = 2300, seed: int = 20210514) -> Truth:
    """Write the survey below `folder`.

    Parameters
    ----------
    n_objects
        Spectra in the files; some 90 % of them become pairs.
    seed
        Makes another survey.
    """
    files = Files(folder)
    sky = make_sky(n_objects, seed)
    shuffle_rows(sky, seed)
    random = np.random.default_rng([seed, 2])
    write_desi.write_spectra(sky, files.spectra, random)
    write_desi.write_catalogue(sky, files.catalogue)
    image_files = write_images.write_images(sky, files.images)
    write_labels.write_provabgs(sky, files.provabgs)
    write_labels.write_multimodal(sky, files.provabgs_multimodal)
    write_labels.write_votes(sky, files.votes)
    warned = [row for row in sky.spectra if row.zwarn and row.target_id > 0]
    copied = [*warned, *(pair.spectrum for pair in islice(sky.pairs, 0, None, len(sky.pairs) // N_MULTIMODAL))]
    copied = list({row.target_id: row for row in copied}.values())
    write_multimodal.write_spectra(copied, files.multimodal_inverted, inverted=True)
    write_multimodal.write_spectra(copied, files.multimodal_original, inverted=False)
    return Truth(
        files,
        truth_table(sky),
        {"spectra": len(sky.spectra), "images": len(sky.images), "labels": len(sky.labels), "votes": len(sky.votes)},
        sky.dropped,
        {row.target_id: row.zwarn for row in copied},
        image_files,
        sky,
    )


__all__ = ["PLAIN", "TRAPS", "Files", "Truth", "make_survey"]
