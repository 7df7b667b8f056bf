"""Which rows of the AstroCLIP files are loaded, in which split, and what goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from dataset_builders.astroclip_v1.places import NOWHERE, target_pixel
from dataset_builders.selection import drop_by_reason
from dataset_builders.splits import split_of_pixel
from dataset_builders.upstream.provabgs import MAX_LOG_STELLAR_MASS, Provabgs
from dataset_builders.upstream.provabgs_multimodal import ProvabgsMultimodal
from dataset_builders.upstream.reader import Index, list_files

MAX_CLEAN_REDSHIFT = 0.8
NO_PLACE = "TARGETID names no place on the sky"
REPEATED = "TARGETID seen before"
OUTSIDE = f"redshift outside 0 to {MAX_CLEAN_REDSHIFT:g}"

LABELS = ("log_stellar_mass", "log_stellar_mass_std", "age", "metallicity", "log_ssfr")

Table = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Selection:
    """The light columns of the rows to load, in the order of the files, and how they came about.

    `table` has target_id, redshift, healpix and split, and `file` and `row`, which say where the row is; `steps` are
    the counts for the manifest.
    """

    table: Table
    steps: list[dict[str, Any]]


def select(indices: Sequence[Index], split_column: str | None, clean: bool) -> Selection:
    """Choose from the indices of all files, in their order; the first row of a TARGETID stays.

    Parameters
    ----------
    split_column
        Column of the index that holds the split; None for the split of the HEALPix pixel.
    clean
        Whether to leave out redshifts outside 0 to `MAX_CLEAN_REDSHIFT`.

    Raises
    ------
    DataError
        If no row is left.
    """
    table = {name: np.concatenate([index.columns[name] for index in indices]) for name in indices[0].columns}
    table["file"] = np.repeat(np.arange(len(indices)), [len(index) for index in indices])
    table["healpix"] = target_pixel(table["target_id"])
    reasons = {NO_PLACE: table["healpix"] == NOWHERE, REPEATED: _repeated(table["target_id"])}
    if clean:
        reasons[OUTSIDE] = (table["redshift"] < 0) | (table["redshift"] > MAX_CLEAN_REDSHIFT)
    keep, dropped = drop_by_reason(reasons)
    read = {"read": sum(index.read for index in indices), "kept": len(keep)}
    steps: list[dict[str, Any]] = [
        {"step": "redshift read", **read, "dropped": _added([index.dropped for index in indices])},
        {"step": "one row a target", "read": len(keep), "kept": int(keep.sum()), "dropped": dropped},
    ]
    if not keep.any():
        reasons_text = "; ".join(f"{count} {reason}" for step in steps for reason, count in step["dropped"].items())
        raise DataError(f"none of the {read['read']} rows can be used ({reasons_text})", todo="check the files")
    table = {name: values[keep] for name, values in table.items()}
    table["split"] = split_of_pixel(table["healpix"]) if split_column is None else table[split_column]
    return Selection(
        {name: table[name] for name in ("target_id", "redshift", "healpix", "split", "file", "row")}, steps
    )


def label_reader(place: Path | str, clean: bool) -> Provabgs | ProvabgsMultimodal:
    """Return the reader of PROVABGS or of its Multimodal Universe variant, told by the names of the files.

    The cuts are those of AstroCLIP; `clean` leaves masses out as well that the catalogue's author warns of.
    """
    limit = MAX_LOG_STELLAR_MASS if clean else None
    files = list_files(place, "*.hdf5", "*.h5", "*.parquet")
    if any(path.match("*provabgs*.sv3*.hdf5") for path in files):
        return Provabgs(place, max_log_stellar_mass=limit)
    return ProvabgsMultimodal(place, max_log_stellar_mass=limit)


def labels_of(reader: Provabgs | ProvabgsMultimodal, target_id: npt.NDArray[np.int64]) -> Table:
    """Return those of `LABELS` that the catalogue has, for TARGETIDs; NaN where there is none.

    Of a target that several files have, the first counts.
    """
    files = [reader.index(path).columns for path in reader.files()]
    labels = {name: np.concatenate([file[name] for file in files]) for name in files[0]}
    known, first = np.unique(labels["target_id"], return_index=True)
    if not len(known):
        raise DataError(f"{reader.name}: no row passes the cuts", todo="check the file")
    place = np.minimum(np.searchsorted(known, target_id), len(known) - 1)
    found = known[place] == target_id
    return {name: np.where(found, labels[name][first[place]], np.nan) for name in LABELS if name in labels}


def contiguous_parts(file: npt.NDArray[np.int64], size: int) -> list[range]:
    """Return runs of at most `size` rows, each within one file; `file` is the number of each row's file, increasing."""
    edges = [0, *(np.flatnonzero(np.diff(file)) + 1).tolist(), len(file)]
    return [
        range(start, min(start + size, stop)) for first, stop in pairwise(edges) for start in range(first, stop, size)
    ]


def _repeated(target_id: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Flag the rows whose TARGETID an earlier row has."""
    repeated = np.ones(len(target_id), bool)
    repeated[np.unique(target_id, return_index=True)[1]] = False
    return repeated


def _added(counts: Sequence[Any]) -> dict[str, int]:
    return {reason: sum(count[reason] for count in counts) for reason in counts[0]}
