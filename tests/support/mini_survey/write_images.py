"""Writes the images: HDF5 files of Stein et al., by hemisphere, sorted by decreasing z flux over their files."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

from mini_survey.content import IMAGE_SIZE, image
from mini_survey.objects import Image, Sky

PARTS = {"north": (0.0, 0.5, 0.8, 1.0), "south": (0.0, 0.35, 1.0)}
"""Hemisphere -> where its rows are cut into files; upstream every million rows."""

PER_BAND: dict[str, Callable[[Image], float]] = {
    "psfsize": lambda row: 1.3,
    "psfdepth": lambda row: 24.0,
    "fracin": lambda row: 1.0,
    "transmission": lambda row: 0.9,
    "nobs": lambda row: 4,
}
SCALARS: dict[str, tuple[str, Callable[[Image], float]]] = {
    "ra": ("f8", lambda row: row.place[0]),
    "dec": ("f8", lambda row: row.place[1]),
    "release": ("i4", lambda row: row.release),
    "brickid": ("i4", lambda row: row.brick),
    "objid": ("i4", lambda row: row.number),
    "ebv": ("f4", lambda row: row.ebv),
    "maskbits": ("i2", lambda row: 0),
    "z_spec": ("f4", lambda row: -99.0),
    "z_training": ("i2", lambda row: 0),
    **{f"z_phot_{name}": ("f4", lambda row: row.redshift) for name in ("mean", "median", "l68", "u68", "l95", "u95")},
    "z_phot_std": ("f4", lambda row: 0.05),
}


def write_images(sky: Sky, folder: Path) -> dict[int, str]:
    """Write all image files, and return in which file each image is: serial -> name."""
    files = {}
    for hemisphere, cuts in PARTS.items():
        rows = sorted((row for row in sky.images if row.hemisphere == hemisphere), key=lambda row: -row.flux[2])
        (folder / hemisphere).mkdir(parents=True)
        edges = [round(cut * len(rows)) for cut in cuts]
        for start, stop in pairwise(edges):
            path = folder / hemisphere / f"images_npix152_{start:09d}_{stop:09d}.h5"
            _write(path, rows[start:stop], start)
            files.update({row.serial: f"{hemisphere}/{path.name}" for row in rows[start:stop]})
    return files


def _write(path: Path, rows: list[Image], start: int) -> None:
    with h5py.File(path, "w") as file:
        shape = (3, IMAGE_SIZE, IMAGE_SIZE)
        # One image a chunk: no more than one is ever in memory.
        images = file.create_dataset(
            "images", (len(rows), *shape), "f4", chunks=(1, *shape), compression="gzip", compression_opts=1
        )
        for number, row in enumerate(rows):
            images[number] = image(row.serial, row.flux, row.content)
        for name, (kind, value) in SCALARS.items():
            file[name] = np.array([value(row) for row in rows], kind)
        for name, value in PER_BAND.items():
            file[name] = np.array([[value(row)] * 3 for row in rows], "i2" if name == "nobs" else "f4")
        file["flux"] = np.array([row.flux for row in rows], "f4")
        file["fiberflux"] = np.array([[0.4 * value for value in row.flux] for row in rows], "f4")
        file["inds"] = np.arange(start, start + len(rows))
        file["source_type"] = np.array([b"DEV"] * len(rows), "S3")
