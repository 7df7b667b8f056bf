"""Random changes to batches of images in nanomaggies, on the device they lie on, before any display transform.

They say what an embedding should not depend on: orientation, centring, apparent size, the dust of the Milky Way, and
how sharp and deep the survey was in that place (Stein et al. 2021, section 3.2). Every galaxy gets draws of its own.

With a generator on the CPU the same is done to each galaxy on every device; only the grains of the white noise differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from astroclip_bench.records import PIXEL_SCALE_ARCSEC
from baselines.astroclip.draws import integers, normal, uniform, white_noise

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))

LogNormal = Sequence[tuple[float, float, float]]
"""(shape, location, scale) of each band: location + scale exp(shape N(0, 1))."""
PSF_SIGMA_PIXELS: LogNormal = ((0.211, 1.081, 1.315), (0.301, 1.239, 0.916), (0.347, 1.193, 0.823))
"""Standard deviation of the point spread function in g, r, z over the survey (Stein et al. 2021); medians of 1.48,
1.33 and 1.24 arcsec full width at half maximum."""
NOISE_NMGY: LogNormal = ((0.226, -0.0007, 0.0038), (0.243, -0.0024, 0.0067), (0.133, -0.0143, 0.0261))
"""Noise of a pixel in g, r, z over the survey (Stein et al. 2021)."""
EXTINCTION_EXPONENT = (-1.2856, -0.8660, -0.4844)
"""log10 of the transmission in g, r, z at E(B-V) = 1: -0.4 x (3.214, 2.165, 1.211), the survey's A / E(B-V)."""


@dataclass(frozen=True)
class ImageAugmentation:
    """What is done to an image; the defaults are those of Stein et al. 2021.

    Parameters
    ----------
    size
        Pixels a side of what is returned; even where that of the images is, or all are interpolated.
    rotation
        By ``any`` angle, a ``quarter`` turn (which moves pixels and smooths nothing), or ``none``.
    flip
        Mirror along either axis, each for half of the galaxies.
    size_range
        Factors between which the apparent size is drawn.
    jitter
        Largest shift of the centre along each axis, in whole pixels.
    reddening
        Largest E(B-V) of the dust put in front.
    blur, noise
        Share of galaxies whose sharpness, whose depth, is changed to that of another place of the survey.
    white
        Standard deviation of white noise that is added to every pixel of all galaxies, over that of the pixels of the
        image in the band (0.03 in Siddiquei's reproduction, which does not say of what).
    """

    size: int = 96
    rotation: Literal["any", "quarter", "none"] = "any"
    flip: bool = True
    size_range: tuple[float, ...] = (0.9, 1.1)
    jitter: int = 7
    reddening: float = 1.0
    blur: float = 1.0
    noise: float = 1.0
    white: float = 0.0


@dataclass(frozen=True)
class MultiCrop:
    """The views of self-distillation; the defaults are those of AstroDINO (Parker et al. 2024, section 4.1).

    Parameters
    ----------
    global_size, local_size
        Pixels a side of the two global views and of the local ones. Each lies anywhere in the image, at its own scale.
    local_views
        Number of local views.
    rotation, flip, size_range, reddening
        As in `ImageAugmentation`.
    degraded
        Share of galaxies that are blurred, and share that are made noisier, in the first and the second global view
        and in the local ones.
    """

    global_size: int = 144
    local_size: int = 60
    local_views: int = 8
    rotation: Literal["any", "quarter", "none"] = "none"
    flip: bool = True
    size_range: tuple[float, ...] = (1.0, 1.0)
    reddening: float = 0.0
    degraded: tuple[float, ...] = (1.0, 0.1, 0.5)


def augment_image(image: Tensor, generator: Generator, settings: ImageAugmentation) -> Tensor:
    """Return changed images (n, 3, size, size) of images (n, 3, H, W), both in nanomaggies, bands g, r, z."""
    with torch.autocast(image.device.type, enabled=False):
        image = image.float()
        image = _random_warp(image, generator, settings)
        if settings.reddening:
            image = redden(image, settings.reddening * uniform(generator, len(image)))
        if settings.blur:
            fwhm = FWHM_PER_SIGMA * PIXEL_SCALE_ARCSEC * _excess(image, PSF_SIGMA_PIXELS, settings.blur, generator)
            image = blur(image, fwhm)
        if settings.noise:
            image = add_noise(image, _excess(image, NOISE_NMGY, settings.noise, generator), generator)
        if settings.white:
            image = add_noise(image, settings.white * image.std((-2, -1)), generator)
    return image


def multi_crop(image: Tensor, generator: Generator, settings: MultiCrop) -> tuple[list[Tensor], list[Tensor]]:
    """Return two global and some local views of images (n, 3, H, W) in nanomaggies."""
    sizes = [settings.global_size] * 2 + [settings.local_size] * settings.local_views
    first, second, local = settings.degraded
    shares = [first, second] + [local] * settings.local_views
    views = [
        augment_image(
            image,
            generator,
            ImageAugmentation(
                size=size,
                rotation=settings.rotation,
                flip=settings.flip,
                size_range=settings.size_range,
                jitter=(min(image.shape[-2:]) - size) // 2,
                reddening=settings.reddening,
                blur=share,
                noise=share,
            ),
        )
        for size, share in zip(sizes, shares, strict=True)
    ]
    return views[:2], views[2:]


