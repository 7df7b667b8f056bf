"""A small catalogue of abstracts and preview pictures with made-up names."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

ABSTRACT = (
    "We propose deep imaging of the globular clusters around galaxy {number}, e.g. of its core. Globular clusters trace the "
    "early formation of galaxies. The images will allow us to measure the luminosity function of the clusters, and to "
    "determine the distance of the galaxy. HST alone can resolve them."
)


def record(number: object, *, cycle: object = 12, title: str = "Clusters", abstract: str | None = None) -> str:
    """Return one record of the catalogue."""
    text = ABSTRACT.format(number=number) if abstract is None else abstract
    return (
        f"-----------------------------------------\nProp. Type: GO\nCategory: GALAXIES\nID: {number}\nCycle: {cycle}\n"
        f"Title: {title}\nPI: A. Person\n{text}\n"
    )


def jpeg(seed: int = 0, *, size: tuple[int, int] = (60, 40), mode: str = "L", value: int | None = None) -> bytes:
    """Return a JPEG of noise in blocks, or of one value."""
    from PIL import Image

    blocks = np.random.default_rng(seed).integers(0, 255, (5, 7), np.uint8)
    pixels = blocks if value is None else np.full((5, 7), value, np.uint8)
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG")
    return buffer.getvalue()


def name(proposal: int, part: int, kind: str = "total") -> str:
    """Return the name of a preview picture."""
    return f"hst_{proposal:05d}_{part:02d}_acs_wfc_{kind}_j{part:03d}_drc.jpg"


def write_pictures(folder: Path, per_proposal: dict[int, int]) -> None:
    """Write so many pictures of each proposal."""
    folder.mkdir(parents=True, exist_ok=True)
    for proposal, count in per_proposal.items():
        for part in range(count):
            (folder / name(proposal, part)).write_bytes(jpeg(100 * proposal + part))
