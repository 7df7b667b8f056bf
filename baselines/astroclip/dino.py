"""Self-distillation of a vision transformer, as AstroDINO (Parker et al. 2024, section 4.1; DINOv2: Oquab et al. 2023).

A student learns from its own moving average, the teacher: class tokens of all views agree with the teacher's (DINO),
masked patches with what the teacher sees there (iBOT), and class tokens spread out (KoLeo). Losses, heads and
schedules are lightly's.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from baselines.astroclip.architecture import SingleEncoder
from baselines.astroclip.augment_image import MultiCrop, multi_crop
from baselines.astroclip.draws import uniform
from baselines.astroclip.teacher import encoder_from, exported, follow, lightly

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class DinoSettings:
    """Recipe of a `DinoStage`; the defaults are AstroDINO's.

    Parameters
    ----------
    encoder
        ``name`` (``vit``) and settings of the encoder, its drop path among them.
    views
        How the views are cut out and degraded.
    prototypes, hidden, bottleneck
        Sizes of the projection head.
    patch_head
        Give patches a head of their own.
    ibot_weight, koleo_weight
        Weights of these losses beside DINO's.
    masked_views, mask_ratio
        Share of the global views that are masked, and the range of the share of their patches.
    momentum
        Of the teacher, at the first and at the last step (cosine).
    teacher_temperature, warm_up
        At the first step and after that share of the steps (linear).
    student_temperature
        The same throughout.
    frozen_prototypes
        Share of the steps in which the prototypes stay as they are.
    """

    encoder: Mapping[str, Any]
    views: MultiCrop = field(default_factory=MultiCrop)
    prototypes: int = 65536
    hidden: int = 2048
    bottleneck: int = 256
    patch_head: bool = False
    ibot_weight: float = 1.0
    koleo_weight: float = 0.1
    masked_views: float = 0.5
    mask_ratio: tuple[float, ...] = (0.1, 0.5)
    momentum: tuple[float, ...] = (0.992, 1.0)
    teacher_temperature: tuple[float, ...] = (0.04, 0.07)
    warm_up: float = 0.3
    student_temperature: float = 0.1
    frozen_prototypes: float = 0.01


class DinoBranch(nn.Module):
    """A vision transformer with its projection heads: the student, or the teacher."""

    def __init__(self, settings: DinoSettings, encoder: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder: Any = encoder_from(encoder)
        self.mask_token = nn.Parameter(torch.zeros(self.encoder.width))
        self.head = _dino_head(self.encoder.width, settings)
        self.own_patch_head = _dino_head(self.encoder.width, settings) if settings.patch_head else None

    def tokens(self, image: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return class tokens (n, width) and patches (n x patches, width) of images in nanomaggies, some masked."""
        tokens = self.encoder.encode(self.encoder.input.planes(image), mask, self.mask_token)
        return tokens[:, 0], tokens[:, self.encoder.prefix_tokens :].flatten(0, 1)

    def project_patches(self, patches: Tensor) -> Tensor:
        """Return the scores (m, prototypes) of patches (m, width)."""
        scores: Tensor = (self.own_patch_head or self.head)(patches)
        return scores


