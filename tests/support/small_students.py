"""Self-supervised stages, and galaxies, small enough to train in a second."""

from __future__ import annotations

import torch

from baselines.astroclip.augment_image import ImageAugmentation, MultiCrop
from baselines.astroclip.dino import DinoSettings, DinoStage
from baselines.astroclip.moco import MocoSettings, MocoStage

N, SIZE, PATCH = 8, 28, 6
VIT = {
    "name": "vit",
    "backbone": "vit_tiny_patch16_224",
    "patch": PATCH,
    "crop": 24,
    "width": 24,
    "depth": 2,
    "heads": 2,
    "layer_scale": None,
}
RESNET = {"name": "timm", "backbone": "resnet10t", "crop": 24, "options": {"channels": [8, 8, 16, 16], "stem_width": 8}}
DINO = DinoSettings(
    encoder=VIT,
    views=MultiCrop(global_size=24, local_size=12, local_views=2),
    prototypes=32,
    hidden=24,
    bottleneck=8,
    frozen_prototypes=0.0,
)
MOCO = MocoSettings(encoder=VIT, augmentation=ImageAugmentation(size=24, jitter=2), hidden=32, dimension=8, queue=24)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def galaxies(n=N):
    """Return blobs of random place, width and colour, in nanomaggies."""
    generator = seeded(5)
    axis = torch.arange(SIZE) - SIZE / 2
    x, y, width = 12 * torch.rand(3, n, 1, 1, generator=generator) + torch.tensor([-6, -6, 2])[:, None, None, None]
    blob = torch.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * width**2))
    return {"image": blob[:, None] * torch.rand(n, 3, 1, 1, generator=generator)}


def stage(kind, settings, **changes):
    torch.manual_seed(0)
    settings = type(settings)(**{**vars(settings), **changes})
    return DinoStage(settings, 40) if kind == "dino" else MocoStage(settings)


def train(made, steps, rate=2e-3, same_views=False):
    optimiser = torch.optim.AdamW([value for value in made.model.parameters() if value.requires_grad], lr=rate)
    made.model.train()
    losses = []
    for step in range(steps):
        optimiser.zero_grad()
        losses.append(
            float(made.step(galaxies(), lambda loss: loss.backward(), step, seeded(0 if same_views else step))["loss"])
        )
        optimiser.step()
        made.after_step(step)
    return losses
