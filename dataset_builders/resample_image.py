"""Images on another pixel scale, with the flux conserved."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def overlap_matrix(n_in: int, scale_in: float, n_out: int, scale_out: float) -> npt.NDArray[np.float64]:
    """Return how much of each output pixel each input pixel covers, along one axis; (n_out, n_in).

    Both rows of pixels are centred on the same point. A matrix row sums to 1 where the input covers the output pixel.

    Parameters
    ----------
    n_in, n_out
        Numbers of pixels.
    scale_in, scale_out
        Their lengths, in one unit.
    """
    edges_in = (np.arange(n_in + 1) - n_in / 2) * scale_in
    edges_out = (np.arange(n_out + 1) - n_out / 2) * scale_out
    left = np.maximum(edges_out[:-1, None], edges_in[None, :-1])
    right = np.minimum(edges_out[1:, None], edges_in[None, 1:])
    return np.asarray(np.clip(right - left, 0.0, None) / scale_out)


def mean_over_pixels(
    image: npt.NDArray[np.floating], scale_in: float, size: int, scale_out: float
) -> npt.NDArray[np.float64]:
    """Return the mean of an image over the area of each pixel of another grid around the same centre.

    The overlap of two rectangles along the axes is the product of the overlaps along each axis, so the exact
    area-weighted mean is a matrix product a side. Where the values are a surface brightness (flux in a fixed solid
    angle), so are the results, and the flux in the field is conserved exactly; neighbouring pixels come to share noise.

    Parameters
    ----------
    image
        (..., H, W). One value within the new grid that is not finite leaves none finite; values outside are not read.
    scale_in, scale_out
        Sides of the square pixels, in one unit.
    size
        Number of pixels along each side of the new grid; the input covers `size * scale_out` or more.
    """
    for axis in (-2, -1):
        weights = overlap_matrix(image.shape[axis], scale_in, size, scale_out)
        used = np.flatnonzero(weights.any(axis=0))
        image = np.take(image, used, axis=axis)
        with np.errstate(invalid="ignore"):
            image = np.moveaxis(np.moveaxis(image, axis, -1) @ weights[:, used].T, -1, axis)
    return np.asarray(image, np.float64)
