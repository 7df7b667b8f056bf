"""The alignment stage: encoders and heads of two or more modalities into one space, by symmetric InfoNCE.

Beside the pairs of modalities a modality may be held against another view of itself: the image alone teaches the
spectrum encoder what images show, while two halves of a spectrum's pixels share the galaxy and no noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from astroclip_bench.embedders.weights import ModelFile, load_weights, read_model
from astroclip_bench.errors import EmbedderError
from baselines.astroclip import architecture
from baselines.astroclip.alignment import ARCHITECTURE, PUBLISHED_SCALE, AlignmentModel, build
from baselines.astroclip.augment import AugmentSettings, augment
from baselines.astroclip.config import RecipeError
from baselines.astroclip.contrastive import cached_step, contrastive_loss
from baselines.astroclip.data import Tensors

HALVED = ("flux", "ivar")


@dataclass(frozen=True)
class AlignSettings:
    """What a stage of kind ``align`` takes.

    Parameters
    ----------
    encoders, heads
        Modality -> ``name`` and settings. An encoder may be left out where `start` gives it.
    start
        Modality -> an earlier stage, or a model file, whose encoder is started from.
    frozen
        Modalities whose encoder stays as it starts.
    chunk
        Galaxies at a time, by gradient caching; 0 for the whole batch at once.
    halves
        Weight of the loss between two halves of each spectrum's pixels.
    halves_scale
        What the cosines of that loss are multiplied by.
    """

    dimension: int
    heads: dict[str, Any]
    encoders: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Any] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    scale: float = PUBLISHED_SCALE
    learn_scale: bool = False
    chunk: int = 0
    halves: float = 0.0
    halves_scale: float = 8.0
    augment: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        if self.chunk and self.halves:
            raise RecipeError("gradient caching (chunk) together with halves", "one of them", "set chunk = 0")


class AlignStage:
    """Alignment as the engine runs it."""

    forward_methods = ("encode", "embed")

    def __init__(self, settings: AlignSettings, models: Mapping[str, Path]) -> None:
        files = {modality: read_model(models.get(name, Path(name))) for modality, name in settings.start.items()}
        parts = {modality: encoder_of(file, modality) for modality, file in files.items()}
        encoders = {**{modality: config for modality, (config, _) in parts.items()}, **settings.encoders}
        self.model: AlignmentModel = build(
            {
                "dimension": settings.dimension,
                "encoders": encoders,
                "heads": settings.heads,
                "frozen": settings.frozen,
                "scale": settings.scale,
                "learn_scale": settings.learn_scale,
            }
        )
        for modality, (_, weights) in parts.items():
            load_weights(self.model.encoders[modality], weights, f"{files[modality].path}, encoder of {modality!r}")
        self.settings = settings
        read = {column for encoder in self.model.encoders.values() for column in encoder.columns}  # type: ignore[union-attr]
        # Inverse variances tell augmentations what pixels hold, whether or not the encoder reads them.
        self.columns = tuple(sorted(read | ({"ivar"} if "flux" in read else set())))

    def step(
        self, batch: Tensors, backward: Callable[[Tensor], None], step: int, generator: Generator
    ) -> Mapping[str, float | Tensor]:
        """Augment, embed, contrast."""
        settings, model = self.settings, self.model
        if settings.halves:
            return self._halves_step(batch, backward, generator)
        batch = augment(batch, generator, settings.augment)
        if settings.chunk:
            loss = cached_step(self._encode, batch, settings.chunk, model.scale, backward)
            return {"loss": loss, "scale": model.scale.detach()}
        loss = contrastive_loss(self._encode(batch), model.scale)
        backward(loss)
        return {"loss": loss.detach(), "scale": model.scale.detach()}

    def _halves_step(
        self, batch: Tensors, backward: Callable[[Tensor], None], generator: Generator
    ) -> Mapping[str, float | Tensor]:
        """Contrast every half of the spectra with the other modalities, and with the other half."""
        settings, model = self.settings, self.model
        rest = augment(
            {name: values for name, values in batch.items() if name not in HALVED}, generator, settings.augment
        )
        # Each half is changed in its own way: what a calibration error does to both would tell them apart from others.
        views = [augment(half, generator, settings.augment) for half in spectrum_halves(batch)]
        halves = [model.encode(view, "spectrum") for view in views]
        others = [model.encode(rest, name) for name in model.modalities if name != "spectrum"]
        pairs = torch.stack([contrastive_loss([*others, half], model.scale) for half in halves]).mean()
        within = contrastive_loss(halves, settings.halves_scale)
        loss = pairs + settings.halves * within
        backward(loss)
        parts = {"loss": loss, "pairs_loss": pairs, "halves_loss": within, "scale": model.scale}
        return {name: value.detach() for name, value in parts.items()}

    def after_step(self, step: int) -> None:
        """Keep the learned scale within its limit."""
        self.model.limit_scale()

    def validation_loss(self, batch: Tensors, generator: Generator) -> Tensor:
        """Return the loss between the modalities of one batch, without augmentation."""
        return contrastive_loss(self._encode(batch), self.model.scale)

    def export(self) -> tuple[str, int, dict[str, Any], dict[str, Tensor]]:
        """Return the model as a model file."""
        return ARCHITECTURE, self.model.version, self.model.config, self.model.state_dict()

    def embedder(self) -> AlignmentModel:
        """Return the model."""
        return self.model

    def _encode(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        return [self.model.encode(batch, name) for name in self.model.modalities]


def spectrum_halves(batch: Tensors) -> tuple[Tensors, ...]:
    """Return ``flux`` and ``ivar`` (n, p) of a batch twice, each with every other pixel, of which it has two copies.

    A copy carries half of the inverse variance, so that no pixel counts twice.
    """
    even = torch.arange(batch["flux"].shape[1], device=batch["flux"].device) // 2 * 2
    sources = (even, (even + 1).clamp(max=batch["flux"].shape[1] - 1))
    return tuple({"flux": batch["flux"][:, source], "ivar": batch["ivar"][:, source] / 2} for source in sources)


def encoder_of(model: ModelFile, modality: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return configuration and weights of one encoder of a model file: of an encoder alone, or of an aligned model.

    Raises
    ------
    EmbedderError
        If the file is of another architecture, or has no encoder of this modality.
    """
    if model.architecture == architecture.ARCHITECTURE:
        config, prefix = model.config["encoder"], "encoder."
    elif model.architecture == ARCHITECTURE and modality in model.config["encoders"]:
        config, prefix = model.config["encoders"][modality], f"encoders.{modality}."
    else:
        raise EmbedderError(f"{model.path} ({model.architecture}) has no encoder of {modality!r} to start from")
    weights = {name.removeprefix(prefix): value for name, value in model.state_dict.items() if name.startswith(prefix)}
    return config, weights
