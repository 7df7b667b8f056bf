"""From raw columns to what the networks see: spectra to standardised slices, images to display or stretched planes.

Vectorised, on whatever device the columns are; every step acts on one galaxy at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from astroclip_bench.errors import EmbedderError
from astroclip_bench.plugins import suggest

MINIMUM_STD = 0.2
"""Floor of a spectrum's standard deviation, 1e-17 erg/s/cm2/Angstrom (Parker et al. 2024, section 4.2)."""
PADDING = 2
"""Zeros in front of each slice, so that the two statistics have places of their own in the first token."""
MEAN_OFFSET, MEAN_SCALE = 2.0, 2.0
STD_OFFSET, STD_SCALE = 2.0, 8.0

DISPLAY_OFFSET, DISPLAY_SOFTENING = 0.03, 20.0
DISPLAY_SCALES_PER_NANOMAGGY = (6.0, 3.4, 2.2)
"""Of bands g, r, z."""


def good_pixels(flux: Tensor, ivar: Tensor | None = None) -> Tensor:
    """Return where a spectrum can be used, bool (n, p): finite, and of positive inverse variance where that is given."""
    good = torch.isfinite(flux)
    return good if ivar is None else good & torch.isfinite(ivar) & (ivar > 0)


def standardise_spectrum(flux: Tensor, ivar: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Subtract each spectrum's mean and divide by its standard deviation, both over its good pixels.

    Parameters
    ----------
    flux, ivar
        (n, p); pixels that are not good (`good_pixels`) count in neither statistic and come back as 0, the mean.

    Returns
    -------
    standardised, mean, std
        (n, p), (n, 1) and (n, 1) float32; the standard deviation (n - 1 in the denominator) is at least `MINIMUM_STD`,
        and the mean of a spectrum without good pixels is 0.
    """
    good = good_pixels(flux, ivar)
    values = torch.where(good, flux.float(), 0.0)
    count = good.sum(1, keepdim=True)
    mean = values.sum(1, keepdim=True) / count.clamp_min(1)
    centred = torch.where(good, values - mean, 0.0)
    variance = centred.square().sum(1, keepdim=True) / (count - 1).clamp_min(1)
    std = variance.sqrt().clamp_min(MINIMUM_STD)
    return centred / std, mean, std


def slice_spectrum(standardised: Tensor, mean: Tensor, std: Tensor, length: int = 20, overlap: int = 10) -> Tensor:
    """Cut a standardised spectrum into overlapping slices, behind a token that holds its statistics.

    Parameters
    ----------
    standardised, mean, std
        From `standardise_spectrum`.
    length, overlap
        Pixels of a slice, and how many of them the next one shares. A last, shorter slice is left out.

    Returns
    -------
    slices
        (n, 1 + number of slices, PADDING + length): 778 x 22 of 7781 pixels.
    """
    slices = functional.pad(standardised.unfold(1, length, length - overlap), (PADDING, 0))
    statistics = torch.cat([(mean - MEAN_OFFSET) / MEAN_SCALE, (std - STD_OFFSET) / STD_SCALE], dim=1)
    first = functional.pad(statistics, (0, slices.shape[2] - PADDING))
    return torch.cat([first[:, None], slices], dim=1)


def fill_spectrum(flux: Tensor, ivar: Tensor | None = None) -> Tensor:
    """Return spectra (n, p) float32 whose pixels that are not good hold the mean of those that are."""
    good = good_pixels(flux, ivar)
    values = torch.where(good, flux.float(), 0.0)
    mean = values.sum(1, keepdim=True) / good.sum(1, keepdim=True).clamp_min(1)
    return torch.where(good, values, mean)


def _stretched(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return image, scales and the factor that the viewer's stretch multiplies colours by, planes z, r, g."""
    image = image.flip(1)
    scales = image.new_tensor(DISPLAY_SCALES_PER_NANOMAGGY).flip(0)[:, None, None]
    intensity = (image * scales + DISPLAY_OFFSET).clamp_min(0).mean(1, keepdim=True)
    stretched = torch.asinh(DISPLAY_SOFTENING * intensity) / DISPLAY_SOFTENING**0.5
    return image, scales, stretched / torch.where(intensity > 0, intensity, 1.0)


def dr2_rgb(image: Tensor) -> Tensor:
    """Return the colours of the Legacy Survey viewer, red, green, blue from 0 to 1; empty sky is about 0.13.

    Parameters
    ----------
    image
        (n, 3, H, W), bands g, r, z, nanomaggies a pixel.
    """
    image, scales, factor = _stretched(image)
    return ((image * scales + DISPLAY_OFFSET) * factor).clamp(0, 1)


def stein_rgb(image: Tensor) -> Tensor:
    """Return the colours that Stein et al. (2021) trained on: like `dr2_rgb`, but zero flux gives 0.

    Parameters
    ----------
    image
        (n, 3, H, W), bands g, r, z, nanomaggies a pixel.
    """
    image, scales, factor = _stretched(image)
    return (image * (scales + DISPLAY_OFFSET * factor)).clamp(0, 1)


def unit(image: Tensor) -> Tensor:
    """Return images (n, 3, H, W) that are display colours already, within 0 and 1."""
    return image.clamp(0, 1)


IMAGE_TRANSFORMS: Mapping[str, Callable[[Tensor], Tensor]] = {"dr2_rgb": dr2_rgb, "stein_rgb": stein_rgb, "unit": unit}
"""Transforms without settings; ``asinh`` has one, the softening."""


class ImageInput(nn.Module):
    """Images in nanomaggies as a network takes them.

    Parameters
    ----------
    transform
        ``dr2_rgb``, ``stein_rgb``, ``asinh`` (asinh of flux / softening, bands in the order g, r, z), or ``unit`` for
        pictures that are colours from 0 to 1 already.
    crop
        Side of the central square that is kept, pixels.
    softening
        Of ``asinh``, nanomaggies a pixel: where each band turns from linear to logarithmic; about the noise.
    resize
        Side that the crop is brought to (bilinear, antialiased), for networks of a fixed input; None keeps it.
    mean, std
        Subtracted from and divided into the planes at the end, as pre-trained weights ask; None for neither.
    swap_axes
        Exchange rows and columns, as the published AstroCLIP does.
    """

    softening: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        transform: str,
        crop: int,
        *,
        softening: Sequence[float] = (0.005, 0.01, 0.02),
        resize: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        swap_axes: bool = False,
    ) -> None:
        super().__init__()
        known = [*IMAGE_TRANSFORMS, "asinh"]
        if transform not in known:
            raise EmbedderError(f"unknown image transform {transform!r}", todo=suggest(transform, known))
        self.transform, self.crop, self.resize, self.swap_axes = transform, crop, resize, swap_axes
        for name, values in {"softening": softening, "mean": mean or (0.0,) * 3, "std": std or (1.0,) * 3}.items():
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        parts = [
            f"{transform} (softening {', '.join(f'{value:g}' for value in softening)} nmgy)"
            if transform == "asinh"
            else transform,
            "rows and columns exchanged" if swap_axes else "",
            f"central {crop} px",
            f"resized to {resize} px" if resize else "",
            f"minus {tuple(mean)}" if mean else "",
            f"over {tuple(std)}" if std else "",
        ]
        self.description = ", ".join(part for part in parts if part)

    @property
    def size(self) -> int:
        """Side of the images it gives, pixels."""
        return self.resize or self.crop

    def forward(self, image: Tensor) -> Tensor:
        """Return planes (n, 3, size, size) float32 of images (n, 3, H, W) in nanomaggies; not finite counts as 0.

        Raises
        ------
        EmbedderError
            If the images are smaller than the crop.
        """
        planes = self.planes(centre_crop(image, self.crop))
        if self.resize:
            size = (self.resize, self.resize)
            planes = functional.interpolate(planes, size, mode="bilinear", antialias=True, align_corners=False)
        return planes

    def planes(self, image: Tensor) -> Tensor:
        """Return the planes of images (n, 3, H, W) in nanomaggies as they are, neither cropped nor resized."""
        image = torch.nan_to_num(image.float(), nan=0.0, posinf=0.0, neginf=0.0)
        if self.swap_axes:
            image = image.transpose(2, 3)
        if self.transform == "asinh":
            planes = torch.asinh(image / self.softening)
        else:
            planes = IMAGE_TRANSFORMS[self.transform](image)
        return (planes - self.mean) / self.std


def centre_crop(image: Tensor, size: int) -> Tensor:
    """Return the central (n, c, size, size) of images (n, c, H, W).

    Raises
    ------
    EmbedderError
        If they are smaller.
    """
    height, width = image.shape[-2:]
    if min(height, width) < size:
        raise EmbedderError(
            f"images of {height} x {width} pixels", f"at least {size} x {size}, which the model crops to"
        )
    top, left = (height - size) // 2, (width - size) // 2
    return image[..., top : top + size, left : left + size]
