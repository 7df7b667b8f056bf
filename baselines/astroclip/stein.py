"""The image encoder of Stein et al. (2021, arXiv 2110.13151): a ResNet50 trained by MoCo v2 on Legacy Survey images."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from astroclip_bench.timm_compat import import_timm
from baselines.astroclip.encoders import Encoder
from baselines.astroclip.inputs import ImageInput

PROJECTED = 128


class SteinEncoder(Encoder):
    """ResNet50 whose own embedding is the pooled output.

    Parameters
    ----------
    backbone
        Name of a timm ResNet.
    crop
        Side of the central square it sees, pixels.
    projection
        Have the MoCo v2 head beside it: two layers to 128, which `project` gives and only training reads.
    """

    modality = "image"
    columns = ("image",)

    def __init__(self, *, backbone: str = "resnet50", crop: int = 96, projection: bool = False) -> None:
        super().__init__()
        self.input = ImageInput("stein_rgb", crop)
        self.preprocessing = self.input.description
        self.backbone = import_timm().create_model(backbone, num_classes=0)
        self.width = self.dimension = int(self.backbone.num_features)
        if projection:
            self.fc = nn.Sequential(nn.Linear(self.width, self.width), nn.ReLU(), nn.Linear(self.width, PROJECTED))

    def tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the last map's places as tokens, (n, 9, 2048) of 96 px."""
        maps: Tensor = self.backbone.forward_features(self.input(batch["image"]))
        return maps.flatten(2).transpose(1, 2)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the pooled features (n, 2048) of ``image`` (n, 3, H, W)."""
        features: Tensor = self.backbone(self.input(batch["image"]))
        return features

    def project(self, features: Tensor) -> Tensor:
        """Return the projection (n, 128) of pooled features; needs ``projection=True``."""
        projected: Tensor = self.fc(features)
        return projected
