"""Masked pre-training of the spectrum encoder (Parker et al. 2024, section 4.2): fill in runs of slices set to 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from astroclip_bench.errors import EmbedderError
from baselines.astroclip.architecture import ARCHITECTURE, SingleEncoder, build
from baselines.astroclip.augment_spectrum import (
    CHUNK_TOKENS,
    CHUNKS,
    SpectrumAugmentation,
    augment_spectrum,
    chunk_mask,
)
from baselines.astroclip.data import Tensors
from baselines.astroclip.inputs import PADDING, good_pixels
from baselines.astroclip.specformer import SpecFormer


@dataclass(frozen=True)
class MaskedSettings:
    """What a stage of kind ``masked`` takes.

    Parameters
    ----------
    encoder
        ``name = "specformer"`` and its settings.
    chunks, chunk_tokens
        Runs of tokens that are hidden, and their length.
    ignore_bad
        Leave pixels of inverse variance 0 out of the loss; the published training did not.
    augment
        What is done to the spectra before.
    """

    encoder: dict[str, Any]
    chunks: int = CHUNKS
    chunk_tokens: int = CHUNK_TOKENS
    ignore_bad: bool = True
    augment: SpectrumAugmentation = field(default_factory=SpectrumAugmentation)


class MaskedStage:
    """Masked pre-training as the engine runs it."""

    forward_methods = ("embed",)

    def __init__(self, settings: MaskedSettings) -> None:
        model = build({"encoder": settings.encoder})
        if not isinstance(model.encoder, SpecFormer):
            raise EmbedderError(f"masked pre-training of encoder {settings.encoder['name']!r}", "'specformer'")
        self.model: SingleEncoder = model
        self.encoder: SpecFormer = model.encoder
        self.settings = settings
        self.columns = ("flux", "ivar")

    def step(
        self, batch: Tensors, backward: Callable[[Tensor], None], step: int, generator: Generator
    ) -> Mapping[str, float | Tensor]:
        """Hide, reconstruct, compare; see `masked_error`."""
        flux, ivar = augment_spectrum(batch["flux"], batch["ivar"], generator, self.settings.augment)
        assert ivar is not None
        loss = self._loss({"flux": flux, "ivar": ivar}, generator)
        backward(loss)
        return {"loss": loss.detach()}

    def after_step(self, step: int) -> None:
        """Do nothing: there is no teacher."""

    def validation_loss(self, batch: Tensors, generator: Generator) -> Tensor:
        """Return the loss of one batch without augmentation."""
        return self._loss(batch, generator)

    def export(self) -> tuple[str, int, dict[str, Any], dict[str, Tensor]]:
        """Return the encoder, reconstruction head included, as a model file."""
        return ARCHITECTURE, self.model.version, self.model.config, self.model.state_dict()

    def embedder(self) -> SingleEncoder:
        """Return the encoder as the harness knows it."""
        return self.model

    def _loss(self, batch: Tensors, generator: Generator) -> Tensor:
        encoder, settings = self.encoder, self.settings
        with torch.autocast(batch["flux"].device.type, enabled=False):
            slices = encoder.slices(batch)
        mask = chunk_mask(len(slices), slices.shape[1], generator, settings.chunks, settings.chunk_tokens)
        mask = mask.to(slices.device)[..., None]
        found = encoder.reconstruct(encoder.encode(slices.masked_fill(mask, 0.0)))
        compared = mask.expand_as(slices)
        if settings.ignore_bad:
            compared = compared & sliced_good(batch["flux"], batch["ivar"], encoder.length, encoder.overlap)
        return masked_error(found, slices, compared)


def masked_error(found: Tensor, wanted: Tensor, compared: Tensor) -> Tensor:
    """Return the mean over galaxies of each one's mean squared error over the values `compared`; all (n, t, values).

    A galaxy counts the same whatever it has lost, so that the loss does not depend on how a batch is shared out. One
    without a value to compare counts as 0.
    """
    squares = torch.where(compared, found.float() - wanted, 0.0).square().sum((1, 2))
    return (squares / compared.sum((1, 2)).clamp_min(1)).mean()


def sliced_good(flux: Tensor, ivar: Tensor, length: int, overlap: int) -> Tensor:
    """Return which values (n, t, PADDING + length) of sliced spectra (n, p) come from pixels with data."""
    slices = good_pixels(flux, ivar).unfold(1, length, length - overlap)
    return functional.pad(slices, (PADDING, 0, 1, 0), value=True)
