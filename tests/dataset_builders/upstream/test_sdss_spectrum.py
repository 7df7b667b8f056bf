"""SDSS spectra: real files and miniature ones in the layout of several releases."""

from __future__ import annotations

import numpy as np
import pytest
from mini_sdss import write_spectrum

from astroclip_bench.errors import DataError, StorageError
from dataset_builders.upstream.sdss_spectrum import SdssSpectra

fits = pytest.importorskip("astropy.io.fits")

WAVELENGTH = 3600.0 + 0.8 * np.arange(7781)
H_ALPHA, OII = 6564.614, 3729.875  # angstrom in vacuum, as the SDSS line fits name them


def one(reader, path):
    index = reader.index(path)
    payload = reader.load(path, index.columns["row"])
    return {**index.columns, **payload.columns}, payload.faults


def test_the_real_files(realdata):
    reader = SdssSpectra(realdata / "pairs/spectra")
    files = reader.files()
    assert len(files) == 11
    found = {}
    for path in files:
        row, faults = one(reader, path)
        assert faults.tolist() == [""]
        assert row["flux"].shape == row["ivar"].shape == row["mask"].shape == (1, 7781)
        assert (row["flux"].dtype, row["ivar"].dtype, row["mask"].dtype) == (np.float32, np.float32, np.uint32)
        covered = WAVELENGTH[row["ivar"][0] > 0]
        assert 3795 < covered[0] < 3830
        assert 9180 < covered[-1] < 9220
        assert not row["flux"][0, row["ivar"][0] == 0].any()
        coadd = fits.getdata(path, "COADD")
        assert row["snr"][0] == pytest.approx(np.median(coadd["flux"] * coadd["ivar"] ** 0.5), rel=0.02)
        found[row["object_id"][0]] = {name: values[0] for name, values in row.items()}
    galaxy = found["sdss-0266-51602-0001"]
    assert galaxy["redshift"] == pytest.approx(0.02127545326948166)
    assert (galaxy["spectype"], galaxy["subtype"], galaxy["zwarn"], galaxy["target_id"]) == ("GALAXY", "", 0, -1)
    assert (galaxy["plate"], galaxy["mjd"], galaxy["fiberid"]) == (266, 51602, 1)
    assert (galaxy["specobjid"], galaxy["bestobjid"]) == ("299489676975171584", "1237648720142401611")
    assert (galaxy["ra"], galaxy["dec"]) == pytest.approx((146.71421, -1.0413043))


@pytest.mark.parametrize(
    ("name", "line", "minimum_snr"),
    [
        ("sdss-0266-51602-0001", H_ALPHA, 20),
        ("sdss-0266-51630-0168", H_ALPHA, 20),
        ("sdss-0266-51630-0215", H_ALPHA, 20),
        ("sdss-0267-51608-0413", H_ALPHA, 20),
        ("sdss-0268-51633-0251", H_ALPHA, 20),
        ("sdss-0268-51633-0251", OII, 5),
    ],
)
def test_emission_lines_are_where_the_redshift_puts_them(realdata, name, line, minimum_snr):
    path = realdata / f"pairs/spectra/{name.replace('sdss', 'spec')}.fits"
    row, _ = one(SdssSpectra(path), path)
    assert row["object_id"][0] == name
    expected = line * (1 + row["redshift"][0])
    flux, ivar = row["flux"][0].astype(float), row["ivar"][0].astype(float)
    near = np.abs(WAVELENGTH - expected) < 12
    sides = (np.abs(WAVELENGTH - expected) > 60) & (np.abs(WAVELENGTH - expected) < 120)
    excess = flux - np.median(flux[sides])
    assert excess[near].sum() / np.sqrt((1 / ivar[near]).sum()) > minimum_snr
    centroid = (WAVELENGTH * excess)[near].sum() / excess[near].sum()
    assert abs(centroid - expected) < 1.2  # 1.5 pixels; doublet and rotation included


def test_the_integral_is_that_of_the_file(realdata):
    path = realdata / "pairs/spectra/spec-0266-51630-0168.fits"
    row, _ = one(SdssSpectra(path), path)
    with fits.open(path) as hdus:
        coadd = hdus["COADD"].data
        wavelength = 10 ** coadd["loglam"].astype(float)
        width = np.diff(10 ** (np.append(coadd["loglam"].astype(float), np.nan) - 0.5e-4))
        inside = (wavelength > 4000) & (wavelength < 9000)
        wanted = (coadd["flux"] * width)[inside].sum()
    found = 0.8 * row["flux"][0, (WAVELENGTH > 4000) & (WAVELENGTH < 9000)].sum(dtype=float)
    assert found == pytest.approx(wanted, rel=2e-4)  # the two ranges end at the bins' own edges


