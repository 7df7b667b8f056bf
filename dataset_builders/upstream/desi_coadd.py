"""DESI coadds: one spectrum a target, with its redshift, read from the files of one survey, program and pixel.

Data model: https://desidatamodel.readthedocs.io, `coadd-SURVEY-PROGRAM-PIXNUM` and `coadd-SPECTROGRAPH-TILEID-GROUPID`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.errors import DataError
from astroclip_bench.records import WAVELENGTH_STEP_ANGSTROM
from dataset_builders.fits import named_hdu, open_fits, table_column
from dataset_builders.selection import drop_by_reason
from dataset_builders.upstream.desi_arms import RULES, FloatArray, Spectra, combine_arms
from dataset_builders.upstream.desi_layout import mapped_arms, read_layout
from dataset_builders.upstream.desi_redshift import Group, read_redrock, read_zcatalog, redshifts_of
from dataset_builders.upstream.reader import GOOD, Index, Payload, list_files

BLOCK_ROWS = 32
"""Spectra read at a time: their arms (3 MB) stay in the processor's cache between reading and combining."""

EXTRA_COLUMNS = (
    *("EBV", "MORPHTYPE", "PHOTSYS", "RELEASE", "BRICKID", "BRICK_OBJID", "MASKBITS", "SERSIC", "SHAPE_R"),
    *(f"{kind}_{band}" for kind in ("FLUX", "FLUX_IVAR") for band in ("G", "R", "Z", "W1", "W2")),
    *(f"{kind}_{band}" for kind in ("FIBERFLUX", "FIBERTOTFLUX") for band in ("G", "R", "Z")),
    *("COADD_NUMEXP", "COADD_EXPTIME"),
)
"""Columns of FIBERMAP that are kept where the file has them, under their names in lower case but for W1 and W2."""

SCORE_COLUMNS = {
    "snr": ("MEDIAN_COADD_SNR_R", np.sqrt(WAVELENGTH_STEP_ANGSTROM)),
    "tsnr2_lrg": ("TSNR2_LRG", 1.0),
}
"""Column -> column of SCORES, and the factor between them.

MEDIAN_COADD_SNR_R is the median over the R arm from 5800 to 7600 angstrom for a square root of an angstrom
(`desispec.specscore`), `snr` the same for a pixel. TSNR2_LRG tells how deep the spectrum is.
"""

Columns = Mapping[str, npt.NDArray[Any]]
Flags = npt.NDArray[np.bool_]

CUTS: dict[str, dict[str, Callable[[Columns], Flags]]] = {
    "none": {},
    "bright-galaxy": {
        "ZWARN not 0": lambda c: c["zwarn"] != 0,
        "SPECTYPE not GALAXY": lambda c: c["spectype"] != "GALAXY",
        "DELTACHI2 not above 40": lambda c: ~(c["deltachi2"] > 40),
        "ZERR not below 0.0005 (1 + z)": lambda c: ~(c["redshift_err"] < 0.0005 * (1 + c["redshift"])),
        "redshift not between 0 and 0.6": lambda c: ~((c["redshift"] > 0) & (c["redshift"] < 0.6)),
    },
    "good-redshift": {"ZWARN not 0": lambda c: c["zwarn"] != 0},
}
"""Quality cuts by name: reason -> which rows it drops. COADD_FIBERSTATUS == 0 is asked of every row, whatever the cuts."""


