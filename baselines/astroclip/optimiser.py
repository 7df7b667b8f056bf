"""What the optimiser is, which parameters decay, and how the learning rate goes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from baselines.astroclip.config import TrainSettings


def decayed_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return optimiser groups of the trainable parameters: matrices decay, biases, norms and scalars do not."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trainable if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trainable if parameter.ndim < 2], "weight_decay": 0.0},
    ]


def make_optimiser(model: nn.Module, settings: TrainSettings, *, fused: bool) -> torch.optim.Optimizer:
    """Return the optimiser that the settings ask for; `fused` is one kernel for all parameters."""
    groups = decayed_groups(model, settings.weight_decay)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.betas[0], fused=fused)
    betas = (settings.betas[0], settings.betas[1])
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.AdamW
    return kind(groups, lr=settings.learning_rate, betas=betas, fused=fused)


def make_plateau(optimiser: torch.optim.Optimizer, settings: TrainSettings) -> ReduceLROnPlateau | None:
    """Return what lowers the learning rate where the validation loss stays, if the settings ask for it.

    Its state is plain values; the rate itself is the optimiser's.
    """
    if settings.schedule != "plateau":
        return None
    return ReduceLROnPlateau(optimiser, factor=settings.plateau_factor, patience=settings.plateau_patience)


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Return the learning rate of a step of the schedule ``cosine``: a linear warm-up, a cosine, and then its end."""
    warm_up, cosine = (value if value > 1 else value * steps for value in (settings.warm_up, settings.cosine))
    if step < warm_up:
        return settings.learning_rate * (step + 1) / max(warm_up, 1)
    share = min(1.0, (step - warm_up) / max(min(cosine, steps) - warm_up, 1))
    rate = settings.final_rate + (1 - settings.final_rate) * 0.5 * (1 + math.cos(math.pi * share))
    return settings.learning_rate * rate