@pytest.mark.parametrize("case", [str.lower, str.upper])
@pytest.mark.parametrize("table", ["SPECOBJ", "SPECALL", "SPALL"])
def test_layouts_of_other_releases(tmp_path, case, table):
    path = write_spectrum(tmp_path / "spec-0266-51630-0007.fits", case=case, table=table)
    row, faults = one(SdssSpectra(tmp_path), path)
    assert row["object_id"].tolist() == ["sdss-0266-51630-0007"]
    assert (row["specobjid"][0], row["bestobjid"][0]) == ("299535582055393280", "1237650795683184714")
    assert (row["zwarn"][0], row["deltachi2"][0], row["snr"][0]) == (4, 1500.0, 9.5)
    assert faults.tolist() == [""]
    inside = (WAVELENGTH > 3850) & (WAVELENGTH < 9000)
    np.testing.assert_allclose(row["flux"][0, inside], 5.0, rtol=1e-6)


def test_masked_pixels_and_their_bits(tmp_path):
    ivar, mask, flux = np.full(3800, 4.0, np.float32), np.zeros(3800, np.int32), np.full(3800, 5.0, np.float32)
    ivar[1000:1010], mask[1000:1010], flux[1000:1010] = 0, 1 << 22, 1e6
    path = write_spectrum(tmp_path / "spec-a.fits", spectrum={"ivar": ivar, "and_mask": mask, "flux": flux})
    row, _ = one(SdssSpectra(tmp_path), path)
    hole = 10 ** (3.58 + 1e-4 * np.array([1000.5, 1008.5]))
    inside = (hole[0] < WAVELENGTH) & (hole[1] > WAVELENGTH)
    assert not row["ivar"][0, inside].any()
    assert (row["mask"][0, inside] == 1 << 22).all()
    assert row["flux"].max() < 5.001


@pytest.mark.parametrize(
    ("spectrum", "fault"),
    [
        ({"ivar": np.zeros(3800, np.float32)}, "no pixel with positive ivar"),
        ({"flux": np.zeros(3800, np.float32)}, "flux all zero"),
    ],
)
def test_spectra_without_signal_are_faults(tmp_path, spectrum, fault):
    path = write_spectrum(tmp_path / "spec-a.fits", spectrum=spectrum)
    payload = SdssSpectra(tmp_path).load(path, np.zeros(2, np.int64))
    assert payload.faults.tolist() == [fault] * 2
    assert payload.columns["flux"].shape == (2, 7781)


def test_a_position_off_the_sphere_is_dropped_and_counted(tmp_path):
    index = SdssSpectra(tmp_path).index(write_spectrum(tmp_path / "spec-a.fits", objects={"PLUG_DEC": -999.0}))
    assert (len(index), index.read, dict(index.dropped)) == (0, 1, {"position not on the sphere": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "OTHER"}, "HDU SPECOBJ is missing"),
        ({"objects": {"Z": None}}, "column Z is missing"),
        ({"spectrum": {"and_mask": None}}, "column and_mask is missing"),
        ({"rows": 2}, "2 rows in its table of objects; expected one spectrum a file"),
        ({"header": {"VACUUM": False}}, "wavelengths in air"),
        ({"header": {"BUNIT": "Jy"}}, "flux in 'Jy'"),
        ({"spectrum": {"loglam": np.full(3800, 3.6, np.float32)}}, "does not rise"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, options, message):
    path = write_spectrum(tmp_path / "spec-bad.fits", **options)
    with pytest.raises(DataError, match=message) as caught:
        one(SdssSpectra(tmp_path), path)
    assert "spec-bad.fits" in str(caught.value)


def test_missing_and_truncated_files(tmp_path):
    with pytest.raises(DataError, match=r"no file spec-\*\.fits"):
        SdssSpectra(tmp_path).files()
    with pytest.raises(StorageError, match="No such file"):
        SdssSpectra(tmp_path).index(tmp_path / "spec-none.fits")
    whole = write_spectrum(tmp_path / "spec-a.fits").read_bytes()
    (tmp_path / "spec-b.fits").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"spec-b\.fits: truncated"):
        SdssSpectra(tmp_path).index(tmp_path / "spec-b.fits")