def warp(image: Tensor, angle: Tensor, mirror: Tensor, magnification: Tensor, shift: Tensor, size: int) -> Tensor:
    """Rotate, mirror, magnify and cut out, in one bilinear interpolation.

    A pixel keeps its meaning, nanomaggies on so many square arcsec: surface brightness is unchanged, as by a change of
    distance, and total flux grows with the square of the magnification. Beyond the edge the image is reflected, so
    that sky stays sky. Interpolation between pixels lowers the noise (to 4/9 of its variance on average).

    Parameters
    ----------
    image
        (n, bands, H, W).
    angle
        (n) in radians, from the axis of columns to that of rows.
    mirror
        (n, 2), +1 or -1 along columns and rows.
    magnification
        (n) factors.
    shift
        (n, 2) of the centre of the cut-out, in pixels along columns and rows.
    size
        Pixels a side of the result.
    """
    height, width = image.shape[-2:]
    cosine, sine = angle.cos() / magnification, angle.sin() / magnification
    draws = torch.stack([cosine * mirror[:, 0], sine * mirror[:, 0], cosine * mirror[:, 1], sine * mirror[:, 1]])
    column_x, row_x, row_y, column_y = draws.to(image.device, torch.float32)[..., None, None]
    place_x, place_y = shift.to(image.device, torch.float32).T[..., None, None]
    axis = torch.arange(size, device=image.device) - (size - 1) / 2
    x, y = axis[None, None, :], axis[None, :, None]
    # Written out, since a matrix product may be rounded to TF32, a tenth of a pixel at the edge.
    source_x = column_x * x + row_x * y + place_x
    source_y = row_y * y - column_y * x + place_y
    grid = torch.stack([2 * source_x / width, 2 * source_y / height], dim=-1)
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def redden(image: Tensor, ebv: Tensor) -> Tensor:
    """Dim images (n, 3, H, W) by dust of the given E(B-V) (n)."""
    exponent = ebv[:, None] * torch.tensor(EXTINCTION_EXPONENT, device=ebv.device)
    return image * (10**exponent).to(image.device, image.dtype)[..., None, None]


def blur(image: Tensor, fwhm: Tensor) -> Tensor:
    """Convolve each band of each image with a Gaussian of its own, reflecting at the edges, conserving flux.

    Along either axis the convolution is a symmetric matrix, so that all galaxies are one batched product.

    Parameters
    ----------
    image
        (n, bands, size, size).
    fwhm
        (n, bands) full width at half maximum in arcsec, 0 for no change; widths of sources add in quadrature.
    """
    size = image.shape[-1]
    sigma = (fwhm / PIXEL_SCALE_ARCSEC / FWHM_PER_SIGMA).to(image.device, torch.float32).clamp(min=1e-3)[..., None]
    profile = torch.exp(-0.5 * (torch.arange(2 * size, device=image.device) / sigma) ** 2)
    profile = profile / (2 * profile.sum(-1, keepdim=True) - 1)
    row, column = torch.arange(size, device=image.device)[:, None], torch.arange(size, device=image.device)
    matrix = profile[..., (row - column).abs()] + profile[..., row + column + 1]
    matrix = matrix + profile[..., 2 * size - 1 - row - column]
    return matrix @ image @ matrix


def add_noise(image: Tensor, sigma: Tensor, generator: Generator) -> Tensor:
    """Add white Gaussian noise of the given standard deviation (n, bands), in nanomaggies, to (n, bands, H, W)."""
    return image + sigma.to(image.device, image.dtype)[..., None, None] * white_noise(generator, image)


def _random_warp(image: Tensor, generator: Generator, settings: ImageAugmentation) -> Tensor:
    n = len(image)
    turns = uniform(generator, n)
    mirrored = uniform(generator, n, 2) < 0.5
    low, high = settings.size_range
    magnification = low + (high - low) * uniform(generator, n)
    shift = integers(generator, -settings.jitter, settings.jitter, n, 2)
    turns = {"any": turns, "quarter": (4 * turns).floor() / 4, "none": 0 * turns}[settings.rotation]
    mirror = torch.where(mirrored & settings.flip, -1.0, 1.0)
    return warp(image, 2 * math.pi * turns, mirror, magnification, shift, settings.size)


def _excess(image: Tensor, law: LogNormal, share: float, generator: Generator) -> Tensor:
    """Return (n, bands): what the image's own width must be widened by, in quadrature, to become that of another place.

    The own width is not known: it is drawn from the survey's as well (as in Stein et al. 2021). Where the other place
    is the sharper or deeper one, and for all galaxies but `share`, it is 0.
    """
    own, other = (_log_normal(len(image), law, generator) for _ in range(2))
    chosen = uniform(generator, len(image), 1) < share
    return torch.where(chosen, (other**2 - own**2).clamp(min=0).sqrt(), 0.0)


def _log_normal(n: int, law: LogNormal, generator: Generator) -> Tensor:
    shape, location, scale = torch.tensor(law, device=generator.device).unbind(1)
    return location + scale * torch.exp(shape * normal(generator, n, len(law)))
