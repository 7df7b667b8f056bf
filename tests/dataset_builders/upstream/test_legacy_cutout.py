"""Real and miniature cut-outs: those that can be used are read with the right flux, the others named with a reason."""

from __future__ import annotations

import logging
import pickle
import shutil

import numpy as np
import pytest

from astroclip_bench.errors import DataError
from dataset_builders.upstream.legacy_cutout import CutoutError, LegacyCutouts, read_cutout

fits = pytest.importorskip("astropy.io.fits")

NATIVE_DEG = 0.262 / 3600
MAGNITUDES = {"zoobot_example_a": (16.00, 15.01, 14.26), "zoobot_example_b": (18.23, 17.70, 17.25)}
REFUSED = {
    "gzdecals_example_a": ("pixel scale not native", r"pixel scale 0.100 arcsec; expected the native 0.262 arcsec"),
    "gzdecals_example_bad_pix": ("pixel scale not native", r"pixel scale 0.130 arcsec"),
    "gzdecals_example_incomplete": ("file damaged", r"truncated .*expected a whole FITS file"),
}


def aperture_flux(image, radius_arcsec, centre=(75.5, 75.5)):
    """Return the flux (3,) in a circle around a pixel (row, column)."""
    y, x = np.mgrid[:152, :152]
    return image[:, np.hypot(y - centre[0], x - centre[1]) * 0.262 <= radius_arcsec].astype(float).sum(axis=1)


def write_cutout(path, cube=None, scale_deg=NATIVE_DEG, ra=10.0, dec=20.0, **header):
    """Write a cut-out as the viewer does; keys given as None are left out."""
    cube = np.full((3, 160, 160), 1.0, np.float32) if cube is None else cube
    hdu = fits.PrimaryHDU(np.asarray(cube, np.float32))
    height, width = cube.shape[-2:]
    keys = {
        "SURVEY": "DECaLS", "BANDS": "grz",
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec,
        "CRPIX1": width / 2 + 0.5, "CRPIX2": height / 2 + 0.5,
        "CD1_1": -scale_deg, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": scale_deg,
    }  # fmt: skip
    hdu.header.update({key: value for key, value in {**keys, **header}.items() if value is not None})
    hdu.writeto(path)
    return path


@pytest.mark.parametrize("name", MAGNITUDES)
def test_fluxes_of_real_cutouts(realdata, name):
    cutout = read_cutout(realdata / f"legacy/{name}.fits")
    assert cutout.image.shape == (3, 152, 152)
    assert cutout.image.dtype == np.float32
    peak = np.unravel_index(cutout.image[1, 60:92, 60:92].argmax(), (32, 32)) + np.array([60, 60])
    found = 22.5 - 2.5 * np.log10(aperture_flux(cutout.image, 8.0, peak))
    np.testing.assert_allclose(found, MAGNITUDES[name], atol=0.02)
    with fits.open(realdata / f"legacy/{name}.fits") as hdus:
        assert cutout.ra == pytest.approx(hdus[0].header["CRVAL1"], abs=1e-6)
        assert cutout.dec == pytest.approx(hdus[0].header["CRVAL2"], abs=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_real_cutouts_that_cannot_be_used(realdata, name):
    with pytest.raises(DataError, match=rf"{name}\.fits: .*{REFUSED[name][1]}"):
        read_cutout(realdata / f"legacy/{name}.fits")


def test_a_missing_band_is_refused_even_when_resampled(realdata):
    path = realdata / "legacy/gzdecals_example_bad_pix.fits"
    with pytest.raises(
        CutoutError, match=r"g band missing \(mostly exactly zero\); exactly zero are g \d+%"
    ) as refused:
        read_cutout(path, resample=True)
    assert refused.value.kind == "g band missing (mostly exactly zero)"
    again = pickle.loads(pickle.dumps(refused.value))
    assert (again.kind, str(again)) == (refused.value.kind, str(refused.value))


def test_a_resampled_real_cutout_has_the_flux_that_sdss_measured(realdata):
    """In the 3 arcsec of the SDSS fibre: what a misread pixel scale would change by (0.262/0.1)^2 = 6.9."""
    cutout = read_cutout(realdata / "legacy/gzdecals_example_a.fits", resample=True)
    with fits.open(realdata / "pairs/spectra/spec-0266-51602-0001.fits") as hdus:
        row = hdus[2].data[0]
        assert cutout.ra == pytest.approx(row["PLUG_RA"], abs=1e-4)
        assert cutout.dec == pytest.approx(row["PLUG_DEC"], abs=1e-4)
        sdss = np.array(row["SPECTROFLUX"])[[1, 2]]  # nanomaggies; the z bands of the two surveys differ more
    np.testing.assert_allclose(aperture_flux(cutout.image, 1.5)[:2], sdss, rtol=0.05)


def test_resampling_a_real_cutout_conserves_its_flux(realdata):
    path = realdata / "legacy/gzdecals_example_a.fits"
    image = read_cutout(path, resample=True).image.astype(float)
    with fits.open(path) as hdus:
        cube = hdus[0].data.astype(float)
    # 152 pixels of 0.262 arcsec are 398.24 of 0.1: 398 whole ones and 0.12 of one at each side.
    weight = np.zeros(424)
    weight[13:-13] = 1
    weight[12] = weight[-13] = 0.12
    expected = np.einsum("byx,y,x->b", cube, weight, weight) * (0.1 / 0.262) ** 2
    np.testing.assert_allclose(image.sum(axis=(1, 2)), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [0.1, 0.13, 0.3, 0.524])
def test_the_same_sky_at_any_scale(tmp_path, scale):
    """One Gaussian galaxy, sampled as the viewer does: nanomaggies a native pixel, at the pixels of the file."""
    flux, sigma = np.array([10.0, 20.0, 30.0]), 2.5
    size = int(44 / scale)
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * scale
    cube = flux[:, None, None] * np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2) * 0.262**2
    path = write_cutout(tmp_path / "one.fits", cube, scale / 3600)
    image = read_cutout(path, resample=True).image
    np.testing.assert_allclose(image.sum(axis=(1, 2)), flux, rtol=1e-4)
    within = 1 - np.exp(-(3.0**2) / (2 * sigma**2))
    np.testing.assert_allclose(aperture_flux(image, 3.0), flux * within, rtol=0.02)
    with pytest.raises(CutoutError, match="pixel scale"):
        read_cutout(path)


