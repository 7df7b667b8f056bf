"""Reading HDF5 files with errors that name the file and the key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError, MissingExtraError
from astroclip_bench.files import storage_errors

DOWNLOAD_AGAIN = "download the file again"


@contextmanager
def open_hdf5(path: Path | str) -> Iterator[Any]:
    """Open an HDF5 file (an `h5py.File`) for reading.

    Raises
    ------
    StorageError
        If the file does not exist or cannot be read.
    DataError
        If it is no HDF5 file, truncated or damaged, here or while data are read within the block.
    MissingExtraError
        If h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "surveys") from error
    path = Path(path)
    with storage_errors(path), path.open("rb"):
        pass
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: not a readable HDF5 file ({error})", todo=DOWNLOAD_AGAIN) from error


def hdf5_dataset(file: Any, key: str, row_shape: tuple[int | None, ...] = (), kinds: str = "f") -> Any:
    """Return the data set at `key` (an `h5py.Dataset`), nothing of it read yet.

    Parameters
    ----------
    row_shape
        Shape of one row, that is of the axes after the first; None stands for any length.
    kinds
        The `numpy.dtype.kind` codes that will do: "f" floating point, "iu" integers, "SO" text.

    Raises
    ------
    DataError
        If there is none, or it has another shape or type.
    """
    import h5py

    try:
        found = file[key]
    except KeyError as error:
        names = ", ".join(sorted(file)) or "nothing"
        raise DataError(f"{file.filename}: key {key!r} is missing", f"it among {names}") from error
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{file.filename}: key {key!r} is a group", "an array")
    shape = (None, *row_shape)
    if found.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, found.shape, strict=True)):
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise DataError(f"{file.filename}: {key!r} has shape {found.shape}", f"({wanted})")
    if found.dtype.kind not in kinds:
        raise DataError(f"{file.filename}: {key!r} has type {found.dtype}", f"numpy kind {' or '.join(kinds)}")
    return found


def read_rows(dataset: Any, rows: npt.NDArray[np.int64], *within: slice) -> npt.NDArray[Any]:
    """Return rows of an `h5py.Dataset` in the order asked for, repeats included, where h5py wants them increasing.

    Where the file is stored in chunks of many rows, one call for many rows is much faster than many calls; where each
    row is a chunk of its own, it is slower.

    Parameters
    ----------
    rows
        Row numbers, (m,).
    within
        The part of each row that is wanted, one slice an axis after the first; all of it by default.
    """
    unique, inverse = np.unique(rows, return_inverse=True)
    if _row_by_row(dataset):
        found = np.empty((len(unique), *dataset[(slice(0), *within)].shape[1:]), dataset.dtype)
        for place, row in enumerate(unique.tolist()):
            found[place] = dataset[(row, *within)]
    else:
        found = dataset[(unique, *within)]
    return np.asarray(found if np.array_equal(unique, rows) else found[inverse])


def _row_by_row(dataset: Any) -> bool:
    # Views that turn bytes into text (`asstr`) do not tell their chunks.
    chunks = getattr(dataset, "chunks", None) or ()
    return bool(chunks[:1] == (1,))
