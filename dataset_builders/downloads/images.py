"""Legacy Survey images: cut-outs from the viewer, and the image files of Stein et al. (2021)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import numpy as np
import typer

from astroclip_bench.errors import DataError, UserError
from astroclip_bench.fetch import FileList, RemoteFile
from astroclip_bench.files import storage_errors
from astroclip_bench.records import IMAGE_BANDS, IMAGE_SIZE, PIXEL_SCALE_ARCSEC
from dataset_builders.downloads.options import join, read_numbers

VIEWER_URL = "https://www.legacysurvey.org/viewer"
LAYERS = ("ls-dr9", "ls-dr10")
NAME_COLUMNS = ("object_id", "targetid", "name")
FITS_BLOCK_BYTES = 2880
GLOBUS_ENDPOINT = "59c818dc-8542-46d8-80d9-ab144669c7b6"
"""Where the authors of the image files offer them (README of github.com/georgestein/ssl-legacysurvey)."""
STEIN_FILE_ROWS = 1_000_000
STEIN_ROWS = {"south": 62_000_000, "north": 14_174_203}


def cutouts(
    positions: Annotated[
        Path,
        typer.Option(
            help="Table (CSV, ECSV, FITS) with columns ra and dec in degrees; a column object_id, targetid or name "
            "gives the file names. Or a folder of DESI coadds: their galaxies that pass the bright-galaxy cuts."
        ),
    ],
    layer: Annotated[str, typer.Option(help="Image layer of the viewer: ls-dr9 or ls-dr10.")] = LAYERS[0],
    size: Annotated[int, typer.Option(min=1, max=3000, help="Width and height in pixels.")] = IMAGE_SIZE,
    rate: Annotated[
        float, typer.Option(min=0.01, max=10, help="Requests a second; the viewer makes each image when asked.")
    ] = 2.0,
    base_url: Annotated[str, typer.Option(help="Address of the viewer.")] = VIEWER_URL,
) -> FileList:
    """Fetch FITS cut-outs in g, r, z at the native 0.262 arcsec a pixel from the Legacy Survey viewer.

    For some thousands of galaxies: the viewer is a shared service. The viewer publishes no checksums.

    \b
    Examples:
      astroclip-bench data download legacy-cutouts --positions galaxies.csv --out cutouts
      astroclip-bench data download legacy-cutouts --positions edr --layer ls-dr10 --rate 1 --out cutouts
    """  # noqa: D301 - the escape is typer's mark for text to leave as it is
    if layer not in LAYERS:
        raise UserError(f"--layer {layer!r}", " or ".join(LAYERS))
    names, ra, dec = (_targets_of_coadds if positions.is_dir() else _read_positions)(positions)
    data_bytes = 4 * len(IMAGE_BANDS) * size**2
    about_bytes = FITS_BLOCK_BYTES * (1 + -(-data_bytes // FITS_BLOCK_BYTES))

    def file(name: str, ra_deg: float, dec_deg: float) -> RemoteFile:
        query = {
            "ra": f"{ra_deg:.7f}",
            "dec": f"{dec_deg:.7f}",
            "layer": layer,
            "pixscale": PIXEL_SCALE_ARCSEC,
            "bands": "".join(IMAGE_BANDS),
            "size": size,
        }
        return RemoteFile(f"{join(base_url, 'fits-cutout')}?{urlencode(query)}", f"{name}.fits", None, about_bytes)

    files = tuple(map(file, names, ra.tolist(), dec.tolist()))
    about = f"Legacy Survey cut-outs, {layer} (CC BY 4.0); at {rate:g} a second at least {len(files) / rate:,.0f} s"
    return FileList(files, about, requests_a_second=rate)


def stein(
    south: Annotated[str | None, typer.Option(help="Numbers 0 to 61 of the southern files, or a file of them.")] = None,
    north: Annotated[str | None, typer.Option(help="Numbers 0 to 14 of the northern files, or a file of them.")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="An HTTP server of yours with the folders images/south and images/north.")
    ] = None,
) -> FileList:
    """Fetch the Legacy Survey image files of Stein et al. (2021) from a server of your own.

    Their authors offer them through Globus alone, as far as is known here; there is no public HTTP address to fetch
    them from. Each file holds a million galaxies, 277 GB; all of them 20 TB. With Globus: endpoint
    59c818dc-8542-46d8-80d9-ab144669c7b6, folder /ssl-legacysurvey/images.

    \b
    Examples:
      astroclip-bench data download stein-images --north 0,1 --base-url https://data.my.institute/stein --out stein
    """  # noqa: D301
    wanted = {"south": south, "north": north}
    paths = [
        f"images/{hemisphere}/{stein_file_name(hemisphere, number)}"
        for hemisphere, text in wanted.items()
        if text is not None
        for number in read_numbers(text, f"--{hemisphere}")
    ]
    if base_url is None:
        raise UserError(
            f"no public HTTP server offers {', '.join(paths[:2]) or 'these files'}",
            f"Globus, endpoint {GLOBUS_ENDPOINT}, folder /ssl-legacysurvey",
            "fetch them with Globus, or name a server of your own with --base-url",
        )
    files = tuple(RemoteFile(join(base_url, path), path) for path in paths)
    return FileList(files, "Legacy Survey DR9 images of Stein et al. (2021), arXiv:2110.00023")


def stein_file_name(hemisphere: str, number: int) -> str:
    """Return the name of an image file: rows `number` million up to the next million, or to the last.

    Raises
    ------
    UserError
        If there is no such file.
    """
    start, rows = number * STEIN_FILE_ROWS, STEIN_ROWS[hemisphere]
    if start >= rows:
        raise UserError(f"--{hemisphere} {number}", f"0 to {(rows - 1) // STEIN_FILE_ROWS}")
    return f"images_npix{IMAGE_SIZE}_{start:09d}_{min(start + STEIN_FILE_ROWS, rows):09d}.h5"


def _targets_of_coadds(folder: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return TARGETIDs as file names, and positions (degrees), of the galaxies in a folder of coadds, each once."""
    from dataset_builders.upstream.desi_coadd import DesiCoadds

    reader = DesiCoadds(folder, cuts="bright-galaxy")
    columns = [reader.index(path).columns for path in reader.files()]
    target_id, ra, dec = (np.concatenate([part[name] for part in columns]) for name in ("target_id", "ra", "dec"))
    target_id, first = np.unique(target_id, return_index=True)
    return target_id.astype(str).tolist(), ra[first], dec[first]