def test_bands_are_taken_by_name(tmp_path):
    cube = np.arange(1.0, 5.0)[:, None, None] * np.ones((4, 160, 160))
    path = write_cutout(tmp_path / "four.fits", cube, BANDS="griz")
    cutout = read_cutout(path)
    assert cutout.image[:, 0, 0].tolist() == [1.0, 2.0, 4.0]
    assert (cutout.ra, cutout.dec) == pytest.approx((10.0, 20.0))
    shuffled = write_cutout(tmp_path / "zgr.fits", cube[:3], BANDS=None, BAND0="z", BAND1="g", BAND2="r")
    assert read_cutout(shuffled).image[:, 0, 0].tolist() == [2.0, 3.0, 1.0]


def test_the_central_pixels_are_cut_out(tmp_path):
    cube = np.arange(3 * 165 * 161, dtype=np.float32).reshape(3, 165, 161) + 1
    image = read_cutout(write_cutout(tmp_path / "one.fits", cube)).image
    np.testing.assert_array_equal(image, cube[:, 6:158, 4:156])


def test_position_is_that_of_the_middle(tmp_path):
    path = write_cutout(tmp_path / "off.fits", CRPIX1=40.5, CRPIX2=80.5)  # 40 pixels from the reference to the middle
    cutout = read_cutout(path)
    assert (cutout.ra - 10.0) * np.cos(np.radians(20.0)) * 3600 == pytest.approx(-40 * 0.262, abs=1e-3)
    assert cutout.dec == pytest.approx(20.0, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"cube": np.ones((3, 100, 160))}, "field too small", "160 by 100 pixels of 0.262 arcsec; expected at least 152"),
        ({"cube": np.ones((2, 160, 160)), "BANDS": "gr"}, "bands g, r, z not all in the file", "2 planes of bands g, r;"),
        ({"BANDS": None}, "bands g, r, z not all in the file", "3 planes of bands unnamed"),
        ({"cube": np.ones((160, 160))}, "no image cube", "no image cube in the first HDU"),
        ({"CTYPE1": None, "CTYPE2": None}, "no celestial WCS", "no celestial WCS in the header"),
        ({"CD1_1": NATIVE_DEG}, "not north up and east left", "expected square pixels, north up and east left"),
        ({"CD1_2": NATIVE_DEG / 9, "CD2_1": NATIVE_DEG / 9}, "not north up and east left", "expected square pixels"),
        ({"scale_deg": 0.26 / 3600}, "pixel scale not native", "request the cut-out with pixscale=0.262"),
        ({"cube": np.full((3, 160, 160), np.nan)}, "image not finite", "image not finite"),
    ],
)  # fmt: skip
def test_headers_and_pixels_are_checked(tmp_path, options, kind, message):
    path = write_cutout(tmp_path / "odd.fits", **options)
    with pytest.raises(CutoutError, match=rf"odd\.fits: .*{message}") as refused:
        read_cutout(path)
    assert refused.value.kind == kind
    reader = LegacyCutouts(tmp_path)
    index = reader.index(path)
    if len(index):  # what the header does not tell, the pixels do
        assert reader.load(path, index.columns["row"]).faults.tolist() == [kind]
    else:
        assert index.dropped == {kind: 1}


