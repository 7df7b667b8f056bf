"""Pictures of the viewer, turned back into fluxes."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.errors import DataError, StorageError
from dataset_builders.display import dr2_rgb
from dataset_builders.upstream.legacy_cutout import read_cutout
from dataset_builders.upstream.legacy_jpeg import read_picture

Image = pytest.importorskip("PIL.Image")

BANDS_PER_GREEN = np.array([1.0, 1.6, 2.1])[:, None, None]


def save_picture(path, image, **options):
    """Save fluxes (3, H, W), first row south, as the viewer does: first row north."""
    Image.fromarray(np.rint(dr2_rgb(image)[::-1] * 255).astype(np.uint8)).save(path, **options)
    return path


def galaxy(size, scale_arcsec, east_arcsec=0.0, north_arcsec=0.0, peak=0.05, width_arcsec=2.0):
    """Return a round source on empty sky, rows from south to north, columns from east to west."""
    offset = (np.arange(size) - (size - 1) / 2) * scale_arcsec
    square = (offset[:, None] - north_arcsec) ** 2 + (offset[None, :] + east_arcsec) ** 2
    return peak * np.exp(-square / (2 * width_arcsec**2)) * BANDS_PER_GREEN


def test_fluxes_come_back_to_the_steps_of_8_bits(tmp_path):
    image = galaxy(96, 0.262)
    picture = read_picture(save_picture(tmp_path / "a.png", image), 0.262, 96)
    assert picture.image.dtype == np.float32
    np.testing.assert_allclose(picture.image, image, atol=1.5e-3)
    assert not picture.clipped.any()


def test_north_is_the_last_row_and_west_the_last_column(tmp_path):
    image = galaxy(256, 0.1, east_arcsec=5.0, north_arcsec=8.0)
    picture = read_picture(save_picture(tmp_path / "a.png", image), 0.1, 96)
    row, column = np.unravel_index(picture.image[1].argmax(), (96, 96))
    assert (row - 47.5) * 0.262 == pytest.approx(8.0, abs=0.2)
    assert (column - 47.5) * 0.262 == pytest.approx(-5.0, abs=0.2)


@pytest.mark.parametrize(("size", "scale"), [(256, 0.1), (96, 0.262), (60, 0.45)])
def test_flux_does_not_depend_on_the_pixel_scale(tmp_path, size, scale):
    """A value is nanomaggies a native pixel whatever the scale, so the sum is the integral over native pixels."""
    picture = read_picture(save_picture(tmp_path / "a.png", galaxy(size, scale)), scale, 96)
    wanted = 0.05 * 2 * np.pi * 2.0**2 / 0.262**2 * BANDS_PER_GREEN[:, 0, 0]
    offset = (np.arange(96) - 47.5) * 0.262
    near = np.hypot(offset[:, None], offset) < 9
    np.testing.assert_allclose(picture.image[:, near].sum(axis=1), wanted, rtol=0.02)


def test_clipped_colours_are_flagged_and_lower_bounds(tmp_path):
    image = galaxy(96, 0.262, peak=5.0)
    picture = read_picture(save_picture(tmp_path / "a.png", image), 0.262, 96)
    clipped = (dr2_rgb(image) >= 1).any(axis=-1)
    assert clipped.sum() > 100
    assert (picture.clipped & clipped).sum() == clipped.sum()
    assert picture.clipped.sum() < 1.1 * clipped.sum()
    assert (picture.image[:, clipped] < image[:, clipped]).all()
    np.testing.assert_allclose(picture.image[:, ~picture.clipped], image[:, ~picture.clipped], rtol=0.03, atol=2e-3)


def test_a_real_image_as_picture_lies_as_it_does_in_its_fits_file(realdata, tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    path = realdata / "legacy/gzdecals_example_a.fits"
    picture = save_picture(tmp_path / "a.jpeg", fits.getdata(path), quality=90, subsampling=2)
    found = read_picture(picture, 0.1, 152)
    wanted = read_cutout(path, resample=True).image
    unclipped = ~found.clipped
    assert 100 < found.clipped.sum() < 1000

    def likeness(image):
        return np.corrcoef(np.arcsinh(image[1, unclipped] / 0.01), np.arcsinh(wanted[1, unclipped] / 0.01))[0, 1]

    assert likeness(found.image) > 0.98
    for turned in (found.image[:, ::-1], found.image[:, :, ::-1], found.image.transpose(0, 2, 1)):
        assert likeness(turned) < 0.9
    ratio = found.image[:, unclipped].sum(axis=1) / wanted[:, unclipped].sum(axis=1)
    np.testing.assert_allclose(ratio, 1.0, atol=0.02)


def test_what_is_no_picture_is_one_line(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        read_picture(tmp_path / "none.jpeg", 0.1, 96)
    whole = save_picture(tmp_path / "whole.jpeg", galaxy(256, 0.1), quality=90)
    (tmp_path / "part.jpeg").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "text.jpeg").write_text("not a picture")
    Image.new("L", (256, 256)).save(tmp_path / "grey.jpeg")
    for name, message in (
        ("part", "not a readable picture"),
        ("text", "not a readable picture"),
        ("grey", "mode L; expected the colours"),
    ):
        with pytest.raises(DataError, match=rf"{name}\.jpeg: .*{message}"):
            read_picture(tmp_path / f"{name}.jpeg", 0.1, 96)
    with pytest.raises(DataError, match=r"a field of 25\.6 arcsec; expected at least 39\.8"):
        read_picture(whole, 0.1, 152)
