"""Pre-training of the causal spectrum transformer: every slice is predicted from those before it, as GPT-2's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from astroclip_bench.errors import EmbedderError
from baselines.astroclip.architecture import ARCHITECTURE, SingleEncoder, build
from baselines.astroclip.augment_spectrum import SpectrumAugmentation, augment_spectrum
from baselines.astroclip.data import Tensors
from baselines.astroclip.inputs import PADDING
from baselines.astroclip.masked import masked_error, sliced_good
from baselines.astroclip_v1.causal import SpectrumGpt


@dataclass(frozen=True)
class NextSliceSettings:
    """What a stage of kind ``next-slice`` takes.

    Parameters
    ----------
    encoder
        ``name = "spectrum-gpt"`` and its settings.
    ignore_bad
        Leave pixels of inverse variance 0 out of the loss.
    augment
        What is done to the spectra before.
    """

    encoder: dict[str, Any]
    ignore_bad: bool = True
    augment: SpectrumAugmentation = field(default_factory=SpectrumAugmentation)


class NextSliceStage:
    """Next-slice prediction as the engine runs it."""

    forward_methods = ("embed",)
    columns = ("flux", "ivar")

    def __init__(self, settings: NextSliceSettings) -> None:
        model = build({"encoder": settings.encoder})
        if not isinstance(model.encoder, SpectrumGpt):
            raise EmbedderError(f"next-slice prediction by encoder {settings.encoder['name']!r}", "'spectrum-gpt'")
        self.model: SingleEncoder = model
        self.encoder: SpectrumGpt = model.encoder
        self.settings = settings

    def step(
        self, batch: Tensors, backward: Callable[[Tensor], None], step: int, generator: Generator
    ) -> Mapping[str, float | Tensor]:
        """Predict, compare."""
        flux, ivar = augment_spectrum(batch["flux"], batch["ivar"], generator, self.settings.augment)
        assert ivar is not None
        loss = self.loss({"flux": flux, "ivar": ivar})
        backward(loss)
        return {"loss": loss.detach()}

    def after_step(self, step: int) -> None:
        """Do nothing: there is no teacher."""

    def validation_loss(self, batch: Tensors, generator: Generator) -> Tensor:
        """Return the loss of one batch without augmentation."""
        return self.loss(batch)

    def export(self) -> tuple[str, int, dict[str, Any], dict[str, Tensor]]:
        """Return the encoder, prediction head included, as a model file."""
        return ARCHITECTURE, self.model.version, self.model.config, self.model.state_dict()

    def embedder(self) -> SingleEncoder:
        """Return the encoder as the harness knows it."""
        return self.model

    def loss(self, batch: Tensors) -> Tensor:
        """Return the mean over galaxies of the mean squared error of the pixels that no earlier slice has shown."""
        encoder = self.encoder
        with torch.autocast(batch["flux"].device.type, enabled=False):
            slices = encoder.slices(batch)
        found = encoder.reconstruct(encoder.encode(slices[:, :-1]))
        new = torch.zeros_like(slices[:, 1:], dtype=torch.bool)
        new[:, 0, PADDING:] = True  # behind the statistics the whole first slice is new
        new[:, 1:, PADDING + encoder.overlap :] = True
        if self.settings.ignore_bad:
            new &= sliced_good(batch["flux"], batch["ivar"], encoder.length, encoder.overlap)[:, 1:]
        return masked_error(found, slices[:, 1:], new)