def test_a_field_too_small_for_the_native_grid(tmp_path):
    path = write_cutout(tmp_path / "small.fits", np.ones((3, 390, 390)), 0.1 / 3600)
    with pytest.raises(
        CutoutError, match=r"390 by 390 pixels of 0\.100 arcsec; expected at least 152 by 152 of 0\.262"
    ):
        read_cutout(path, resample=True)


def test_a_bad_pixel_matters_within_the_field_alone(tmp_path):
    cube = np.ones((3, 424, 424))
    cube[:, :2], cube[0, :, -1] = np.nan, np.inf
    np.testing.assert_allclose(
        read_cutout(write_cutout(tmp_path / "a.fits", cube, 0.1 / 3600), True).image, 1, rtol=1e-6
    )
    cube[1, 200, 200] = np.nan
    with pytest.raises(CutoutError, match="image not finite"):
        read_cutout(write_cutout(tmp_path / "b.fits", cube, 0.1 / 3600), resample=True)


def test_a_folder_of_real_cutouts(realdata, tmp_path, caplog):
    for path in (realdata / "legacy").glob("*.fits"):
        shutil.copy(path, tmp_path)
    reader = LegacyCutouts(tmp_path)
    assert [path.stem for path in reader.files()] == sorted([*MAGNITUDES, *REFUSED])
    with caplog.at_level(logging.WARNING):
        indices = {path.stem: reader.index(path) for path in reader.files()}
    assert {name: index.read for name, index in indices.items()} == dict.fromkeys(indices, 1)
    assert {name: index.dropped for name, index in indices.items() if not len(index)} == {
        name: {kind: 1} for name, (kind, _) in REFUSED.items()
    }
    assert sorted(record.args[0].found.split(".fits")[0].split("/")[-1] for record in caplog.records) == sorted(REFUSED)
    for name in MAGNITUDES:
        columns = indices[name].columns
        assert columns["row"].tolist() == [0]
        assert columns["target_id"].tolist() == [-1]
        assert columns["hemisphere"].tolist() == ["south"]
        payload = reader.load(tmp_path / f"{name}.fits", columns["row"])
        np.testing.assert_array_equal(payload.columns["image"][0], read_cutout(tmp_path / f"{name}.fits").image)
        assert payload.faults.tolist() == [""]


def test_resampling_is_an_option_that_is_recorded(realdata):
    reader = LegacyCutouts(realdata / "legacy", resample=True)
    assert reader.options() == {"resample": True}
    assert LegacyCutouts(realdata / "legacy").options() == {"resample": False}
    faults = {}
    for path in reader.files():
        index = reader.index(path)
        faults[path.stem] = [*reader.load(path, index.columns["row"]).faults, *index.dropped]
    assert faults == {
        "gzdecals_example_a": [""],
        "gzdecals_example_bad_pix": ["g band missing (mostly exactly zero)"],
        "gzdecals_example_incomplete": ["file damaged"],
        "zoobot_example_a": [""],
        "zoobot_example_b": [""],
    }


@pytest.mark.parametrize(
    ("ra", "dec", "hemisphere"),
    [(180.0, 32.0, "south"), (180.0, 33.0, "north"), (20.0, 33.0, "south"), (20.0, -40.0, "south")],
)
def test_hemisphere_by_position(tmp_path, ra, dec, hemisphere):
    index = LegacyCutouts(tmp_path).index(write_cutout(tmp_path / "one.fits", ra=ra, dec=dec))
    assert index.columns["hemisphere"].tolist() == [hemisphere]


def test_a_file_damaged_after_indexing_is_counted(tmp_path):
    path = write_cutout(tmp_path / "one.fits")
    reader = LegacyCutouts(tmp_path)
    assert len(reader.index(path)) == 1
    path.write_bytes(path.read_bytes()[:40_000])
    payload = reader.load(path, np.array([0]))
    assert payload.faults.tolist() == ["file damaged"]
    assert payload.columns["image"].shape == (1, 3, 152, 152)
