"""Files of the DESI releases: coadds with redshifts, and the catalogues made from them.

Layout: the pages of the DESI data model (DESI_SPECTRO_REDUX) and of the value-added catalogues. Each folder holds a
list of checksums that is named after the folder; where the server has none, files are compared by their size alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from astroclip_bench.errors import UserError
from astroclip_bench.fetch import FileList, RemoteFile
from dataset_builders.downloads.options import Program, Release, Survey, join, read_numbers
from dataset_builders.fits import named_hdu, open_fits, table_column

BASE_URL = "https://data.desi.lbl.gov/public"
LICENCE = "CC BY 4.0, acknowledgements at https://data.desi.lbl.gov/doc/acknowledgments/"
SPECTROSCOPIC_PRODUCTION = {Release.edr: "fuji", Release.dr1: "iron"}
REDSHIFT_CATALOGUE = {
    Release.edr: "edr/vac/edr/zcat/fuji/v1.0/zall-pix-edr-vac.fits",
    Release.dr1: "dr1/spectro/redux/iron/zcatalog/v1/zall-pix-iron.fits",
}
PROVABGS = "edr/vac/edr/provabgs/v1.0/BGS_ANY_full.provabgs.sv3.v0.hdf5"
TILEPIX = "tilepix.fits"
FASTSPECFIT_VERSION = {Release.edr: "v3.2", Release.dr1: "v3.0"}
N_SKY_PARTS = 12
"""HEALPix pixels of nside 1, by which FastSpecFit 3 divides its two large catalogues."""

BaseUrlOption = Annotated[
    str, typer.Option(help="Root of the releases; https://desidata.s3.amazonaws.com is a mirror of the same layout.")
]
ReleaseOption = Annotated[Release, typer.Option(help="DESI release.")]


def coadds(
    healpix: Annotated[
        str,
        typer.Option(
            help="HEALPix pixels (nside 64, NESTED): separated by commas, a text file of them, or the file tilepix.fits "
            "(see desi-tilepix) for all that there are."
        ),
    ],
    release: ReleaseOption = Release.edr,
    survey: Annotated[Survey, typer.Option(help="Phase of the survey.")] = Survey.sv3,
    program: Annotated[Program, typer.Option(help="Observing program.")] = Program.bright,
    redrock: Annotated[bool, typer.Option(help="The redshift fits of the same pixels as well.")] = True,
    base_url: BaseUrlOption = BASE_URL,
) -> FileList:
    """Fetch DESI coadded spectra, by HEALPix pixel, with their redshift fits.

    A coadd is some 200 MB, for some 500 targets.

    \b
    Examples:
      astroclip-bench data download desi-coadds --healpix 26065 --program dark --out edr --dry-run
      astroclip-bench data download desi-coadds --healpix edr/tilepix.fits --out edr
      astroclip-bench data download desi-coadds --release dr1 --survey main --healpix pixels.txt --out dr1 --yes
    """  # noqa: D301 - the escape is typer's mark for text to leave as it is
    root = f"{release}/spectro/redux/{SPECTROSCOPIC_PRODUCTION[release]}"
    kinds = ("coadd", "redrock") if redrock else ("coadd",)
    files = [
        _desi_file(
            base_url,
            f"{root}/healpix/{survey}/{program}/{pixel // 100}/{pixel}/{kind}-{survey}-{program}-{pixel}.fits",
            below=root,
        )
        for pixel in _pixels(healpix, survey, program)
        for kind in kinds
    ]
    return FileList(tuple(files), f"DESI {release.upper()} coadds, {survey} {program} ({LICENCE})")


def tilepix(release: ReleaseOption = Release.edr, base_url: BaseUrlOption = BASE_URL) -> FileList:
    """Fetch the table of the HEALPix pixels that a DESI release has spectra in (under 1 MB).

    \b
    Examples:
      astroclip-bench data download desi-tilepix --out edr
    """  # noqa: D301
    root = f"{release}/spectro/redux/{SPECTROSCOPIC_PRODUCTION[release]}"
    return FileList((_desi_file(base_url, f"{root}/healpix/{TILEPIX}"),), f"DESI {release.upper()} pixels ({LICENCE})")


def zcatalog(release: ReleaseOption = Release.edr, base_url: BaseUrlOption = BASE_URL) -> FileList:
    """Fetch the DESI redshift catalogue: EDR 1.9 GB, DR1 some 21 GB.

    \b
    Examples:
      astroclip-bench data download desi-zcatalog --release edr --out edr
    """  # noqa: D301
    file = _desi_file(base_url, REDSHIFT_CATALOGUE[release])
    return FileList((file,), f"DESI {release.upper()} redshift catalogue ({LICENCE})")


def provabgs(base_url: BaseUrlOption = BASE_URL) -> FileList:
    """Fetch the PROVABGS catalogue of stellar masses, with posterior samples (EDR, some 3 GB).

    \b
    Examples:
      astroclip-bench data download provabgs --out provabgs
    """  # noqa: D301
    return FileList((_desi_file(base_url, PROVABGS),), f"PROVABGS value-added catalogue of DESI EDR ({LICENCE})")


def fastspecfit(
    release: ReleaseOption = Release.dr1,
    survey: Annotated[Survey, typer.Option(help="Phase of the survey.")] = Survey.main,
    program: Annotated[Program, typer.Option(help="Observing program.")] = Program.bright,
    catalogue_version: Annotated[
        str | None, typer.Option(help="Version of the catalogue: v3.0 for DR1, v3.2 for EDR if left out.")
    ] = None,
    base_url: BaseUrlOption = BASE_URL,
) -> FileList:
    """Fetch the FastSpecFit catalogue: stellar masses and emission lines. DR1 main bright: twelve files, 26 GB.

    \b
    Examples:
      astroclip-bench data download fastspecfit --out fastspecfit --dry-run
      astroclip-bench data download fastspecfit --release edr --survey sv3 --out fastspecfit
    """  # noqa: D301
    version = catalogue_version or FASTSPECFIT_VERSION[release]
    major = version.removeprefix("v").partition(".")[0]
    if not version.startswith("v") or not major.isdecimal():
        raise UserError(f"--catalogue-version {version!r}", "a version such as v3.0")
    production = SPECTROSCOPIC_PRODUCTION[release]
    folder = f"{release}/vac/{release}/fastspecfit/{production}/{version}/catalogs"
    stem = f"fastspec-{production}-{survey}-{program}"
    divided = int(major) >= 3 and survey is Survey.main and program in (Program.bright, Program.dark)
    names = [f"{stem}-nside1-hp{part:02d}.fits" for part in range(N_SKY_PARTS)] if divided else [f"{stem}.fits"]
    files = tuple(_desi_file(base_url, f"{folder}/{name}") for name in names)
    return FileList(files, f"FastSpecFit {version} of DESI {release.upper()}, {survey} {program} ({LICENCE})")


def _pixels(text: str, survey: Survey, program: Program) -> list[int]:
    """Return the pixels that the option names, or those of the table tilepix.fits with such spectra."""
    path = Path(text).expanduser()
    if path.suffix not in (".fits", ".gz"):
        return read_numbers(text, "--healpix")
    with open_fits(path) as hdus:
        table = named_hdu(hdus, "TILEPIX", path)
        pixels, surveys, programs = (table_column(table, name, path) for name in ("HEALPIX", "SURVEY", "PROGRAM"))
    wanted = (np.char.strip(surveys) == survey.value) & (np.char.strip(programs) == program.value)
    if not wanted.any():
        raise UserError(f"{path}: no pixel of {survey} {program}", todo="check --release, --survey and --program")
    return [int(pixel) for pixel in np.unique(pixels[wanted])]


def _desi_file(base_url: str, path: str, below: str | None = None) -> RemoteFile:
    """Return one file of a release; it keeps its place below the folder `below`, or its name alone."""
    folder, _, name = path.rpartition("/")
    target = path.removeprefix(f"{below}/") if below else name
    return RemoteFile(join(base_url, path), target, join(base_url, folder, checksum_list_name(folder)))


def checksum_list_name(folder: str) -> str:
    """Return the name of the list of checksums in a folder (path below the root of the releases).

    It is the folder's path joined by underscores: from ``redux`` on for the spectroscopic reductions, whole for the
    value-added catalogues.
    """
    return folder.rpartition("spectro/")[2].replace("/", "_") + ".sha256sum"
