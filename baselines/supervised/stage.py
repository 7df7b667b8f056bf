"""The supervised stage: labels from one modality, by regression on standardised labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from astroclip_bench.embedders.weights import load_weights, read_model
from astroclip_bench.errors import DataError
from astroclip_bench.plugins import suggest
from astroclip_bench.records import columns_of_role
from baselines.astroclip.align import encoder_of
from baselines.astroclip.augment import AugmentSettings, augment
from baselines.astroclip.data import Tensors
from baselines.supervised.architecture import ARCHITECTURE, SupervisedNetwork, build

if TYPE_CHECKING:
    from astroclip_bench.datasets import SplitView

LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"huber": functional.huber_loss, "mse": functional.mse_loss}
"""Of standardised labels: ``huber`` is quadratic up to one standard deviation, and linear from there on."""


@dataclass(frozen=True)
class SupervisedSettings:
    """What a stage of kind ``supervised`` takes.

    Parameters
    ----------
    targets
        Labels that are predicted. Galaxies that lack one of them are left out.
    encoder
        ``name`` and settings; may be left out where `start` gives them.
    start
        The encoder's modality -> an earlier stage, or a model file, whose encoder is started from.
    hidden
        Sizes of the hidden layers between the encoder's vector and the labels.
    dropout
        After each hidden layer.
    loss
        ``huber`` or ``mse``, on labels minus their mean over their standard deviation.
    augment
        What is done to the encoder's modality; validation goes without.
    """

    targets: tuple[str, ...]
    encoder: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Any] = field(default_factory=dict)
    hidden: tuple[int, ...] = (256,)
    dropout: float = 0.0
    loss: Literal["huber", "mse"] = "huber"
    augment: AugmentSettings = field(default_factory=AugmentSettings)


class SupervisedStage:
    """Supervised training as the engine runs it.

    Parameters
    ----------
    galaxies
        Those to train on: mean and standard deviation of the labels are theirs.
    models
        Name of an earlier stage -> its model file.
    """

    forward_methods = ("embed", "predict")

    def __init__(
        self, settings: SupervisedSettings, galaxies: SplitView, models: Mapping[str, Path] = MappingProxyType({})
    ) -> None:
        encoder, weights = settings.encoder, None
        for modality, name in settings.start.items():
            encoder, weights = encoder_of(read_model(models.get(name, Path(name))), modality)
        config = {"encoder": encoder, "targets": settings.targets}
        self.model: SupervisedNetwork = build({**config, "hidden": settings.hidden, "dropout": settings.dropout})
        if weights is not None:
            load_weights(self.model.encoder, weights, f"encoder of {', '.join(settings.start)}")
        mean, std = label_statistics(galaxies, settings.targets)
        self.model.label_mean.copy_(mean)
        self.model.label_std.copy_(std)
        self.settings = settings
        read = self.model.encoder.columns
        # Inverse variances tell augmentations what pixels hold, whether or not the encoder reads them.
        self.columns = tuple(dict.fromkeys((*read, *(["ivar"] if "flux" in read else []), *settings.targets)))

    def step(
        self, batch: Tensors, backward: Callable[[Tensor], None], step: int, generator: Generator
    ) -> Mapping[str, float | Tensor]:
        """Augment, predict, compare."""
        loss = self._loss(augment(batch, generator, self.settings.augment))
        backward(loss)
        return {"loss": loss.detach()}

    def after_step(self, step: int) -> None:
        """Do nothing: there is no teacher."""

    def validation_loss(self, batch: Tensors, generator: Generator) -> Tensor:
        """Return the loss of one batch, without augmentation."""
        return self._loss(batch)

    def export(self) -> tuple[str, int, dict[str, Any], dict[str, Tensor]]:
        """Return the network as a model file."""
        return ARCHITECTURE, self.model.version, self.model.config, self.model.state_dict()

    def embedder(self) -> SupervisedNetwork:
        """Return the network."""
        return self.model

    def _loss(self, batch: Tensors) -> Tensor:
        labels = torch.stack([batch[target] for target in self.settings.targets], dim=1)
        wanted = (labels - self.model.label_mean) / self.model.label_std
        return LOSSES[self.settings.loss](self.model(batch), wanted)


def label_statistics(galaxies: SplitView, labels: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (t,) float32 of labels, over the galaxies that have them all.

    A function of the data alone: the same in every process and after every restart.

    Raises
    ------
    DataError
        If one is no label of the data set, or does not differ between galaxies.
    """
    known = columns_of_role(galaxies.schema, "label")
    for name in labels:
        if name not in known:
            raise DataError(f"the data set has no label {name!r}", f"some of {', '.join(known)}", suggest(name, known))
    values = np.stack([galaxies.column(name) for name in labels], axis=1)
    values = values[np.isfinite(values).all(axis=1)]
    spread = values.std(axis=0) if len(values) else np.zeros(len(labels))
    for name, deviation in zip(labels, spread, strict=True):
        if not deviation > 0:
            raise DataError(f"{len(values)} galaxies to train on have one value of {name!r}", "labels that differ")
    return torch.from_numpy(values.mean(axis=0)).float(), torch.from_numpy(spread).float()
