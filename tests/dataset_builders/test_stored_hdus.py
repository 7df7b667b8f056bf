"""Where the data of HDUs lie, against astropy on real files, and on damaged ones."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from desi_files import fibermap, random_arms, write_coadd

from astroclip_bench.errors import DataError, StorageError
from dataset_builders.fits import open_fits, stored_hdus


def as_astropy_sees(path):
    with open_fits(path) as hdus:
        return {hdu.name: (hdu.fileinfo()["datLoc"], hdu.shape if hdu.is_image else None) for hdu in hdus}


def as_stored(path):
    found = {}
    for name, (header, offset) in stored_hdus(path).items():
        shape = tuple(header[f"NAXIS{axis}"] for axis in range(header["NAXIS"], 0, -1))
        found[name] = (offset, None if header.get("XTENSION") == "BINTABLE" else shape)
    return found


def test_real_files(realdata):
    paths = [path for path in realdata.rglob("*.fits") if "incomplete" not in path.name]
    assert len(paths) > 10
    for path in paths:
        assert as_stored(path) == as_astropy_sees(path), path


@pytest.mark.parametrize("backwards", [False, True])
def test_a_coadd_of_all_hdus(tmp_path, backwards):
    path = write_coadd(tmp_path / "a.fits", fibermap(range(3)), random_arms(3, resolution=True), backwards=backwards)
    assert as_stored(path) == as_astropy_sees(path)
    assert len(as_stored(path)) == 19


def test_names_are_in_capitals(tmp_path):
    """Astropy looks names up whatever their letters."""
    path = tmp_path / "small.fits"
    with fits.conf.set_temp("extension_name_case_sensitive", True):
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros(3), name="b_flux")]).writeto(path)
    assert set(as_astropy_sees(path)) == {"PRIMARY", "b_flux"}
    assert as_stored(path)["B_FLUX"] == as_astropy_sees(path)["b_flux"]


def image() -> bytes:
    hdu = fits.PrimaryHDU(np.zeros((30, 40), np.float32))
    return hdu.header.tostring().encode() + bytes(5760)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no header at byte 0"),
        (b"nothing of the kind", "not a readable FITS file"),
        (bytes(2880), "not a readable FITS file"),
        (image()[:1000], "not a readable FITS file"),
        (image()[:-2880], "truncated: 5,760 bytes, where its headers tell of 8,640"),
        (image() + b"rubbish", "not a readable FITS file"),
        (image().replace(b"                  40 ", b"                 -40 ", 1), "truncated: 8,640 bytes"),
        (image().replace(b"NAXIS2  ", b"NIXIS2  ", 1), "no header at byte 0"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, content, said):
    path = tmp_path / "damaged.fits"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"damaged.fits: .*{said}") as caught:
        stored_hdus(path)
    assert "\n" not in str(caught.value)


def test_no_such_file(tmp_path):
    with pytest.raises(StorageError, match=r"none\.fits"):
        stored_hdus(tmp_path / "none.fits")
