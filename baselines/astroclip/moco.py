"""Momentum contrast of an image encoder, as Stein et al. 2021 (MoCo v2: Chen et al. 2020).

Two views of a galaxy find each other among a queue of others. Loss, head and memory bank are lightly's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from baselines.astroclip.architecture import SingleEncoder
from baselines.astroclip.augment_image import ImageAugmentation, augment_image
from baselines.astroclip.teacher import encoder_from, exported, follow, lightly

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class MocoSettings:
    """Recipe of a `MocoStage`; the defaults are those of Stein et al. 2021.

    Parameters
    ----------
    encoder
        ``name`` (``stein``, or any other of images) and settings of the encoder.
    augmentation
        How either view is made.
    hidden, dimension
        Sizes of the projection head.
    queue
        Number of projections of earlier galaxies that serve as negatives.
    momentum
        Of the teacher.
    temperature
        Divides the cosine.
    """

    encoder: Mapping[str, Any]
    augmentation: ImageAugmentation = field(default_factory=ImageAugmentation)
    hidden: int = 2048
    dimension: int = 128
    queue: int = 65536
    momentum: float = 0.996
    temperature: float = 0.2


class MocoModel(nn.Module):
    """Student, teacher, and the queue of the teacher's earlier projections."""

    def __init__(self, settings: MocoSettings) -> None:
        super().__init__()
        self.student = self._branch(settings, settings.encoder)
        self.teacher = self._branch(settings, self.student[0].config)  # type: ignore[arg-type]
        follow(self.teacher, self.student)
        size = (settings.queue, settings.dimension)
        self.criterion = lightly("loss").NTXentLoss(settings.temperature, size, gather_distributed=True)
        bank = self.criterion.memory_bank
        for name in ("bank", "bank_ptr"):  # lightly leaves the queue out of the state; a resumed run needs it
            bank.register_buffer(name, getattr(bank, name), persistent=True)
        self.normalises_batches = any(isinstance(module, _BatchNorm) for module in self.modules())

    @staticmethod
    def _branch(settings: MocoSettings, config: Mapping[str, Any]) -> nn.Sequential:
        encoder = encoder_from(config)
        head = lightly("models.modules").MoCoProjectionHead(encoder.dimension, settings.hidden, settings.dimension)
        return nn.Sequential(encoder, head)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the loss of two views (n, 3, H, W) in nanomaggies; with gradients on, the queue moves on."""
        shuffling = lightly("models.utils")
        # A batch's statistics tell which galaxies are in it, so the teacher's batches are mixed over the processes.
        mixed = self.normalises_batches and distributed.is_initialized()
        with torch.no_grad():
            if mixed:
                key, order = shuffling.batch_shuffle(key, distributed=True)
            found = self.teacher({"image": key}).float()
            if mixed:
                found = shuffling.batch_unshuffle(found, order, distributed=True)
        asked = self.student({"image": query}).float()
        with torch.autocast(query.device.type, enabled=False):
            loss: Tensor = self.criterion(asked, found)
        return loss


class MocoStage:
    """Momentum contrast of an image encoder, as the engine runs it; the student's encoder is what it is for.

    Parameters
    ----------
    settings
        The recipe.
    """

    columns = ("image",)
    forward_methods = ()

    def __init__(self, settings: MocoSettings) -> None:
        self.settings = settings
        self.model = MocoModel(settings)

    def step(
        self, batch: Batch, backward: Callable[[Tensor], None], step: int, generator: Generator
    ) -> dict[str, Tensor]:
        """Compute one batch and its gradients."""
        loss = self.model(*self._views(batch, generator))
        backward(loss)
        return {"loss": loss.detach()}

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        lightly("models.utils").update_momentum(self.model.student, self.model.teacher, self.settings.momentum)

    def validation_loss(self, batch: Batch, generator: Generator) -> Tensor:
        """Return the loss of one batch; the queue stays."""
        with torch.no_grad():
            loss: Tensor = self.model(*self._views(batch, generator))
        return loss

    def export(self) -> tuple[str, int, dict[str, Any], dict[str, Tensor]]:
        """Return the student's encoder as a model file holds it."""
        return exported(self.model.student[0])

    def embedder(self) -> SingleEncoder:
        """Return the student's encoder as the harness calls it."""
        return SingleEncoder(self.model.student[0])  # type: ignore[arg-type]

    def _views(self, batch: Batch, generator: Generator) -> list[Tensor]:
        return [augment_image(batch["image"], generator, self.settings.augmentation) for _ in range(2)]
