"""Random changes to whole batches: what a stage names for each modality."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from baselines.astroclip.augment_image import ImageAugmentation, augment_image
from baselines.astroclip.augment_spectrum import SpectrumAugmentation, augment_spectrum
from baselines.astroclip.data import Tensors


@dataclass(frozen=True)
class AugmentSettings:
    """What is done to each modality; nothing where left out."""

    image: ImageAugmentation | None = None
    spectrum: SpectrumAugmentation | None = None


def augment(batch: Tensors, generator: Generator, settings: AugmentSettings) -> Tensors:
    """Return a batch whose ``image``, and ``flux`` with ``ivar``, are changed; other columns, and missing ones, stay."""
    changed = dict(batch)
    if settings.image is not None and "image" in batch:
        changed["image"] = augment_image(batch["image"], generator, settings.image)
    if settings.spectrum is not None and "flux" in batch:
        flux = batch["flux"]
        with torch.autocast(flux.device.type, enabled=False):
            flux, ivar = augment_spectrum(flux, batch["ivar"], generator, settings.spectrum)
        assert ivar is not None
        changed |= {"flux": flux, "ivar": ivar}
    return changed
