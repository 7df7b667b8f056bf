"""The stage that trains Spender's autoencoder."""

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
from baselines.spender.autoencoder import SpenderAutoencoder, fitted
from baselines.spender.losses import (
    at_redshift,
    consistency_loss,
    fidelity_loss,
    other_redshift,
    similarity_loss,
)


@dataclass(frozen=True)
class AutoencoderSettings:
    """What a stage of kind ``autoencoder`` takes; the defaults are those of Liang et al. 2023.

    Parameters
    ----------
    encoder
        ``name = "spender-autoencoder"`` and its settings.
    similarity, consistency
        Weights of the two losses beside fidelity; 0 for Melchior et al. 2023.
    data_scale
        See `similarity_loss`.
    slope, cycles, calm
        The slope of the similarity loss rises from 0 to `slope`, so many times in the stage; in the last share `calm`
        of the stage it is 0.
    tolerance
        Change of a latent that the consistency loss takes no notice of.
    redshift_width
        Range that the other redshift is drawn from.
    augment
        What is done to the spectrum at the other redshift, beside moving it.
    """

    encoder: dict[str, Any]
    similarity: float = 3.0
    consistency: float = 1.0
    data_scale: float = 20.0
    slope: float = 10.0
    cycles: int = 10
    calm: float = 0.01
    tolerance: float = 0.1
    redshift_width: float = 0.2
    augment: SpectrumAugmentation = field(
        default_factory=lambda: SpectrumAugmentation(masked_chunks=1, chunk_pixels=389)
    )


class AutoencoderStage:
    """Training of the autoencoder as the engine runs it; the redshift is read by the decoder, never by the encoder."""

    forward_methods = ("embed",)
    columns = ("flux", "ivar", "redshift")

    def __init__(self, settings: AutoencoderSettings, steps: int) -> None:
        model = build({"encoder": settings.encoder})
        if not isinstance(model.encoder, SpenderAutoencoder):
            name = settings.encoder["name"]
            raise EmbedderError(f"an autoencoder of encoder {name!r}", "'spender-autoencoder'")
        self.model: SingleEncoder = model
        self.encoder: SpenderAutoencoder = model.encoder
        self.settings, self.steps = settings, steps
        self.z_max = float(self.encoder.config["z_max"])

    def step(
        self, batch: Tensors, backward: Callable[[Tensor], None], step: int, generator: Generator
    ) -> Mapping[str, float | Tensor]:
        """Reconstruct, compare pairs, move to another redshift."""
        settings = self.settings
        latents, rest, fidelity = self._reconstruct(batch)
        parts = {"fidelity": fidelity}
        with torch.autocast(rest.device.type, enabled=False):
            if settings.similarity and (slope := self.slope(step)):
                wave = self.encoder.decoder.wavelength.to(rest.device)
                parts["similarity"] = similarity_loss(latents, rest, wave, slope, settings.data_scale)
        if settings.consistency:
            moved = self.encoder(self.moved(batch, generator)).float()
            parts["consistency"] = consistency_loss(latents, moved, settings.tolerance)
        weights = {"fidelity": 1.0, "similarity": settings.similarity, "consistency": settings.consistency}
        loss = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
        backward(loss)
        return {"loss": loss.detach(), **{name: value.detach() for name, value in parts.items()}}

    def after_step(self, step: int) -> None:
        """Do nothing: there is no teacher."""

    def validation_loss(self, batch: Tensors, generator: Generator) -> Tensor:
        """Return the fidelity of one batch."""
        return self._reconstruct(batch)[2]

    def export(self) -> tuple[str, int, dict[str, Any], dict[str, Tensor]]:
        """Return the autoencoder as a model file."""
        return ARCHITECTURE, self.model.version, self.model.config, self.model.state_dict()

    def embedder(self) -> SingleEncoder:
        """Return the encoder as the harness knows it."""
        return self.model

    def slope(self, step: int) -> float:
        """Return the slope of the similarity loss at a step."""
        settings = self.settings
        if step >= (1 - settings.calm) * self.steps:
            return 0.0
        return settings.slope * (step * settings.cycles / self.steps % 1.0)

    def moved(self, batch: Tensors, generator: Generator) -> Tensors:
        """Return the galaxies of a batch as seen at another redshift."""
        settings = self.settings
        redshift = other_redshift(batch["redshift"], generator, settings.redshift_width, self.z_max)
        with torch.autocast(redshift.device.type, enabled=False):
            there = at_redshift(batch, redshift)
            flux, ivar = augment_spectrum(there["flux"], there["ivar"], generator, settings.augment)
        assert ivar is not None
        return {**there, "flux": flux, "ivar": ivar}

    def _reconstruct(self, batch: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents, decoded spectra at rest, and the fidelity loss."""
        latents = self.encoder(batch).float()
        with torch.autocast(latents.device.type, enabled=False):
            rest = self.encoder.decoder(latents)
            model, _, weight = fitted(self.encoder.decoder, rest, batch)
            return latents, rest, fidelity_loss(batch["flux"], model, weight)