def _read_positions(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return file names and positions (degrees) of a table."""
    from astropy.table import Table

    try:
        with storage_errors(path):
            table = Table.read(path)
    except (ValueError, TypeError, KeyError) as error:  # astropy's own errors derive from these
        raise DataError(f"{path}: {error}", "a table in CSV, ECSV or FITS") from error
    columns = {name.lower(): table[name] for name in table.colnames}
    if not {"ra", "dec"} <= columns.keys():
        raise DataError(f"{path}: columns {', '.join(table.colnames)}", "columns ra and dec, in degrees")
    try:
        ra, dec = (np.ma.filled(np.ma.asarray(columns[name], np.float64), np.nan) for name in ("ra", "dec"))
    except ValueError as error:
        raise DataError(f"{path}: ra or dec is not a number ({error})", "degrees") from error
    if not (np.isfinite(ra) & (np.abs(dec) <= 90)).all():
        raise DataError(f"{path}: a position is missing or not on the sphere", "ra and dec in degrees")
    named = next((columns[name] for name in NAME_COLUMNS if name in columns), None)
    if named is None:
        names = [f"{ra_deg:.5f}{dec_deg:+.5f}" for ra_deg, dec_deg in zip(ra, dec, strict=True)]
    else:
        names = [re.sub(r"[^\w.+-]+", "_", str(name).strip()) for name in named]
    return names, ra, dec
