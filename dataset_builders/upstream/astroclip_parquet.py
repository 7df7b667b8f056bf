"""Parquet copies of the AstroCLIP pairs, as others have put them on the Hub.

The same four values a row as in the original file (`dataset_builders.upstream.astroclip_hdf5`), spelt in several ways;
the original order, and with it the original split, is lost. Copies known in 2026: ``mhsotoudeh/astroclip`` (train, val
and test of 70, 15 and 15 %, which is not AstroCLIP's split) and ``EiffL/AstroCLIP`` (train alone, incomplete).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from astroclip_bench.errors import DataError
from astroclip_bench.records import N_WAVELENGTH
from dataset_builders.upstream.astroclip_hdf5 import PLANES_FIRST, finite_redshifts, pair_faults, planes_first
from dataset_builders.upstream.nested import nested_to_numpy
from dataset_builders.upstream.parquet_rows import open_parquet, row_batches
from dataset_builders.upstream.provabgs_multimodal import exact_integers
from dataset_builders.upstream.reader import Index, Payload, list_files

SPELLINGS = {
    "image": ("image", "images"),
    "flux": ("spectrum", "spectra", "flux"),
    "redshift": ("redshift", "redshifts", "z"),
    "target_id": ("targetid", "targetids", "target_id", "TARGETID", "object_id"),
}
"""What is read -> the column names under which it may stand."""

SPLIT_WORDS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
"""Word at the beginning of a file's or its folder's name -> the split it stands for."""


@dataclass(frozen=True)
class AstroClipParquet:
    """Reader of a folder of Parquet files; the index has `target_id`, `redshift` and `file_split`."""

    path: Path
    name: str = "AstroCLIP pairs (Parquet)"

    def files(self) -> list[Path]:
        """Return the files."""
        return list_files(self.path, "*.parquet")

    def options(self) -> Mapping[str, Any]:
        """Return nothing: the files alone decide."""
        return {}

    def index(self, path: Path) -> Index:
        """Return the light columns of the rows whose redshift is finite."""
        with open_parquet(path) as file:
            names = _columns(file, path)
            table = file.read(columns=[names["target_id"], names["redshift"]])
        redshift = table[names["redshift"]].cast(pa.float64()).to_numpy()
        return finite_redshifts(
            {
                "row": np.arange(len(redshift)),
                "target_id": exact_integers(table[names["target_id"]], f"{path}: column {names['target_id']!r}"),
                "redshift": redshift,
                "file_split": np.full(len(redshift), split_of_file(path)),
            }
        )

    def load(self, path: Path, rows: npt.NDArray[np.int64]) -> Payload:
        """Return `image` and `flux` of rows of one file; the row groups they lie in are read."""
        rows = np.asarray(rows, np.int64)
        image = np.empty((len(rows), *PLANES_FIRST), np.float32)
        flux = np.empty((len(rows), N_WAVELENGTH), np.float32)
        with open_parquet(path) as file:
            names = _columns(file, path)
            for places, within, batch in row_batches(file, rows, [names["image"], names["flux"]]):
                images = nested_to_numpy(batch[names["image"]], f"{path}: column {names['image']!r}")
                spectra = nested_to_numpy(batch[names["flux"]], f"{path}: column {names['flux']!r}")
                if spectra.shape[1:] not in ((N_WAVELENGTH,), (N_WAVELENGTH, 1)):
                    raise DataError(f"{path}: spectra of shape {spectra.shape[1:]}", f"({N_WAVELENGTH},)")
                image[places] = planes_first(images, str(path))[within]
                flux[places] = spectra.reshape(-1, N_WAVELENGTH)[within]
        return Payload({"image": image, "flux": flux}, pair_faults(image, flux))


def split_of_file(path: Path) -> str:
    """Return the split that the name of a file, or else of its folder, begins with.

    Raises
    ------
    DataError
        If neither begins with a split's name.
    """
    for name in (path.name, path.parent.name):
        word = re.split(r"[^a-z]", name.lower(), maxsplit=1)[0]
        if word in SPLIT_WORDS:
            return SPLIT_WORDS[word]
    raise DataError(
        f"{path}: neither the file's nor the folder's name tells its split",
        "a name that begins with train, val or test, as on the Hub",
        "rename the file",
    )


def _columns(file: pq.ParquetFile, path: Path) -> dict[str, str]:
    """Return what is read -> the name of its column in this file."""
    present = file.schema_arrow.names
    found = {}
    for what, spellings in SPELLINGS.items():
        names = [name for name in spellings if name in present]
        if len(names) != 1:
            problem = f"columns {' and '.join(names)}" if names else f"no column {' or '.join(spellings)}"
            raise DataError(f"{path}: {problem} among {', '.join(present)}", f"one column for {what}")
        found[what] = names[0]
    return found