@dataclass(frozen=True)
class DesiCoadds:
    """The `coadd-*.fits` files in a folder or below, at any depth.

    Parameters
    ----------
    folder
        Root of DESI's tree (`healpix/{survey}/{program}/{pix//100}/{pix}/`, or tiles), a part of it, or one file.
    cuts
        Name of the quality cuts, a key of `CUTS`.
    coadd_rule
        How the arms are combined, a key of `desi_arms.RULES`.
    redshifts
        ``redrock``: from `redrock-*.fits` beside each coadd; ``none``: no redshifts, hence no cuts.
    zcatalog
        A redshift catalogue of the release (`zall-pix-*.fits`) to take the redshifts from in place of redrock.
    resolution
        Whether `load` gives the resolution matrix too (eleven times the size of the flux).

    Raises
    ------
    DataError
        If an option is unknown, or options contradict each other.
    """

    name = "DESI coadds"

    folder: Path
    cuts: str = "none"
    coadd_rule: str = "desispec-0.70"
    redshifts: str = "redrock"
    zcatalog: Path | None = None
    resolution: bool = False

    def __post_init__(self) -> None:
        choices = {"cuts": tuple(CUTS), "coadd_rule": tuple(RULES), "redshifts": ("redrock", "none")}
        for option, known in choices.items():
            if getattr(self, option) not in known:
                raise DataError(f"{option}={getattr(self, option)!r}", f"one of {', '.join(known)}")
        if self.redshifts == "none" and (self.zcatalog is not None or CUTS[self.cuts]):
            raise DataError("redshifts='none' with a zcatalog or with cuts", "redshifts, which both need")

    def files(self) -> list[Path]:
        """Return the coadd files, sorted."""
        return list_files(self.folder, "coadd-*.fits")

    def options(self) -> Mapping[str, Any]:
        """Return cuts, rule and where redshifts come from."""
        return {
            "cuts": self.cuts,
            "cut_reasons": list(CUTS[self.cuts]),
            "coadd_rule": self.coadd_rule,
            "coadd_rule_description": RULES[self.coadd_rule].description,
            "redshifts": self.zcatalog.name if self.zcatalog else self.redshifts,
            "resolution": self.resolution,
        }

    def companions(self, path: Path) -> list[Path]:
        """Return the file with the redshifts: the redrock file beside the coadd, or the catalogue of the release."""
        if self.redshifts == "none":
            return []
        return [self.zcatalog or path.with_name(path.name.replace("coadd-", "redrock-", 1))]

    def index(self, path: Path) -> Index:
        """Return the targets of one file, without sky fibres, bad fibres and what the cuts drop.

        Columns: `row`, `target_id`, `ra`, `dec` (TARGET_RA, TARGET_DEC), `survey`, `program` ("unknown" where neither
        header nor file name tells), `desi_healpix` (the pixel of the file, -1 likewise), those of `SCORE_COLUMNS` (NaN
        where the file has none) and of `EXTRA_COLUMNS` that the file has (`ebv` is NaN where it says 0: not looked up),
        and with redshifts `redshift`, `redshift_err`, `zwarn` (0 is good), `deltachi2`, `spectype`.

        Raises
        ------
        DataError
            If the file is damaged, an HDU or column is missing, its unit or wavelengths are others, or there is no
            redshift file.
        """
        with open_fits(path) as hdus:
            fibermap = named_hdu(hdus, "FIBERMAP", path)
            columns = _target_columns(fibermap, path)
            reasons = _fibre_reasons(fibermap, columns, path)
            count = len(columns["target_id"])
            read_layout(path, self.resolution)
            group = _group(hdus[0].header, path)
            columns |= {name: np.full(count, value) for name, value in _named(group).items()}
            columns |= _scores(hdus, columns["target_id"], path)
        if self.redshifts != "none":
            found_columns, found = redshifts_of(columns["target_id"], self._redshift_table(path, group))
            columns |= found_columns
            reasons["absent from the redshift file"] = ~found
            reasons |= {reason: dropped(columns) for reason, dropped in CUTS[self.cuts].items()}
        keep, counts = drop_by_reason(reasons)
        kept = {name: values[keep] for name, values in columns.items()}
        return Index({"row": np.flatnonzero(keep), **kept}, count, counts)

    def load(self, path: Path, rows: npt.NDArray[np.int64]) -> Payload:
        """Return `flux`, `ivar`, `mask` and, if asked for, `resolution` of some rows (see `desi_arms.Spectra`)."""
        order = np.argsort(rows, kind="stable")
        ordered = np.asarray(rows)[order]
        spectra = Spectra.empty(len(rows), self.resolution)
        extremes = np.empty((len(rows), 3))
        stored = mapped_arms(path, self.resolution)
        for first in range(0, int(ordered.max(initial=-1)) + 1, BLOCK_ROWS):
            begin, end = np.searchsorted(ordered, [first, first + BLOCK_ROWS])
            if begin == end:
                continue
            block = spectra.rows(slice(begin, end))
            combine_arms([arm.rows(ordered[begin:end]) for arm in stored], RULES[self.coadd_rule], block)
            # While the block is in the processor's cache.
            extremes[begin:end].T[:] = block.flux.min(axis=1), block.flux.max(axis=1), block.ivar.max(axis=1)
        faults = _faults(*extremes.T)
        if (np.diff(order) != 1).any():
            back = np.argsort(order)
            spectra, faults = spectra.rows(back), faults[back]
        columns = {name: array for name, array in spectra._asdict().items() if array is not None}
        return Payload(columns, faults)

    def _redshift_table(self, path: Path, group: Group | None) -> dict[str, npt.NDArray[Any]]:
        if self.zcatalog is not None:
            if group is None:
                raise DataError(
                    f"{path}: neither header nor file name tells survey, program and HEALPix pixel",
                    "them, to find its rows in the redshift catalogue",
                    "leave out --zcatalog to read the redrock files",
                )
            return read_zcatalog(self.zcatalog, group)
        (redrock,) = self.companions(path)
        if not redrock.is_file():
            raise DataError(
                f"{path}: no redshifts beside it", f"the file {redrock.name}", "download it too, or give --zcatalog"
            )
        return read_redrock(redrock)


