"""Real DESI coadds are read, and what cannot be used is refused with its reason."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.errors import DataError
from astroclip_bench.records import WAVELENGTH_START_ANGSTROM, WAVELENGTH_STEP_ANGSTROM
from dataset_builders.desi_legacy.coadd import Arm, combine_arms, read_coadd

fits = pytest.importorskip("astropy.io.fits")


def test_targets_of_a_real_coadd(realdata):
    coadd = read_coadd(realdata / "desi/coadd-sv3-dark-26065.fits")
    assert coadd.target_id.tolist() == [39627866878511337, 39627866878514741]
    assert coadd.dropped == {"negative TARGETID": 2, "sky fibre": 1, "no pixel with positive ivar": 0}
    assert coadd.flux.shape == coadd.ivar.shape == coadd.mask.shape == (2, 7781)
    assert coadd.flux.dtype == np.float32
    assert coadd.ra[0] == pytest.approx(216.90419697)
    assert not coadd.mask[coadd.ivar > 0].any()
    assert (coadd.mask[0] > 0).sum() == 35


def test_a_bright_galaxy(realdata):
    coadd = read_coadd(realdata / "desi/coadd-4-80613-thru20210324.fits")
    assert coadd.target_id.tolist() == [39633345008634465]
    signal_to_noise = coadd.flux[0] * np.sqrt(coadd.ivar[0])
    assert 4 < np.median(signal_to_noise) < 7


def test_arms_outside_and_inside_the_overlaps(realdata):
    path = realdata / "desi/coadd-4-80613-thru20210324.fits"
    coadd = read_coadd(path)
    wave = WAVELENGTH_START_ANGSTROM + WAVELENGTH_STEP_ANGSTROM * np.arange(7781)
    with fits.open(path) as hdus:
        arms = {
            name: tuple(hdus[f"{name}_{kind}"].data for kind in ("WAVELENGTH", "FLUX", "IVAR"))
            for name in ("B", "R", "Z")
        }
    covering = sum(((wave > w[0] - 0.1) & (wave < w[-1] + 0.1)).astype(int) for w, _, _ in arms.values())
    assert (covering == 2).sum() == 51 + 126
    for w, flux, ivar in arms.values():
        here = (wave > w[0] - 0.1) & (wave < w[-1] + 0.1)
        alone = here & (covering == 1)
        np.testing.assert_array_equal(coadd.flux[0, alone], flux[0, alone[here]])
        np.testing.assert_array_equal(coadd.ivar[0, alone], ivar[0, alone[here]])
    both = (wave > 5759.9) & (wave < 5800.1)
    (_, blue, blue_ivar), (_, red, red_ivar) = arms["B"], arms["R"]
    total = blue_ivar[0, -51:] + red_ivar[0, :51]
    np.testing.assert_allclose(coadd.ivar[0, both], total, rtol=1e-6)
    mean = (blue[0, -51:] * blue_ivar[0, -51:] + red[0, :51] * red_ivar[0, :51]) / total
    np.testing.assert_allclose(coadd.flux[0, both], mean, rtol=1e-5, atol=1e-6)


def test_masks_and_missing_weights():
    one, two = np.ones((1, 7780)), np.full((1, 2), 3.0)
    ivar_one, ivar_two = np.ones((1, 7780)), np.full((1, 2), 3.0)
    # The arms share pixel 7779. Pixel 5 is masked and outside the overlap: its flux is copied, its mask stays.
    mask_one, mask_two = np.zeros((1, 7780), np.uint32), np.zeros((1, 2), np.uint32)
    ivar_one[0, 5], mask_one[0, 5] = 0.0, 4
    mask_one[0, 7779], ivar_one[0, 7779], mask_two[0, 0] = 1, 0.0, 2
    flux, ivar, mask = combine_arms([Arm(0, one, ivar_one, mask_one), Arm(7779, two, ivar_two, mask_two)])
    assert (flux[0, 5], ivar[0, 5], mask[0, 5]) == (1.0, 0.0, 4)
    assert (flux[0, 7779], ivar[0, 7779], mask[0, 7779]) == (3.0, 3.0, 0)
    ivar_two[0, 0] = 0.0
    flux, ivar, mask = combine_arms([Arm(0, one, ivar_one, mask_one), Arm(7779, two, ivar_two, mask_two)])
    assert (flux[0, 7779], ivar[0, 7779], mask[0, 7779]) == (0.0, 0.0, 3)


def test_hdus_are_found_by_name(realdata, tmp_path):
    path = realdata / "desi/coadd-4-80613-thru20210324.fits"
    with fits.open(path) as hdus:
        whole = list(hdus)
        fits.HDUList([whole[0], *whole[:0:-1]]).writeto(tmp_path / "reversed.fits")
        fits.HDUList([hdu for hdu in whole if hdu.name != "R_IVAR"]).writeto(tmp_path / "missing.fits")
        hdus["B_WAVELENGTH"].data = hdus["B_WAVELENGTH"].data + 0.3
        hdus.writeto(tmp_path / "shifted.fits")
    np.testing.assert_array_equal(read_coadd(tmp_path / "reversed.fits").flux, read_coadd(path).flux)
    with pytest.raises(DataError, match=r"missing.fits: HDU R_IVAR is missing; expected it among PRIMARY, FIBERMAP"):
        read_coadd(tmp_path / "missing.fits")
    with pytest.raises(DataError, match=r"shifted.fits: B_WAVELENGTH runs from 3600.3"):
        read_coadd(tmp_path / "shifted.fits")


def test_a_redrock_file_is_no_coadd(realdata):
    with pytest.raises(DataError, match=r"redrock-4-80613.*HDU B_WAVELENGTH is missing"):
        read_coadd(realdata / "desi/redrock-4-80613-thru20210324.fits")
