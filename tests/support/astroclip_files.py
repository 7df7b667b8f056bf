"""Miniature files in the layouts of the AstroCLIP pairs, with the values they were made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from astroclip_bench.datasets.arrays import numpy_to_arrow
from dataset_builders.upstream.desi_targets import encode_target_id

SIZES = {"10": 3, "0": 11, "1": 7, "2": 5}
"""Of these groups int(0.8 n) are 2, 8, 5 and 4; as text, "10" would come before "2"."""


@dataclass
class Pairs:
    """Rows in the order of the groups' numbers: images (n, 3, 152, 152), flux, redshift, target_id, group."""

    image: np.ndarray
    flux: np.ndarray
    redshift: np.ndarray
    target_id: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.target_id)


def make_pairs(sizes: dict[str, int] = SIZES, seed: int = 1) -> Pairs:
    """Return random pairs on some forty bricks, north and south."""
    random = np.random.default_rng(seed)
    group = np.concatenate([np.full(sizes[name], int(name)) for name in sorted(sizes, key=int)])
    n = len(group)
    row = np.arange(n)
    target_id = encode_target_id(9010 + row % 2, 300_000 + 1_700 * (row % 40), 1 + row)
    # Coarse values keep the files small once they are compressed.
    image = random.integers(-8, 9, (n, 3, 152, 152)).astype(np.float32) / 64
    flux = random.integers(-8, 9, (n, 7781)).astype(np.float32) / 8
    return Pairs(image, flux, random.uniform(0.01, 0.7, n).astype(np.float32), target_id, group)


def write_hdf5(path: Path, pairs: Pairs, trailing_axis: bool = False) -> Path:
    """Write the layout of ``astroclip_desi.1.1.5.h5``."""
    with h5py.File(path, "w") as file:
        for number in np.unique(pairs.group):
            here = pairs.group == number
            group = file.create_group(str(number))
            group["images"] = np.moveaxis(pairs.image[here], 1, -1)
            group["spectra"] = pairs.flux[here][..., None] if trailing_axis else pairs.flux[here]
            group["redshifts"] = pairs.redshift[here]
            group["targetids"] = pairs.target_id[here]
    return path


def write_parquet(path: Path, pairs: Pairs, rows: slice, **spelling: str) -> Path:
    """Write rows as the Hub's copies hold them: nested lists of any length, planes last, spectra (7781, 1)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {
        "image": variable_lists(np.moveaxis(pairs.image[rows], 1, -1)),
        "spectrum": variable_lists(pairs.flux[rows][..., None]),
        "redshift": pa.array(pairs.redshift[rows]),
        "targetid": pa.array(pairs.target_id[rows]),
    }
    table = pa.table({spelling.get(name, name): column for name, column in columns.items()})
    pq.write_table(table, path, row_group_size=3)
    return path


def variable_lists(array: np.ndarray) -> pa.Array:
    """Return an array as nested lists without a fixed length."""
    fixed = numpy_to_arrow(np.ascontiguousarray(array))
    dtype: pa.DataType = pa.float32()
    for _ in array.shape[1:]:
        dtype = pa.list_(dtype)
    return fixed.cast(dtype)
