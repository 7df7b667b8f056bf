"""The alignment stage: encoders and heads of two or more modalities into one space, by symmetric InfoNCE.

Beside the pairs of modalities a modality may be held against another view of itself: the image alone teaches the
spectrum encoder what images show, while two halves of a spectrum's pixels share the galaxy and no noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from astroclip_bench.embedders.weights import ModelFile, load_weights, read_model
from astroclip_bench.errors import EmbedderError
from astroclip_bench.progress import Progress
from baselines.astroclip import architecture
from baselines.astroclip.alignment import ARCHITECTURE, FEATURES, PUBLISHED_SCALE, AlignmentModel, build
from baselines.astroclip.augment import AugmentSettings, augment
from baselines.astroclip.config import RecipeError
from baselines.astroclip.contrastive import cached_step, contrastive_loss
from baselines.astroclip.data import Tensors, TrainingSplit

HALVED = ("flux", "ivar")
FEATURE_ROWS = 128
"""Galaxies that frozen encoders are shown at a time."""


@dataclass(frozen=True)
class AlignSettings:
    """What a stage of kind ``align`` takes.

    Parameters
    ----------
    encoders, heads
        Modality -> ``name`` and settings. An encoder may be left out where `start` gives it.
    start
        Modality -> an earlier stage, or a model file, whose encoder is started from. Where `encoders` gives one as
        well, it is that one, and takes of the other's weights those that it has itself.
    frozen
        Modalities whose encoder stays as it starts.
    features_once
        Let frozen encoders see each galaxy once, before the training, which then reads what they gave: the same
        training in a small part of the time, if every encoder is frozen and nothing is augmented.
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
    features_once: bool = False
    scale: float = PUBLISHED_SCALE
    learn_scale: bool = False
    chunk: int = 0
    halves: float = 0.0
    halves_scale: float = 8.0
    augment: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        if self.chunk and self.halves:
            raise RecipeError("gradient caching (chunk) together with halves", "one of them", "set chunk = 0")
        if self.features_once and (self.halves or self.augment != AugmentSettings()):
            raise RecipeError("features_once together with augmentation or halves", "the same features in every epoch")


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
            encoder = self.model.encoders[modality]
            if modality in settings.encoders:
                own = encoder.state_dict()
                weights = {name: value for name, value in weights.items() if name in own}
            load_weights(encoder, weights, f"{files[modality].path}, encoder of {modality!r}")
        if settings.features_once and set(self.model.frozen) != set(self.model.modalities):
            raise RecipeError("features_once with encoders that are trained", "frozen = all modalities")
        self.settings = settings
        read = {column for encoder in self.model.encoders.values() for column in encoder.columns}  # type: ignore[union-attr]
        # Inverse variances tell augmentations what pixels hold, whether or not the encoder reads them.
        self.columns = tuple(sorted(read | ({"ivar"} if "flux" in read else set())))
        self.strings: dict[str, Any] = {}
        for encoder in self.model.encoders.values():
            self.strings |= encoder.strings  # type: ignore[arg-type]

    def prepare(self, split: TrainingSplit, device: torch.device, progress: Progress) -> TrainingSplit:
        """Return what the training reads of a split: itself or, where they are made once, the encoders' features."""
        return features_of(self.model, split, device, progress) if self.settings.features_once else split

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
        loss = self.contrast(batch, model.modalities, self._encode(batch))
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
        names = [*(name for name in model.modalities if name != "spectrum"), "spectrum"]
        pairs = torch.stack([self.contrast(rest, names, [*others, half]) for half in halves]).mean()
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
        return self.contrast(batch, self.model.modalities, self._encode(batch))

    def contrast(self, batch: Tensors, modalities: Sequence[str], embeddings: Sequence[Tensor]) -> Tensor:
        """Return the loss between embeddings (n, d) of some modalities of one batch."""
        return contrastive_loss(embeddings, self.model.scale)

    def export(self) -> tuple[str, int, dict[str, Any], dict[str, Tensor]]:
        """Return the model as a model file."""
        return ARCHITECTURE, self.model.version, self.model.config, self.model.state_dict()

    def embedder(self) -> AlignmentModel:
        """Return the model."""
        return self.model

    def _encode(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        return [self.model.encode(batch, name) for name in self.model.modalities]


@torch.no_grad()
def features_of(model: AlignmentModel, split: TrainingSplit, device: torch.device, progress: Progress) -> TrainingSplit:
    """Return a split whose rows are what the heads read of them, float32, in memory.

    Parameters
    ----------
    model
        With frozen encoders; it is moved to `device`.
    progress
        Called with (done, total) galaxies.
    """
    model.to(device).eval()
    parts: dict[str, list[Tensor]] = {FEATURES.format(modality): [] for modality in model.modalities}
    done = 0
    for batch in split.batches(np.arange(len(split)), FEATURE_ROWS):
        shown = {name: values.to(device) for name, values in batch.items()}
        for modality in model.modalities:
            parts[FEATURES.format(modality)].append(model.features(shown, modality).float().cpu())
        done += len(next(iter(batch.values())))
        progress(done, len(split))
    cached = {name: torch.cat(rows) for name, rows in parts.items()}
    return replace(split, columns=tuple(cached), arrow=None, cached=cached)


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
