"""Small colour pictures of the images, as the Hub's viewer shows them."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from astroclip_bench.errors import MissingExtraError
from astroclip_bench.records import preview_column
from dataset_builders.display import dr2_rgb

JPEG_QUALITY = 85
"""Keeps a picture of shallow, noisy sky below 15 kB."""


def preview_array(image: npt.NDArray[np.floating]) -> pa.Array:
    """Return JPEG pictures of images, north up and east left, in the colours of the Legacy Survey viewer.

    The same image gives the same bytes with the same release of Pillow.

    Parameters
    ----------
    image
        (n, 3, H, W), bands g, r, z, first row south; nanomaggies a pixel of 0.262 arcsec.

    Returns
    -------
    previews
        (n,) of the preview column's struct: `bytes`, and a null `path`.
    """
    return encode_pictures(dr2_rgb(one)[::-1] for one in image)


def encode_pictures(colours: Iterable[npt.NDArray[np.floating]]) -> pa.Array:
    """Return JPEG pictures of colours, each (H, W, 3) from 0 to 1 with the top row first; as `preview_array`."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", "surveys") from error
    encoded = []
    for one in colours:
        buffer = io.BytesIO()
        Image.fromarray(np.rint(one * 255).astype(np.uint8)).save(buffer, "JPEG", quality=JPEG_QUALITY)
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    return pa.array(encoded, preview_column().dtype)
