"""Changes to images: what each conserves, and by how much it changes the rest."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from astroclip_bench.records import PIXEL_SCALE_ARCSEC
from baselines.astroclip import augment_image as augment
from baselines.astroclip.augment_image import ImageAugmentation, MultiCrop

SIZE = 80
NOTHING = ImageAugmentation(
    size=SIZE, rotation="none", flip=False, size_range=(1, 1), jitter=0, reddening=0, blur=0, noise=0
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def source(sigma=3.0, x=0.0, y=0.0, n=1, size=SIZE):
    """Return (n, 3, size, size) Gaussian sources of flux 1 at (x, y) pixels from the centre."""
    axis = torch.arange(size) - (size - 1) / 2
    profile = torch.exp(-((axis[None] - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * sigma**2))
    return (profile / (2 * math.pi * sigma**2)).expand(n, 3, size, size)


def moments(image):
    """Return flux, centre (x, y), and standard deviation along an axis of (..., size, size), in pixels."""
    axis = torch.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
    flux = image.sum((-2, -1))
    x, y = (image.sum(-2) * axis).sum(-1) / flux, (image.sum(-1) * axis).sum(-1) / flux
    variance = ((image.sum(-2) * axis**2).sum(-1) / flux - x**2 + (image.sum(-1) * axis**2).sum(-1) / flux - y**2) / 2
    return flux, x, y, variance.sqrt()


def warp(image, angle=0.0, mirror=(1.0, 1.0), magnification=1.0, shift=(0.0, 0.0), size=SIZE):
    n = len(image)
    return augment.warp(
        image,
        torch.full((n,), angle),
        torch.tensor(mirror).expand(n, 2),
        torch.full((n,), magnification),
        torch.tensor(shift).expand(n, 2),
        size,
    )


def test_nothing_is_the_central_crop():
    image = torch.randn(2, 3, 152, 152, generator=seeded())
    torch.testing.assert_close(
        augment.augment_image(image, seeded(), replace(NOTHING, size=144)), image[..., 4:148, 4:148], rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("angle", [0.3, 1.2, 2.5, 5.0])
def test_rotation_conserves_flux_and_turns_about_the_centre(angle):
    flux, x, y, sigma = moments(warp(source(x=12.0, y=5.0), angle))
    torch.testing.assert_close(flux, torch.ones(1, 3), rtol=0, atol=2e-4)
    torch.testing.assert_close(x, torch.full((1, 3), 12 * math.cos(angle) - 5 * math.sin(angle)), rtol=0, atol=5e-3)
    torch.testing.assert_close(y, torch.full((1, 3), 12 * math.sin(angle) + 5 * math.cos(angle)), rtol=0, atol=5e-3)
    torch.testing.assert_close(sigma, torch.full((1, 3), 3.0), rtol=0.03, atol=0)  # bilinear: sigma^2 + 1/6 on average


def test_quarter_turns_and_mirrors_only_move_pixels():
    image = torch.randn(2, 3, SIZE, SIZE, generator=seeded())
    close = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(warp(image, math.pi / 2), image.rot90(-1, (-2, -1)), **close)
    torch.testing.assert_close(warp(image, math.pi), image.flip(-1, -2), **close)
    torch.testing.assert_close(warp(image, mirror=(-1.0, 1.0)), image.flip(-1), **close)
    torch.testing.assert_close(warp(image, mirror=(1.0, -1.0)), image.flip(-2), **close)
    torch.testing.assert_close(warp(image, shift=(3.0, -2.0), size=60), image[..., 8:68, 13:73], **close)
    settings = replace(NOTHING, rotation="quarter", flip=True)
    turned = augment.augment_image(image[:1].expand(200, -1, -1, -1), seeded(), settings)
    kinds = [image[0].rot90(k, (-2, -1)).flip(-1 if flip else ()) for k in range(4) for flip in (0, 1)]
    nearest = torch.stack([(turned - kind).abs().amax((1, 2, 3)) for kind in kinds])
    assert nearest.amin(0).max() < 1e-4
    assert nearest.argmin(0).bincount(minlength=8).min() > 10  # of 200: each of the eight is drawn


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_magnification_keeps_surface_brightness(factor):
    seen = warp(source(sigma=4.0, x=6.0), magnification=factor)
    flux, x, _, sigma = moments(seen)
    torch.testing.assert_close(seen.amax(), source(sigma=4.0).amax(), rtol=0.03, atol=0)
    torch.testing.assert_close(flux, torch.full((1, 3), factor**2), rtol=1e-3, atol=0)
    torch.testing.assert_close(x, torch.full((1, 3), 6 * factor), rtol=0, atol=1e-2)
    torch.testing.assert_close(sigma, torch.full((1, 3), 4 * factor), rtol=0.02, atol=0)


def test_sky_stays_sky_up_to_the_corners():
    settings = replace(ImageAugmentation(), size=144, reddening=0, noise=0)
    seen = augment.augment_image(torch.full((8, 3, 152, 152), 0.7), seeded(), settings)
    torch.testing.assert_close(seen, torch.full_like(seen, 0.7), rtol=0, atol=1e-5)


def test_blur_adds_widths_in_quadrature_and_conserves_flux():
    fwhm = torch.tensor([[0.0, 1.0, 2.0], [1.5, 3.0, 0.5]])
    flux, x, y, sigma = moments(augment.blur(source(x=2.0, n=2), fwhm))
    torch.testing.assert_close(flux, torch.ones(2, 3), rtol=0, atol=1e-4)
    torch.testing.assert_close((x, y), (torch.full((2, 3), 2.0), torch.zeros(2, 3)), rtol=0, atol=1e-3)
    own = 3.0 * augment.FWHM_PER_SIGMA * PIXEL_SCALE_ARCSEC
    expected = (own**2 + fwhm**2).sqrt()
    torch.testing.assert_close(sigma * augment.FWHM_PER_SIGMA * PIXEL_SCALE_ARCSEC, expected, rtol=1e-3, atol=0)


def test_blur_loses_nothing_at_the_edge():
    image = torch.zeros(1, 3, SIZE, SIZE)
    image[..., 0, 5] = 1
    torch.testing.assert_close(augment.blur(image, torch.full((1, 3), 4.0)).sum((-2, -1)), torch.ones(1, 3))


def test_noise_has_the_variance_asked_for():
    sigma = torch.tensor([[0.002, 0.0, 0.02], [0.01, 0.005, 0.001]])
    noise = augment.add_noise(torch.zeros(2, 3, 152, 152), sigma, seeded())
    torch.testing.assert_close(noise.std((-2, -1)), sigma, rtol=0.03, atol=0)
    assert noise.mean((-2, -1)).abs().max() < 4 * 0.02 / 152
    flat = noise[0, 0].flatten(), noise[0, 2].flatten(), noise[1, 2].flatten()
    assert np.abs(np.corrcoef(torch.stack(flat).numpy()) - np.eye(3)).max() < 0.03


def test_white_noise_is_the_same_everywhere():
    width = torch.tensor([[1.0, 2.0, 5.0], [0.1, 0.0, 0.3]])
    image = 7 + width[..., None, None] * torch.randn(2, 3, SIZE, SIZE, generator=seeded(1))
    plain, noisy = (augment.augment_image(image, seeded(), replace(NOTHING, white=share)) for share in (0.0, 0.03))
    torch.testing.assert_close((noisy - plain).std((-2, -1)), 0.03 * width, rtol=0.05, atol=1e-7)


def test_reddening_follows_the_extinction_law():
    ebv = torch.tensor([0.0, 0.3, 1.0])
    dimmed = augment.redden(torch.ones(3, 3, 2, 2), ebv)
    magnitude = -2.5 * dimmed[..., 0, 0].log10()
    torch.testing.assert_close(magnitude, ebv[:, None] * torch.tensor([3.214, 2.165, 1.211]), rtol=0, atol=1e-4)


def test_draws_follow_the_survey():
    settings = replace(NOTHING, noise=1.0)
    noise = augment.augment_image(torch.zeros(4000, 3, 8, 8), seeded(), replace(settings, size=8)).std((-2, -1))
    rng = np.random.default_rng(0)
    for band, (shape, location, scale) in enumerate(augment.NOISE_NMGY):
        own, other = location + scale * np.exp(shape * rng.standard_normal((2, 400_000)))
        expected = np.sqrt(np.mean(np.maximum(other**2 - own**2, 0)))
        assert float(noise[:, band].square().mean().sqrt()) == pytest.approx(expected, rel=0.05)
        assert float((noise[:, band] == 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    median = [(loc + scale) * augment.FWHM_PER_SIGMA * PIXEL_SCALE_ARCSEC for _, loc, scale in augment.PSF_SIGMA_PIXELS]
    assert median == pytest.approx([1.48, 1.33, 1.24], abs=0.01)


def test_reddening_and_jitter_reach_their_limits():
    settings = replace(NOTHING, reddening=1.0)
    seen = augment.augment_image(torch.ones(2000, 3, 4, 4), seeded(), replace(settings, size=4))[:, 0, 0, 0]
    ebv = seen.log10() / augment.EXTINCTION_EXPONENT[0]
    assert 0 <= ebv.min() < 0.01
    assert 0.99 < ebv.max() <= 1.00001
    ramp = torch.arange(40.0).expand(500, 3, 40, 40)
    centre = augment.augment_image(ramp, seeded(), replace(NOTHING, jitter=7, size=2))[:, 0].mean((-2, -1)) - 19.5
    assert sorted(set(centre.round().int().tolist())) == list(range(-7, 8))


def test_share_of_galaxies():
    settings = replace(NOTHING, size=8, noise=0.3)
    noise = augment.augment_image(torch.zeros(4000, 3, 8, 8), seeded(), settings).abs().amax((-3, -2, -1))
    # A chosen galaxy is noisier in at least one band unless the other place is deeper in all three.
    assert float((noise > 0).float().mean()) == pytest.approx(0.3 * (1 - 0.5**3), abs=0.02)


def test_repeats_for_a_seed_and_for_no_other():
    image = torch.rand(3, 3, 60, 60, generator=seeded())
    settings = replace(ImageAugmentation(), size=40)
    first = augment.augment_image(image, seeded(5), settings)
    assert torch.equal(first, augment.augment_image(image, seeded(5), settings))
    assert not torch.allclose(first, augment.augment_image(image, seeded(6), settings))
    same = augment.augment_image(image[:1].expand(2, -1, -1, -1), seeded(5), settings)
    assert not torch.allclose(same[0], same[1])  # each galaxy has draws of its own


def test_autocast_does_not_round_the_images():
    image = torch.rand(2, 3, 60, 60, generator=seeded())
    settings = replace(ImageAugmentation(), size=40)
    with torch.autocast("cpu", torch.bfloat16):
        low = augment.augment_image(image, seeded(1), settings)
    assert torch.equal(low, augment.augment_image(image, seeded(1), settings))


def test_multi_crop_views_are_windows_of_the_image():
    size, local = 40, 12
    image = torch.arange(size * size, dtype=torch.float32).reshape(1, 1, size, size).expand(6, 3, size, size)
    settings = MultiCrop(global_size=36, local_size=local, local_views=8, flip=False, degraded=(0.0, 0.0, 0.0))
    whole, parts = augment.multi_crop(image, seeded(), settings)
    assert [tuple(view.shape) for view in whole] == [(6, 3, 36, 36)] * 2
    assert [tuple(view.shape) for view in parts] == [(6, 3, local, local)] * 8
    corners = set()
    for view in parts:
        first = view[:, 0, 0, 0].round()
        row, column = (first // size).int(), (first % size).int()
        corners |= set(zip(row.tolist(), column.tolist(), strict=True))
        for galaxy, (top, left) in enumerate(zip(row.tolist(), column.tolist(), strict=True)):
            window = image[galaxy, :, top : top + local, left : left + local]
            torch.testing.assert_close(view[galaxy], window, rtol=0, atol=1e-2)
    assert len(corners) > 30  # of 48


def test_multi_crop_degrades_each_view_at_its_own_rate():
    settings = MultiCrop(global_size=8, local_size=4, local_views=1, flip=False, degraded=(1.0, 0.0, 0.5))
    (first, second), (local,) = augment.multi_crop(torch.zeros(500, 3, 8, 8), seeded(), settings)
    shares = [float((view.abs().amax((1, 2, 3)) > 0).float().mean()) for view in (first, second, local)]
    assert shares == pytest.approx([0.875, 0.0, 0.4375], abs=0.07)


@pytest.mark.gpu
def test_a_gpu_does_the_same_to_each_galaxy():
    image = torch.rand(4, 3, 60, 60, generator=seeded())
    settings = replace(ImageAugmentation(), size=40, noise=0.0)
    here = augment.augment_image(image, seeded(1), settings)
    torch.testing.assert_close(augment.augment_image(image.cuda(), seeded(1), settings).cpu(), here, rtol=0, atol=1e-4)
