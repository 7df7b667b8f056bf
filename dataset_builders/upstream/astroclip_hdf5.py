"""The pairs that AstroCLIP was trained on: ``astroclip_desi.1.1.5.h5``.

Groups "0", "1", ... each hold images (n, 152, 152, 3) in nanomaggies, planes g, r, z last; spectra (n, 7781) or
(n, 7781, 1), flux alone; redshifts (n) and targetids (n). (Parker et al. 2024, MNRAS 531, 4990, and the loading script
``legacy_survey.py`` released with it.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from astroclip_bench.records import IMAGE_SIZE, N_WAVELENGTH
from dataset_builders.hdf5 import hdf5_dataset, open_hdf5, read_rows
from dataset_builders.selection import drop_by_reason
from dataset_builders.upstream.reader import GOOD, Index, Payload, list_files

PLANES_LAST = (IMAGE_SIZE, IMAGE_SIZE, 3)
PLANES_FIRST = (3, IMAGE_SIZE, IMAGE_SIZE)
TRAIN_FRACTION = 0.8

NOT_FINITE_REDSHIFT = "redshift not finite"
NOT_FINITE_FLUX = "flux not finite"
NOT_FINITE_IMAGE = "image not finite"
ZERO_FLUX = "flux all zero"
MISSING_BAND = "band missing (all zero)"
DAMAGED = (NOT_FINITE_FLUX, NOT_FINITE_IMAGE)
"""Faults for which a row can be in no data set; with the others it carries no signal, but is as it was published."""


@dataclass(frozen=True)
class AstroClipHdf5:
    """Reader of the file (or of files of its layout below a folder).

    Rows are numbered through the groups, these in numerical order. The index has `target_id`, `redshift`, `group` and
    `original_split`: in each group the first int(0.8 n) rows are ``train``, the others ``test``.
    """

    path: Path
    name: str = "AstroCLIP pairs (HDF5)"

    def files(self) -> list[Path]:
        """Return the files."""
        return list_files(self.path, "*.h5", "*.hdf5")

    def options(self) -> Mapping[str, Any]:
        """Return nothing: the files alone decide."""
        return {}

    def index(self, path: Path) -> Index:
        """Return the light columns of the rows whose redshift is finite."""
        parts: list[dict[str, npt.NDArray[Any]]] = []
        with open_hdf5(path) as file:
            for group in _groups(file):
                size = group["size"]
                parts.append(
                    {
                        "target_id": group["targetids"][()].astype(np.int64),
                        "redshift": group["redshifts"][()].astype(np.float64),
                        "group": np.full(size, group["number"], np.int64),
                        "original_split": np.where(np.arange(size) < int(TRAIN_FRACTION * size), "train", "test"),
                    }
                )
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return finite_redshifts({"row": np.arange(len(columns["target_id"])), **columns})

    def load(self, path: Path, rows: npt.NDArray[np.int64]) -> Payload:
        """Return `image` and `flux` of rows of one file."""
        rows = np.asarray(rows, np.int64)
        image = np.empty((len(rows), *PLANES_FIRST), np.float32)
        flux = np.empty((len(rows), N_WAVELENGTH), np.float32)
        first = 0
        with open_hdf5(path) as file:
            for group in _groups(file):
                here = np.flatnonzero((rows >= first) & (rows < first + group["size"]))
                if len(here):
                    inside = rows[here] - first
                    image[here] = planes_first(read_rows(group["images"], inside), str(path))
                    flux[here] = read_rows(group["spectra"], inside).reshape(len(here), N_WAVELENGTH)
                first += group["size"]
        return Payload({"image": image, "flux": flux}, pair_faults(image, flux))


def finite_redshifts(columns: Mapping[str, npt.NDArray[Any]]) -> Index:
    """Return the index of those of the rows whose redshift is finite."""
    keep, dropped = drop_by_reason({NOT_FINITE_REDSHIFT: ~np.isfinite(columns["redshift"])})
    return Index({name: values[keep] for name, values in columns.items()}, len(keep), dropped)


def planes_first(images: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    """Return images (n, 3, 152, 152), from planes last or first; the two shapes cannot be mistaken for each other.

    Raises
    ------
    DataError
        If they have another shape.
    """
    if images.shape[1:] == PLANES_LAST:
        return np.moveaxis(images, -1, 1)
    if images.shape[1:] == PLANES_FIRST:
        return images
    raise DataError(f"{where} has images of shape {images.shape[1:]}", f"{PLANES_LAST} or {PLANES_FIRST}")


def pair_faults(image: npt.NDArray[np.float32], flux: npt.NDArray[np.float32]) -> npt.NDArray[np.object_]:
    """Return the fault of each row, the first that holds, or `GOOD`.

    Parameters
    ----------
    image, flux
        (n, 3, 152, 152) and (n, 7781).
    """
    reasons = {
        NOT_FINITE_FLUX: ~np.isfinite(flux).all(axis=1),
        NOT_FINITE_IMAGE: ~np.isfinite(image).all(axis=(1, 2, 3)),
        ZERO_FLUX: (flux == 0).all(axis=1),
        MISSING_BAND: (image == 0).all(axis=(2, 3)).any(axis=1),
    }
    faults = np.full(len(flux), GOOD, object)
    for reason, holds in reversed(reasons.items()):
        faults[holds] = reason
    return faults


def _groups(file: Any) -> Iterator[dict[str, Any]]:
    """Yield the arrays of each group (as `h5py.Dataset`) and its number, after checking their shapes."""
    names = sorted(file)
    if not names or not all(name.isdecimal() for name in names):
        raise DataError(f"{file.filename}: groups {', '.join(names) or 'none'}", "groups '0', '1', ... and no other")
    for name in sorted(names, key=int):
        key = f"{name}/spectra"
        with_axis = getattr(file.get(key), "ndim", 2) == 3
        arrays = {
            "images": hdf5_dataset(file, f"{name}/images", (None, None, None)),
            "spectra": hdf5_dataset(file, key, (N_WAVELENGTH, 1) if with_axis else (N_WAVELENGTH,)),
            "redshifts": hdf5_dataset(file, f"{name}/redshifts"),
            # A TARGETID needs 61 bits, of which floating point keeps 53.
            "targetids": hdf5_dataset(file, f"{name}/targetids", kinds="iu"),
        }
        planes_first(np.empty((0, *arrays["images"].shape[1:])), f"{file.filename}: '{name}/images'")
        sizes = {array: found.shape[0] for array, found in arrays.items()}
        if len(set(sizes.values())) > 1:
            raise DataError(f"{file.filename}: group '{name}' has rows {sizes}", "as many of each")
        yield {"number": int(name), "size": sizes["images"], **arrays}
