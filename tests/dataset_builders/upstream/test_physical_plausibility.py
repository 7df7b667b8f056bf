"""Numbers read from the real files are what physics and independent measurements say they are."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.records import PIXEL_SCALE_ARCSEC, spectrum_modality, wavelength_angstrom
from dataset_builders.splits import healpix_pixel
from dataset_builders.upstream.bricks import brick_centre
from dataset_builders.upstream.desi_coadd import DesiCoadds
from dataset_builders.upstream.desi_targets import decode_target_id
from dataset_builders.upstream.legacy_cutout import read_cutout
from dataset_builders.upstream.sdss_spectrum import SdssSpectra

fits = pytest.importorskip("astropy.io.fits")

WAVELENGTH = wavelength_angstrom(spectrum_modality())
LIGHT_SPEED_ANGSTROM_PER_S = 2.99792458e18
NMGY_PER_CGS = 1e9 / 3.631e-20
"""Nanomaggies (AB) for one erg/s/cm2/Hz."""
BRIGHT, DARK = "desi/coadd-4-80613-thru20210324.fits", "desi/coadd-sv3-dark-26065.fits"


def band_flux_nmgy(flux, ivar, low_angstrom, high_angstrom):
    """Return the AB flux in a band of constant transmission to photons."""
    wavelength = WAVELENGTH
    inside = (wavelength > low_angstrom) & (wavelength < high_angstrom) & (ivar > 0)
    wavelength = wavelength[inside]
    photons = (flux[inside].astype(float) * 1e-17 * wavelength).sum()
    return photons / (LIGHT_SPEED_ANGSTROM_PER_S / wavelength).sum() * NMGY_PER_CGS


def load(reader, path):
    index = reader.index(path)
    return index.columns, reader.load(path, index.columns["row"]).columns


@pytest.mark.parametrize("name", [BRIGHT, DARK])
def test_signal_to_noise_is_that_of_the_pixels_of_the_r_arm(realdata, name):
    reader = DesiCoadds(realdata / name, redshifts="none")
    light, _ = load(reader, realdata / name)
    with fits.open(realdata / name) as hdus:
        arm = (hdus["R_WAVELENGTH"].data >= 5800) & (hdus["R_WAVELENGTH"].data < 7600)
        ratio = (hdus["R_FLUX"].data * np.sqrt(hdus["R_IVAR"].data))[light["row"]][:, arm]
        depth = (
            hdus["SCORES"].data["TSNR2_LRG"][light["row"]] if "TSNR2_LRG" in hdus["SCORES"].columns.names else np.nan
        )
    np.testing.assert_allclose(light["snr"], np.median(ratio, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(light["tsnr2_lrg"], depth)


@pytest.mark.parametrize(("band", "limits"), [("G", (4000, 5500)), ("R", (5650, 7150)), ("Z", (8300, 9800))])
def test_the_desi_spectrum_has_the_flux_of_its_photometry(realdata, band, limits):
    """DESI calibrates as for point sources: the flux in the fibre is smaller by PSF_TO_FIBER_SPECFLUX."""
    _, heavy = load(DesiCoadds(realdata / BRIGHT), realdata / BRIGHT)
    with fits.open(realdata / BRIGHT) as hdus:
        target = hdus["FIBERMAP"].data[0]
    in_fibre = band_flux_nmgy(heavy["flux"][0], heavy["ivar"][0], *limits) * target["MEAN_PSF_TO_FIBER_SPECFLUX"]
    assert abs(2.5 * np.log10(in_fibre / target[f"FIBERFLUX_{band}"])) < 0.2


@pytest.mark.parametrize("vacuum_angstrom", [4862.68, 4960.295, 5008.24, 6564.61])
def test_lines_of_the_desi_galaxy_are_where_its_redshift_puts_them(realdata, vacuum_angstrom):
    light, heavy = load(DesiCoadds(realdata / BRIGHT), realdata / BRIGHT)
    expected, flux = vacuum_angstrom * (1 + light["redshift"][0]), heavy["flux"][0]
    distance = np.abs(WAVELENGTH - expected)
    excess = flux[distance < 6] - np.median(flux[(distance > 15) & (distance < 60)])
    centre = (WAVELENGTH[distance < 6] * excess).sum() / excess.sum()
    # A third of a pixel; in air the lines would be 1.4 angstrom and more away.
    assert abs(centre - expected) < 0.27


def test_targets_lie_in_their_brick_and_in_the_pixel_of_their_file(realdata):
    for name in (BRIGHT, DARK):
        light = DesiCoadds(realdata / name, redshifts="none").index(realdata / name).columns
        ra, dec = brick_centre(decode_target_id(light["target_id"]).brick_id)
        assert np.abs((ra - light["ra"]) * np.cos(np.radians(dec))).max() < 0.126
        assert np.abs(dec - light["dec"]).max() < 0.126
    np.testing.assert_array_equal(healpix_pixel(light["ra"], light["dec"]), light["desi_healpix"])


def test_sdss_spectra_have_the_flux_that_the_pipeline_synthesised(realdata):
    folder = realdata / "pairs/spectra"
    for path in SdssSpectra(folder).files():
        _, heavy = load(SdssSpectra(folder), path)
        with fits.open(path) as hdus:
            names = {name.upper(): name for name in hdus[2].columns.names}
            expected = hdus[2].data[names["SPECTROFLUX"]][0]
        for place, limits in enumerate([(3950, 5400), (5550, 6990), (6900, 8200)], start=1):
            found = band_flux_nmgy(heavy["flux"][0], heavy["ivar"][0], *limits)
            assert found == pytest.approx(expected[place], rel=0.08), (path.name, "ugriz"[place])


@pytest.mark.parametrize(("plane", "place"), [(0, 1), (1, 2)])
def test_a_resampled_cutout_has_the_flux_of_the_sdss_fibre(realdata, plane, place):
    """The light within SDSS's 3 arcsec, from two surveys; nanomaggies for the file's own pixels would be 7 times more."""
    cutout = read_cutout(realdata / "legacy/gzdecals_example_a.fits", resample=True)
    rows, columns = np.indices(cutout.image.shape[1:]) - 75.5
    fibre = np.hypot(rows, columns) * PIXEL_SCALE_ARCSEC < 1.5
    with fits.open(realdata / "pairs/spectra/spec-0266-51602-0001.fits") as hdus:
        names = {name.upper(): name for name in hdus[2].columns.names}
        expected = hdus[2].data[names["SPECTROFLUX"]][0][place]
    assert cutout.image[plane][fibre].sum() == pytest.approx(expected, rel=0.05)