class DinoModel(nn.Module):
    """Student, teacher, and the losses, whose running centres belong to what a checkpoint keeps."""

    def __init__(self, settings: DinoSettings) -> None:
        super().__init__()
        loss = lightly("loss")
        self.settings = settings
        self.student = DinoBranch(settings, settings.encoder)
        self.teacher = DinoBranch(settings, self.student.encoder.config)
        follow(self.teacher, self.student)
        self.losses = nn.ModuleDict(
            {
                "dino": loss.DINOLoss(settings.prototypes, student_temp=settings.student_temperature),
                "ibot": loss.IBOTPatchLoss(settings.prototypes, student_temp=settings.student_temperature),
                "koleo": loss.KoLeoLoss(),
            }
        )

    def train(self, mode: bool = True) -> DinoModel:
        """Switch to training mode; the teacher drops no path."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(
        self,
        whole: list[Tensor],
        parts: list[Tensor],
        mask: Tensor,
        temperature: float,
        losses: nn.ModuleDict | None = None,
    ) -> dict[str, Tensor]:
        """Return ``loss`` and the parts of its weighted sum.

        Parameters
        ----------
        whole, parts
            Global and local views (n, 3, H, W) in nanomaggies; the teacher sees the global ones, unmasked.
        mask
            Patches (global views x n, H / patch, W / patch) the student does not see. Made on the CPU, it saves a GPU
            the wait for the number of its entries.
        temperature
            Of the teacher.
        losses
            Use these, and move their centres, instead of `self.losses`.
        """
        losses = self.losses if losses is None else losses
        image, masked = torch.cat(whole), mask.flatten().nonzero().squeeze(1).to(whole[0].device)
        mask = mask.to(image.device)
        with torch.no_grad():
            token, patches = self.teacher.tokens(image)
            taught = self.teacher.head(token), self.teacher.project_patches(patches[masked])
        token, patches = self.student.tokens(image, mask)
        tokens = [*token.chunk(len(whole))]
        if parts:
            tokens += self.student.tokens(torch.cat(parts))[0].chunk(len(parts))
        learned = [self.student.head(view) for view in tokens]
        learned_patches = self.student.project_patches(patches[masked])
        with torch.autocast(image.device.type, enabled=False):
            values = {
                "dino": losses["dino"](
                    list(taught[0].float().chunk(len(whole))), [scores.float() for scores in learned], temperature
                ),
                "koleo": sum((losses["koleo"](view.float()) for view in tokens[: len(whole)]), torch.zeros(())),
            }
            if len(masked):
                values["ibot"] = losses["ibot"](taught[1].float(), learned_patches.float(), mask, temperature)
            weights = {"dino": 1.0, "ibot": self.settings.ibot_weight, "koleo": self.settings.koleo_weight}
            loss = torch.stack([weights[name] * value for name, value in values.items() if weights[name]]).sum()
        return {"loss": loss, **values}


class DinoStage:
    """Self-distillation of a vision transformer, as the engine runs it; the teacher's encoder is what it is for.

    Parameters
    ----------
    settings
        The recipe.
    steps
        Optimiser steps that the schedules of momentum and temperature run over.
    """

    columns = ("image",)
    forward_methods = ()

    def __init__(self, settings: DinoSettings, steps: int) -> None:
        self.settings, self.steps = settings, steps
        self.model = DinoModel(settings)
        self._schedules = lightly("utils.scheduler")

    def step(
        self, batch: Batch, backward: Callable[[Tensor], None], step: int, generator: Generator
    ) -> dict[str, Tensor]:
        """Compute one batch and its gradients."""
        values = self.model(*self._views(batch, generator), self._temperature(step))
        backward(values["loss"])
        if step < self.settings.frozen_prototypes * self.steps:
            for head in (self.model.student.head, self.model.student.own_patch_head):
                for parameter in head.last_layer.parameters() if head is not None else ():
                    parameter.grad = None
        return {name: value.detach() for name, value in values.items()}

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        momentum = self._schedules.cosine_schedule(step, self.steps, *self.settings.momentum)
        lightly("models.utils").update_momentum(self.model.student, self.model.teacher, momentum)

    def validation_loss(self, batch: Batch, generator: Generator) -> Tensor:
        """Return the loss of one batch at the last temperature; nothing is moved by it."""
        views = self._views(batch, generator)
        with torch.no_grad():
            values = self.model(*views, self.settings.teacher_temperature[1], copy.deepcopy(self.model.losses))
        return values["loss"]  # type: ignore[no-any-return]

    def export(self) -> tuple[str, int, dict[str, Any], dict[str, Tensor]]:
        """Return the teacher's encoder as a model file holds it."""
        return exported(self.model.teacher.encoder)

    def embedder(self) -> SingleEncoder:
        """Return the teacher's encoder as the harness calls it."""
        return SingleEncoder(self.model.teacher.encoder)

    def _views(self, batch: Batch, generator: Generator) -> tuple[list[Tensor], list[Tensor], Tensor]:
        settings = self.settings
        whole, parts = multi_crop(batch["image"], generator, settings.views)
        places = settings.views.global_size // int(self.model.student.encoder.config["patch"])
        mask = patch_mask(len(torch.cat(whole)), places, generator, settings.masked_views, settings.mask_ratio)
        return whole, parts, mask

    def _temperature(self, step: int) -> float:
        length = max(1, round(self.settings.warm_up * self.steps))
        return float(self._schedules.linear_warmup_schedule(step, length, *self.settings.teacher_temperature))


def patch_mask(n: int, places: int, generator: Generator, share: float, ratio: tuple[float, ...]) -> Tensor:
    """Return (n, places, places) bool, on the generator's device: patches to hide, in blobs.

    Of `share` of the images, a part drawn from the range `ratio`: where smoothed noise is highest. (lightly's block
    masks come from Python's global generator, which a step's own generator does not govern.)
    """
    low, high = ratio
    chosen = uniform(generator, n).argsort() < round(share * n)
    count = ((low + (high - low) * uniform(generator, n)) * places**2).round().clamp(min=1) * chosen
    noise = functional.avg_pool2d(uniform(generator, n, 1, places, places), 3, 1, 1, count_include_pad=False)
    rank = noise.flatten(1).argsort(descending=True).argsort()
    return torch.reshape(rank < count[:, None], (n, places, places))


def _dino_head(width: int, settings: DinoSettings) -> Any:
    head = lightly("models.modules").DINOv2ProjectionHead
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # lightly uses torch's old weight normalisation
        return head(width, settings.hidden, settings.bottleneck, settings.prototypes)
