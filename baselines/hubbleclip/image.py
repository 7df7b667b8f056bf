"""The image tower of a CLIP model as an encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from astroclip_bench.errors import EmbedderError
from baselines.astroclip.encoders import Encoder
from baselines.astroclip.inputs import ImageInput
from baselines.hubbleclip.towers import PUBLISHED, clip_tower, tower_sizes


class ClipImageEncoder(Encoder):
    """An image tower of open_clip's with its projection; the defaults are HubbleCLIP's (Mishra-Sharma et al. 2024).

    Parameters
    ----------
    model
        A name of open_clip's.
    pretrained
        Tag of published weights to start from.
    sizes
        open_clip's own ``embed_dim`` and ``vision_cfg``, instead of those of `model`.
    crop, transform, softening, resize, mean, std
        As `ImageInput` takes them. The tower's ``image_size`` is what comes out; mean and standard deviation are
        OpenAI's unless given.
    """

    modality = "image"
    columns = ("image",)
    tower: Any

    def __init__(
        self,
        *,
        model: str = PUBLISHED,
        pretrained: str | bool = False,
        sizes: Mapping[str, Any] | None = None,
        crop: int = 224,
        transform: str = "unit",
        softening: Sequence[float] = (0.005, 0.01, 0.02),
        resize: int | None = None,
        mean: Sequence[float] | None = (0.48145466, 0.4578275, 0.40821073),
        std: Sequence[float] | None = (0.26862954, 0.26130258, 0.27577711),
    ) -> None:
        super().__init__()
        self.input = ImageInput(transform, crop, softening=softening, resize=resize, mean=mean, std=std)
        self.preprocessing = self.input.description
        config = tower_sizes("visual", model, sizes)
        wanted = config["vision_cfg"].get("image_size", 224)
        if self.input.size != wanted:
            raise EmbedderError(f"images of {self.input.size} pixels for a tower of {wanted}", "crop or resize to it")
        self.tower = clip_tower("visual", model, pretrained, sizes)
        self.dimension = self.width = int(config["embed_dim"])

    def tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the one token (n, 1, dimension) that the tower pools to."""
        return self.forward(batch)[:, None]

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the projected vector (n, dimension) of ``image`` (n, 3, H, W)."""
        vectors: Tensor = self.tower(self.input(batch["image"]))
        return vectors