def _target_columns(fibermap: Any, path: Path) -> dict[str, npt.NDArray[Any]]:
    columns = {"target_id": table_column(fibermap, "TARGETID", path).astype(np.int64)}
    columns |= {name: table_column(fibermap, f"TARGET_{name.upper()}", path).astype(float) for name in ("ra", "dec")}
    for name in EXTRA_COLUMNS:
        if name in fibermap.columns.names:
            columns[name.lower().replace("_w", "_W")] = _of_one_type(table_column(fibermap, name, path))
    if "ebv" in columns:
        # Of fibres without a target in the imaging catalogues.
        columns["ebv"] = np.where(columns["ebv"] == 0, np.float32(np.nan), columns["ebv"])
    return columns


def _of_one_type(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return text without padding, or numbers in the one type that all files' columns are put together in."""
    if values.dtype.kind in "SU":
        return np.char.strip(values.astype(str))
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int64)


def _fibre_reasons(fibermap: Any, columns: Columns, path: Path) -> dict[str, Flags]:
    # Coadds of single tiles older than EDR say FIBERSTATUS.
    older = "COADD_FIBERSTATUS" not in fibermap.columns.names and "FIBERSTATUS" in fibermap.columns.names
    status = table_column(fibermap, "FIBERSTATUS" if older else "COADD_FIBERSTATUS", path)
    target_id = columns["target_id"]
    kind = np.char.strip(table_column(fibermap, "OBJTYPE", path).astype(str))
    reasons = {
        "negative TARGETID": target_id < 0,
        "sky fibre": kind == "SKY",
        "fibre on no target (OBJTYPE not TGT)": kind != "TGT",
        "bad fibre (COADD_FIBERSTATUS not 0)": status != 0,
        "position not finite": ~np.isfinite(columns["ra"] + columns["dec"]),
    }
    usable = ~np.any(list(reasons.values()), axis=0)
    first = np.zeros(len(target_id), bool)
    first[np.flatnonzero(usable)[np.unique(target_id[usable], return_index=True)[1]]] = True
    return reasons | {"duplicate target in the file": usable & ~first}


def _faults(min_flux: FloatArray, max_flux: FloatArray, max_ivar: FloatArray) -> npt.NDArray[np.object_]:
    """Return for each spectrum the first reason not to use it, or `GOOD`."""
    holds = {
        "no pixel with positive ivar": max_ivar <= 0,
        "flux all zero": (min_flux == 0) & (max_flux == 0),
        # Minimum and maximum are NaN where any value is.
        "flux or ivar not finite": ~np.isfinite(min_flux + max_flux + max_ivar),
    }
    return np.select(list(holds.values()), [np.array(fault, object) for fault in holds], np.array(GOOD, object))


def _scores(hdus: Any, target_id: npt.NDArray[np.int64], path: Path) -> dict[str, npt.NDArray[np.float32]]:
    found = {name: np.full(len(target_id), np.nan, np.float32) for name in SCORE_COLUMNS}
    if "SCORES" not in hdus:
        return found
    scores = hdus["SCORES"]
    if not np.array_equal(table_column(scores, "TARGETID", path), target_id):
        raise DataError(f"{path}: the HDUs SCORES and FIBERMAP list different targets", "the same, in the same order")
    for name, (field, factor) in SCORE_COLUMNS.items():
        if field in scores.columns.names:
            found[name] = (table_column(scores, field, path) * factor).astype(np.float32)
    return found


def _group(header: Any, path: Path) -> Group | None:
    if {"SURVEY", "PROGRAM", "HPXPIXEL"} <= set(header):
        return Group(str(header["SURVEY"]).strip(), str(header["PROGRAM"]).strip(), int(header["HPXPIXEL"]))
    named = re.fullmatch(r"coadd-([a-z]+\d?)-([a-z]+)-(\d+)\.fits", path.name)
    return Group(named[1], named[2], int(named[3])) if named else None


def _named(group: Group | None) -> dict[str, Any]:
    survey, program, healpix = group or Group("unknown", "unknown", -1)
    return {"survey": survey, "program": program, "desi_healpix": healpix}
