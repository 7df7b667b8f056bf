"""The 76 million Legacy Survey DR9 images of Stein et al. (2021, arXiv:2110.13151), in HDF5 files of a million rows.

``images/{south,north}/images_npix152_{start:09d}_{stop:09d}.h5``; rows are sorted by decreasing z flux over all files of
a hemisphere, and each array has one row a galaxy. The order says brightness, so a part of the rows is never taken from
the head. ``inds`` numbers galaxies within a hemisphere; some numbers are missing in the south and a few occur twice, so
it is no key. The folder ``south-train`` repeats galaxies of ``south``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from astroclip_bench.records import IMAGE_BANDS, IMAGE_SIZE
from dataset_builders.hdf5 import hdf5_dataset, open_hdf5, read_rows
from dataset_builders.selection import drop_by_reason
from dataset_builders.upstream.legacy_image import (
    OFF_THE_SKY,
    hemispheres,
    image_faults,
    imaging_target_id,
    on_the_sky,
)
from dataset_builders.upstream.reader import Index, Payload, list_files

FILE_PATTERN = "images_npix152_*.h5"
REPEATED_FOLDER = "south-train"
IMAGES_SHAPE = (len(IMAGE_BANDS), IMAGE_SIZE, IMAGE_SIZE)
LIGHT_KEYS: Mapping[str, tuple[tuple[int, ...], str]] = {
    "ra": ((), "f"),
    "dec": ((), "f"),
    "release": ((), "iu"),
    "brickid": ((), "iu"),
    "objid": ((), "iu"),
    "inds": ((), "iu"),
    "ebv": ((), "f"),
    "flux": ((len(IMAGE_BANDS),), "f"),
}
"""Key -> shape of a row and numpy kinds, of what the index reads."""


@dataclass(frozen=True)
class SteinImages:
    """Reader of the image files below `folder` (the upstream ``images`` folder, one hemisphere of it, or one file).

    The index has row, target_id, ra, dec, hemisphere, inds, ebv, flux_g, flux_r and flux_z (nanomaggies, as observed).
    The hemisphere is that of the row's release, and the folder's name where the release is unknown.
    """

    folder: Path
    name: str = "Stein et al. images"

    def files(self) -> list[Path]:
        """Return the files, those of the training folder only if there are no others."""
        found = list_files(self.folder, FILE_PATTERN)
        return [path for path in found if path.parent.name != REPEATED_FOLDER] or found

    def options(self) -> Mapping[str, Any]:
        """Return nothing: there is one way to read these files."""
        return {}

    def index(self, path: Path) -> Index:
        """Return key, position, reddening and fluxes of every galaxy of one file."""
        with open_hdf5(path) as file:
            rows = len(_images(file))
            light = {}
            for key, (shape, kinds) in LIGHT_KEYS.items():
                array = hdf5_dataset(file, key, shape, kinds)
                if len(array) != rows:
                    raise DataError(f"{path}: {key!r} has {len(array)} rows", f"{rows}, as 'images' has")
                light[key] = array[:]
        ra, dec = light["ra"].astype(np.float64), light["dec"].astype(np.float64)
        columns = {
            "row": np.arange(rows),
            "target_id": imaging_target_id(light["release"], light["brickid"], light["objid"]),
            "ra": ra,
            "dec": dec,
            "hemisphere": hemispheres(light["release"], path),
            "inds": light["inds"].astype(np.int64),
            "ebv": light["ebv"].astype(np.float32),
            **{f"flux_{band}": light["flux"][:, i].astype(np.float32) for i, band in enumerate(IMAGE_BANDS)},
        }
        keep, dropped = drop_by_reason({OFF_THE_SKY: ~on_the_sky(ra, dec)})
        return Index({name: values[keep] for name, values in columns.items()}, rows, dropped)

    def load(self, path: Path, rows: npt.NDArray[np.int64]) -> Payload:
        """Return the images (n, 3, 152, 152), and what is wrong with them."""
        with open_hdf5(path) as file:
            image = read_rows(_images(file), rows).astype(np.float32, copy=False)
        return Payload({"image": image}, image_faults(image))


def _images(file: Any) -> Any:
    return hdf5_dataset(file, "images", IMAGES_SHAPE)
