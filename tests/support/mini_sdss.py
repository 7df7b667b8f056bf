"""SDSS spectra in the upstream layout, for tests."""

from __future__ import annotations

import numpy as np
from astropy.io import fits


def write_spectrum(path, *, case=str.lower, table="SPECOBJ", spectrum=None, objects=None, header=(), rows=1):
    """Write a file in the upstream layout; columns given as None are left out."""
    loglam = np.float32(3.58 + 1e-4 * np.arange(3800))
    spectrum = {
        "flux": np.full(3800, 5.0, np.float32),
        "loglam": loglam,
        "ivar": np.full(3800, 4.0, np.float32),
        "and_mask": np.zeros(3800, np.int32),
    } | (spectrum or {})
    objects = {
        "PLUG_RA": 150.0,
        "PLUG_DEC": 2.0,
        "Z": 0.1,
        "Z_ERR": 1e-5,
        "ZWARNING": 4,
        "CLASS": "GALAXY",
        "SUBCLASS": "",
        "SN_MEDIAN_ALL": 9.5,
        "PLATE": 266,
        "MJD": 51630,
        "FIBERID": 7,
        "SPECOBJID": "  299535582055393280",
        "BESTOBJID": 1237650795683184714,
        "RCHI2DIFF": 0.5,
        "DOF": 3000,
    } | (objects or {})
    formats = {np.dtype("f4"): "E", np.dtype("f8"): "D", np.dtype("i4"): "J", np.dtype("i8"): "K"}
    hdus = []
    for name, columns in (("COADD", spectrum), (table, {key: [value] * rows for key, value in objects.items()})):
        made = []
        for key, values in columns.items():
            array = np.asarray(values)
            if array.dtype != object:
                code = formats.get(array.dtype) or f"{max(array.dtype.itemsize // 4, 1)}A"
                made.append(fits.Column(case(key), format=code, array=array))
        hdus.append(fits.BinTableHDU.from_columns(made, name=name))
    primary = fits.PrimaryHDU()
    primary.header.update({"VACUUM": True, "BUNIT": "1E-17 erg/cm^2/s/Ang", **dict(header)})
    fits.HDUList([primary, *hdus]).writeto(path)
    return path
