"""Reading FITS files with errors that name the file, the HDU and the column."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from astroclip_bench.files import storage_errors

DOWNLOAD_AGAIN = "download the file again"


@contextmanager
def open_fits(path: Path | str) -> Iterator[Any]:
    """Open a FITS file (an `astropy.io.fits.HDUList`); headers of all HDUs are read.

    Raises
    ------
    StorageError
        If the file does not exist or cannot be read.
    DataError
        If it is no FITS file, or shorter than its headers say, here or while data are read within the block.
    """
    from astropy.io import fits

    path = Path(path)
    with _fits_errors(path), fits.open(path, lazy_load_hdus=False) as hdus:
        yield hdus


class StoredHdu(NamedTuple):
    """The header of an HDU (an `astropy.io.fits.Header`), and the place of its data in the file, in bytes."""

    header: Any
    offset: int


def stored_hdus(path: Path | str) -> dict[str, StoredHdu]:
    """Return the HDUs of an uncompressed FITS file by name in capitals, in half the time of `open_fits`.

    Raises
    ------
    StorageError, DataError
        As `open_fits`.
    """
    from astropy.io import fits

    path = Path(path)
    found: dict[str, StoredHdu] = {}
    with _fits_errors(path), path.open("rb") as file:
        size, end = path.stat().st_size, 0
        while end < size or not found:
            file.seek(end)
            try:
                header = fits.Header.fromfile(file)
                place, end = file.tell(), file.tell() + header.data_size_padded
            except (EOFError, KeyError) as error:
                raise OSError(f"no header at byte {end:,}") from error
            if not place <= end <= size:
                raise OSError(f"truncated: {size:,} bytes, where its headers tell of {end:,}")
            found[str(header.get("EXTNAME", "" if found else "PRIMARY")).upper()] = StoredHdu(header, place)
    return found


@contextmanager
def _fits_errors(path: Path) -> Iterator[None]:
    from astropy.utils.exceptions import AstropyUserWarning

    with storage_errors(path), path.open("rb"):
        pass
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "File may have been truncated", AstropyUserWarning)
            yield
    except AstropyUserWarning as error:
        raise DataError(f"{path}: truncated ({error})", "a whole FITS file", DOWNLOAD_AGAIN) from error
    except (OSError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a readable FITS file ({error})", todo=DOWNLOAD_AGAIN) from error


def named_hdu(hdus: Any, name: str, path: Path | str) -> Any:
    """Return the HDU with this EXTNAME, wherever in the file it is.

    Raises
    ------
    DataError
        If there is none, naming those there are.
    """
    if name not in hdus:
        names = ", ".join(hdu.name or "(unnamed)" for hdu in hdus)
        raise DataError(f"{path}: HDU {name} is missing", f"it among {names}")
    return hdus[name]


def table_column(hdu: Any, name: str, path: Path | str) -> npt.NDArray[Any]:
    """Return a column of a table HDU as an array in the machine's byte order.

    Raises
    ------
    DataError
        If the HDU is no table, or has no such column.
    """
    names = getattr(hdu, "columns", None)
    if names is None or name not in names.names:
        found = "no table" if names is None else f"columns {', '.join(names.names)}"
        raise DataError(f"{path}: column {name} is missing from HDU {hdu.name or hdu.ver}", f"it; found {found}")
    return native(hdu.data[name])


def native(array: Any) -> npt.NDArray[Any]:
    """Return a copy of a FITS array (big-endian) in the machine's byte order."""
    values = np.asarray(array)
    return values.astype(values.dtype.newbyteorder("="))
