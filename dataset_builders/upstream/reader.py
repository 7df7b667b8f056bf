"""The one shape of every reader of upstream files: list the files, index one, load rows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError

GOOD = ""
"""The fault of a payload row that has none."""


@dataclass(frozen=True)
class Index:
    """The light columns of those rows of one file that may be used.

    Parameters
    ----------
    columns
        Column name -> array whose first axis has length n, in the machine's byte order. ``row`` (int64) is there
        always: the number of the row in the file, counted from 0, increasing. What is matched on the sky has ``ra``
        and ``dec`` (float64, degrees, ICRS); what carries a DESI target has ``target_id`` (int64, -1 where unknown).
    read
        Number of rows in the file.
    dropped
        Number of rows left out, by reason; each row counts under the first reason that holds.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    read: int
    dropped: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.columns["row"])


@dataclass(frozen=True)
class Payload:
    """The heavy columns (images, spectra) of some rows of one file.

    Parameters
    ----------
    columns
        Column name -> array whose first axis runs along the rows asked for, in their order.
    faults
        For each row why it cannot be used, or `GOOD`; object array of str, (n,). The counts of a data set use these
        words as they are, so they name a kind of fault and no number.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    faults: npt.NDArray[np.object_] = field(repr=False)


class Reader(Protocol):
    """One kind of upstream file in one place; picklable, since worker processes receive a copy.

    `files` raises `DataError` if there are none. `index` raises `DataError` if the file as a whole cannot be used
    (damaged, an HDU or key missing, other units); rows that cannot be used are dropped and counted.
    """

    name: str
    """What is read, in a few words, for counts and messages: ``DESI coadds``."""

    def files(self) -> list[Path]:
        """Return the files, in a fixed order."""
        ...

    def index(self, path: Path) -> Index:
        """Return the light columns of the usable rows of one file."""
        ...

    def options(self) -> Mapping[str, Any]:
        """Return what decides the rows and values besides the files (cuts, rules), as plain JSON values."""
        ...


@runtime_checkable
class SupportsCompanions(Protocol):
    """A reader for which other files have their say in what a file's index holds: redshifts beside spectra."""

    def companions(self, path: Path) -> list[Path]:
        """Return the files that are read together with `path`."""
        ...


def companions(reader: Reader, path: Path) -> list[Path]:
    """Return the files that are read together with `path`; none for most readers."""
    return reader.companions(path) if isinstance(reader, SupportsCompanions) else []


class PayloadReader(Reader, Protocol):
    """A reader of files that hold images or spectra as well."""

    def load(self, path: Path, rows: npt.NDArray[np.int64]) -> Payload:
        """Return the heavy columns of `rows` (numbers as in `Index`, any order) of one file.

        Memory is bounded by the rows asked for, not by the file.
        """
        ...


def list_files(folder: Path | str, *patterns: str) -> list[Path]:
    """Return the files below `folder` that match one of the glob patterns, sorted; a file stands for itself.

    Raises
    ------
    DataError
        If there is no such folder, or no such file in it.
    """
    folder = Path(folder).expanduser()
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise DataError(f"{folder}: no such file or folder", todo="check the path")
    found = sorted({path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()})
    if not found:
        raise DataError(f"{folder}: no file {' or '.join(patterns)} in it or below", todo="check the path")
    return found
