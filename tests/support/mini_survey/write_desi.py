"""Writes the spectra: coadd and redrock files by HEALPix pixel, and the redshift catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from mini_survey.content import ARMS, arm_spectrum, wavelength
from mini_survey.objects import NORTH, Sky, Spectrum

MAX_RESOLUTION_ROWS = 20
"""Only files with no more spectra than this get the resolution, which is four times as large as all the rest."""
N_DIAGONALS = 11
BANDS = ("G", "R", "Z", "W1", "W2")


def write_spectra(sky: Sky, folder: Path, random: np.random.Generator) -> None:
    """Write all coadd and redrock files; the order of HDUs, and of the rows of redrock, differs from file to file."""
    rows = sorted(sky.spectra, key=lambda spectrum: spectrum.group)
    for number, ((survey, program, pixel), group) in enumerate(groupby(rows, key=lambda spectrum: spectrum.group)):
        spectra = list(group)
        place = folder / "healpix" / survey / program / str(pixel // 100) / str(pixel)
        place.mkdir(parents=True)
        coadd = _coadd(spectra)
        if number % 2:
            random.shuffle(coadd)
        redrock = _redrock([spectra[i] for i in random.permutation(len(spectra))] if number % 3 == 0 else spectra)
        for kind, hdus in (("coadd", coadd), ("redrock", redrock)):
            name = f"{kind}-{survey}-{program}-{pixel}.fits"
            fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(place / name)


def write_catalogue(sky: Sky, path: Path) -> None:
    """Write the redshift catalogue; SV_PRIMARY is true for one row of each target."""
    best = {pair.spectrum.serial for pair in sky.pairs}
    seen = {pair.spectrum.target_id for pair in sky.pairs}
    spectra = sky.spectra
    table = _fibermap(spectra)
    table["SURVEY"] = [spectrum.survey for spectrum in spectra]
    table["PROGRAM"] = [spectrum.program for spectrum in spectra]
    table["HEALPIX"] = np.array([spectrum.group[2] for spectrum in spectra], np.int32)
    for name, values in _redshifts(spectra).items():
        table[name] = values
    table["SV_PRIMARY"] = [s.serial in best or s.target_id not in seen for s in spectra]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table, name="ZCATALOG")]).writeto(path)


def _coadd(spectra: list[Spectrum]) -> list[fits.hdu.base.ExtensionHDU]:
    identifiers = np.array([spectrum.target_id for spectrum in spectra])
    hdus = [
        fits.BinTableHDU(_fibermap(spectra), name="FIBERMAP"),
        fits.BinTableHDU(_exposures(identifiers), name="EXP_FIBERMAP"),
    ]
    scores = {"TARGETID": identifiers}
    for arm in ARMS:
        parts = [arm_spectrum(arm, s.serial, s.redshift, s.snr, s.content) for s in spectra]
        hdus.append(_image(wavelength(arm), f"{arm}_WAVELENGTH", "Angstrom"))
        flux, ivar, mask = (np.stack(values) for values in zip(*parts, strict=True))
        hdus.append(_image(flux, f"{arm}_FLUX", "10**-17 erg/(s cm2 Angstrom)"))
        hdus.append(_image(ivar, f"{arm}_IVAR", "10**+34 (s2 cm4 Angstrom2) / erg2"))
        hdus.append(_image(mask, f"{arm}_MASK"))
        if len(spectra) <= MAX_RESOLUTION_ROWS:
            hdus.append(_image(_resolution(spectra, flux.shape[1]), f"{arm}_RESOLUTION"))
        per_pixel = np.median(flux * np.sqrt(ivar), axis=1)
        scores[f"MEDIAN_COADD_SNR_{arm}"] = (per_pixel / np.sqrt(0.8)).astype(np.float32)
        scores[f"TSNR2_BGS_{arm}"] = np.full(len(spectra), 1000.0, np.float32)
    return [*hdus, fits.BinTableHDU(Table(scores), name="SCORES")]


def _redrock(spectra: list[Spectrum]) -> list[fits.hdu.base.ExtensionHDU]:
    columns = {
        "TARGETID": np.array([spectrum.target_id for spectrum in spectra]),
        "CHI2": np.full(len(spectra), 9000.0),
        "COEFF": np.zeros((len(spectra), 10)),
        **_redshifts(spectra),
        "NPIXELS": np.full(len(spectra), 7900),
        "SUBTYPE": np.array([""] * len(spectra), "S20"),
        "NCOEFF": np.full(len(spectra), 10),
    }
    return [
        fits.BinTableHDU(Table(columns), name="REDSHIFTS"),
        fits.BinTableHDU(_fibermap(spectra), name="FIBERMAP"),
        fits.BinTableHDU(_exposures(columns["TARGETID"]), name="EXP_FIBERMAP"),
    ]


def _redshifts(spectra: list[Spectrum]) -> dict[str, np.ndarray]:
    return {
        "Z": np.array([spectrum.redshift for spectrum in spectra]),
        "ZERR": np.array([spectrum.redshift_err for spectrum in spectra]),
        "ZWARN": np.array([spectrum.zwarn for spectrum in spectra], np.int64),
        "SPECTYPE": np.array([spectrum.spectype for spectrum in spectra], "S6"),
        "DELTACHI2": np.array([spectrum.deltachi2 for spectrum in spectra]),
    }


def _fibermap(spectra: list[Spectrum]) -> Table:
    rows = len(spectra)
    keys = np.array([max(spectrum.target_id, 0) for spectrum in spectra])
    ra, dec = np.array([spectrum.place for spectrum in spectra]).T
    release = keys >> 42 & 0xFFFF
    fluxes = np.array([spectrum.flux for spectrum in spectra])
    flux = dict(zip(BANDS, [*fluxes.T, 2 * fluxes[:, 2], 2 * fluxes[:, 2]], strict=True))
    columns = {
        "TARGETID": np.array([spectrum.target_id for spectrum in spectra]),
        "COADD_FIBERSTATUS": np.array([spectrum.fiber_status for spectrum in spectra], np.int32),
        "TARGET_RA": ra,
        "TARGET_DEC": dec,
        "OBJTYPE": np.array([spectrum.object_type for spectrum in spectra], "S3"),
        "RELEASE": release.astype(np.int16),
        "BRICKID": (keys >> 22 & 0xFFFFF).astype(np.int32),
        "BRICK_OBJID": (keys & 0x3FFFFF).astype(np.int32),
        "MORPHTYPE": np.array(["DEV"] * rows, "S4"),
        "EBV": np.array([spectrum.ebv for spectrum in spectra], np.float32),
        **{f"FLUX_{band}": values.astype(np.float32) for band, values in flux.items()},
        **{f"FLUX_IVAR_{band}": np.full(rows, 400.0, np.float32) for band in BANDS},
        **{f"FIBERFLUX_{band}": (0.4 * flux[band]).astype(np.float32) for band in "GRZ"},
        "MASKBITS": np.zeros(rows, np.int16),
        **{name: np.full(rows, 1.0, np.float32) for name in ("SERSIC", "SHAPE_R", "SHAPE_E1", "SHAPE_E2")},
        "PHOTSYS": np.where(release == NORTH, b"N", b"S"),
        **_target_bits(spectra[0].survey, rows),
        "COADD_NUMEXP": np.full(rows, 2, np.int16),
        "COADD_EXPTIME": np.full(rows, 600.0, np.float32),
        "MEAN_FIBER_RA": ra,
        "MEAN_FIBER_DEC": dec,
    }
    return Table(columns)


def _target_bits(survey: str, rows: int) -> dict[str, np.ndarray]:
    names = [f"{survey.upper()}_{part}_TARGET" for part in ("DESI", "BGS", "MWS", "SCND")]
    return {name: np.full(rows, 1 << 60, np.int64) for name in names}


def _exposures(identifiers: np.ndarray) -> Table:
    twice = np.repeat(identifiers, 2)
    exposure = np.tile(np.array([80001, 80002], np.int32), len(identifiers))
    return Table({"TARGETID": twice, "EXPID": exposure, "FIBERSTATUS": np.zeros(len(twice), np.int32)})


def _resolution(spectra: Iterable[Spectrum], pixels: int) -> np.ndarray:
    widths = np.array([1.5 + 0.001 * spectrum.serial for spectrum in spectra])
    diagonals = np.exp(-0.5 * ((np.arange(N_DIAGONALS) - N_DIAGONALS // 2) / widths[:, None]) ** 2)
    diagonals /= diagonals.sum(axis=1, keepdims=True)
    return np.repeat(diagonals[:, :, None].astype(np.float32), pixels, axis=2)


def _image(data: np.ndarray, name: str, unit: str | None = None) -> fits.ImageHDU:
    hdu = fits.ImageHDU(data, name=name)
    if unit:
        hdu.header["BUNIT"] = unit
    return hdu
