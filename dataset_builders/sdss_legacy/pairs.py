"""The list of pairs: which lines name two files that are there, agree on the sky, and can be used."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from astroclip_bench.errors import DataError
from astroclip_bench.files import storage_errors
from dataset_builders.upstream.sdss_spectrum import SdssSpectra

LIST_NAME = "pairs.csv"
LIST_COLUMNS = ("image", "desc", "ra", "dec", "spectrum")
MAX_SEPARATION_ARCSEC = 1.0
"""Of image centre and fibre: a third of the SDSS fibre's diameter."""

_PIXEL_SCALE = re.compile(r"(\d*\.?\d+) ?as/px")


@dataclass(frozen=True)
class Pair:
    """One line of the list that can be used.

    Parameters
    ----------
    image, spectrum
        The two files.
    scale_arcsec
        Pixel scale of the image, as the line describes it.
    ra, dec
        Centre of the image, degrees.
    separation_arcsec
        Between it and the fibre.
    found
        The spectrum's row in the index of `SdssSpectra`, column -> value.
    """

    image: Path
    spectrum: Path
    scale_arcsec: float
    ra: float
    dec: float
    separation_arcsec: float
    found: Mapping[str, Any]


@dataclass(frozen=True)
class PairList:
    """The usable pairs of a list in its order, and the counts of how they came about, for the manifest."""

    path: Path
    pairs: tuple[Pair, ...]
    steps: tuple[Mapping[str, Any], ...]

    @property
    def files(self) -> list[tuple[str, Path]]:
        """Return every input file once, with what it holds: the list, the images and the spectra of the pairs."""
        images = [("Legacy Survey images", pair.image) for pair in self.pairs]
        spectra = [("SDSS spectra", pair.spectrum) for pair in self.pairs]
        return list(dict.fromkeys([("list of pairs", self.path), *images, *spectra]))


def read_pairs(folder: Path | str, max_separation_arcsec: float = MAX_SEPARATION_ARCSEC) -> PairList:
    """Read `pairs.csv` of a folder (or named itself), and of each spectrum it names the table of what the pipeline found.

    Its columns: `image` and `spectrum` (paths from the folder; one that leads nowhere is looked for by its file name in
    the folders beside it), `desc` (with the pixel scale of the image, as in "0.1as/px"), `ra` and `dec` (centre of the
    image, degrees). Further columns are not read. Left out, each under the first reason that holds, are lines whose
    files are not there, that name a spectrum a second time, whose positions disagree, and spectra that the SDSS pipeline
    did not take for a galaxy's or whose redshift it warns of.

    Raises
    ------
    DataError
        If the list or a spectrum is damaged, a column is missing, or a line's numbers cannot be read.
    """
    path = Path(folder).expanduser()
    path = path if path.name == LIST_NAME else path / LIST_NAME
    lines = _read_list(path)
    files_there, missing = [], Counter[str]()
    for line in lines:
        image, spectrum = (_locate(path.parent, line[name]) for name in ("image", "spectrum"))
        if image is None or spectrum is None:
            missing[f"{'image' if image is None else 'spectrum'} file not there"] += 1
        else:
            files_there.append((line, image, spectrum))
    pairs, refused, seen = [], Counter[str](), set()
    for line, image, spectrum in files_there:
        reader = SdssSpectra(spectrum)
        index = reader.index(spectrum)
        if not len(index):
            refused.update({reason: count for reason, count in index.dropped.items() if count})
            continue
        found = {name: values[0] for name, values in index.columns.items()}
        pair = _pair(line, image, spectrum, found, path)
        reason = _reason_against(pair, max_separation_arcsec, pair.found["object_id"] in seen)
        if reason:
            refused[reason] += 1
        else:
            pairs.append(pair)
            seen.add(pair.found["object_id"])
    steps = (
        _step("files of the list", len(lines), len(files_there), missing),
        _step("pairs", len(files_there), len(pairs), refused),
    )
    if not pairs:
        reasons = "; ".join(f"{count} {reason}" for reason, count in (missing + refused).items())
        raise DataError(f"{path}: none of its {len(lines)} pairs can be used ({reasons})", todo="check the list")
    return PairList(path, tuple(pairs), steps)


def _step(name: str, read: int, kept: int, dropped: Mapping[str, int]) -> dict[str, Any]:
    return {"step": name, "read": read, "kept": kept, "dropped": dict(dropped)}


def _read_list(path: Path) -> list[dict[str, str]]:
    with storage_errors(path), path.open(newline="", encoding="utf-8") as handle:
        try:
            reader = csv.DictReader(handle)
            names, lines = reader.fieldnames or (), list(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not a readable list ({error})", "comma-separated text") from error
    missing = [name for name in LIST_COLUMNS if name not in names]
    if missing:
        raise DataError(f"{path}: column {missing[0]!r} is missing", ", ".join(LIST_COLUMNS))
    short = next(
        (number for number, line in enumerate(lines, 2) if None in [line[name] for name in LIST_COLUMNS]), None
    )
    if short is not None:
        raise DataError(f"{path}: line {short} is cut short", ", ".join(LIST_COLUMNS))
    return lines


def _locate(folder: Path, listed: str) -> Path | None:
    """Return the file that a line names; where the path leads nowhere, the only file of its name beside the folder."""
    if (folder / listed).is_file():
        return folder / listed
    name = Path(listed).name
    beside = [path for path in folder.absolute().parent.glob(f"*/{escape(name)}") if path.is_file()] if name else []
    return beside[0] if len(beside) == 1 else None


def _pair(line: Mapping[str, str], image: Path, spectrum: Path, found: Mapping[str, Any], path: Path) -> Pair:
    from astropy.coordinates import angular_separation

    scale = _PIXEL_SCALE.search(line["desc"])
    if scale is None:
        raise DataError(f"{path}: no pixel scale in {line['desc']!r}", 'one like "0.1as/px" in the column desc')
    try:
        ra, dec = float(line["ra"]), float(line["dec"])
    except ValueError as error:
        raise DataError(f"{path}: position {line['ra']!r}, {line['dec']!r}", "degrees") from error
    separation = angular_separation(*np.radians([ra, dec, found["ra"], found["dec"]]))
    return Pair(image, spectrum, float(scale[1]), ra, dec, float(np.degrees(separation) * 3600), found)


def _reason_against(pair: Pair, max_separation_arcsec: float, seen: bool) -> str | None:
    reasons = {
        "spectrum listed before": seen,
        # Written so that a position that is not finite fails too.
        f"image and fibre more than {max_separation_arcsec:g} arcsec apart": not (
            pair.separation_arcsec <= max_separation_arcsec
        ),
        "not classified as a galaxy": pair.found["spectype"] != "GALAXY",
        "redshift with a warning (ZWARNING)": pair.found["zwarn"] != 0,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
