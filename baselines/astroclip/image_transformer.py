"""Image encoders built by timm: a vision transformer as AstroDINO uses it, and any other backbone by its name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from astroclip_bench.errors import EmbedderError
from astroclip_bench.plugins import suggest
from astroclip_bench.records import PIXEL_SCALE_ARCSEC
from astroclip_bench.timm_compat import import_timm
from baselines.astroclip.encoders import Encoder
from baselines.astroclip.inputs import ImageInput, centre_crop

APERTURE_SOFTENING_NMGY = 0.3


class VisionTransformer(Encoder):
    """A timm vision transformer; the defaults are AstroDINO's ViT-L with patches of 12 pixels (Parker et al. 2024).

    Its own embedding is the class token. `prefix_tokens` of its tokens (class token, registers) stand for no patch.

    Parameters
    ----------
    backbone
        Name of a timm vision transformer, whose sizes `patch`, `width`, `depth` and `heads` replace where given.
    crop, transform, softening, mean, std, swap_axes
        As `ImageInput` takes them; `crop` is what the learned positions are for.
    layer_scale
        Start value of the factor on each residual branch; None for no such factor.
    drop_path
        Largest probability of leaving a residual branch out, while training.
    bare_tokens
        `tokens` leaves out class token and positions, as the published alignment does: patch embedding, blocks, norm.
    pretrained
        Start from timm's weights of that name, resampled to this patch and crop.
    """

    modality = "image"
    columns = ("image",)
    backbone: Any

    def __init__(
        self,
        *,
        backbone: str = "vit_large_patch14_dinov2",
        patch: int = 12,
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        crop: int = 144,
        transform: str = "dr2_rgb",
        softening: Sequence[float] = (0.005, 0.01, 0.02),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        swap_axes: bool = False,
        layer_scale: float | None = 1e-5,
        drop_path: float = 0.0,
        bare_tokens: bool = False,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.input = ImageInput(transform, crop, softening=softening, mean=mean, std=std, swap_axes=swap_axes)
        self.preprocessing = self.input.description
        self.bare_tokens = bare_tokens
        sizes = {"embed_dim": width, "depth": depth, "num_heads": heads}
        self.backbone = _create(
            backbone,
            pretrained,
            img_size=crop,
            patch_size=patch,
            init_values=layer_scale,
            drop_path_rate=drop_path,
            dynamic_img_size=True,
            **{name: value for name, value in sizes.items() if value is not None},
        )
        if not getattr(self.backbone, "has_class_token", False):
            raise EmbedderError(f"timm model {backbone!r} has no class token", todo="name it as encoder 'timm' instead")
        self.width = self.dimension = int(self.backbone.embed_dim)
        self.prefix_tokens = int(self.backbone.num_prefix_tokens)

    def encode(self, planes: Tensor, mask: Tensor | None = None, mask_token: Tensor | None = None) -> Tensor:
        """Return all tokens (n, prefix + patches, width), class token first, of planes that `input` gave.

        Parameters
        ----------
        planes
            (n, 3, H, W) of any size that patches fill; positions are resampled to it.
        mask, mask_token
            Patches (n, H / patch, W / patch) bool whose embedding is replaced by a learned token (width,) before the
            positions are added, for masked-image training.
        """
        patches = self.backbone.patch_embed(planes)  # (n, rows, columns, width): positions are added afterwards
        if mask is not None and mask_token is not None:
            patches = torch.where(mask[..., None], mask_token.to(patches.dtype), patches)
        # timm's own forward_features, taken apart where masks go in.
        positioned = self.backbone.norm_pre(self.backbone._pos_embed(patches))
        tokens: Tensor = self.backbone.norm(self.backbone.blocks(positioned))
        return tokens

    def tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the tokens of ``image`` (n, 3, H, W): class token and patches, or (`bare_tokens`) bare patches."""
        planes = self.input(batch["image"])
        if not self.bare_tokens:
            return self.encode(planes)
        patches = self.backbone.patch_embed(planes).flatten(1, 2)
        tokens: Tensor = self.backbone.norm(self.backbone.blocks(patches))
        return tokens

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the class token (n, width) of ``image`` (n, 3, H, W)."""
        return self.encode(self.input(batch["image"]))[:, 0]


class TimmBackbone(Encoder):
    """Any timm backbone; its own embedding is the pooled feature before the classifier.

    Parameters
    ----------
    backbone
        A timm name, or ``hf_hub:owner/name`` for weights on the Hub.
    pretrained
        Start from the weights of that name; what they expect (size, mean, standard deviation) is given by the others.
    crop, transform, softening, resize, mean, std
        As `ImageInput` takes them.
    options
        Further keywords of ``timm.create_model``, plain values.
    stem_pool
        Keep a ResNet's max pooling behind its first convolution; small images are better off without.
    apertures
        Radii, arcsec, of circles about the centre whose fluxes go beside the pooled feature: pooled maps alone are a
        poor measure of total flux.
    """

    modality = "image"
    columns = ("image",)
    backbone: Any

    def __init__(
        self,
        *,
        backbone: str = "resnet18",
        pretrained: bool = False,
        crop: int = 96,
        transform: str = "dr2_rgb",
        softening: Sequence[float] = (0.005, 0.01, 0.02),
        resize: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        options: Mapping[str, Any] | None = None,
        stem_pool: bool = True,
        apertures: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.input = ImageInput(transform, crop, softening=softening, resize=resize, mean=mean, std=std)
        self.preprocessing = self.input.description
        self.backbone = _create(backbone, pretrained, **(options or {}))
        if not stem_pool:
            self.backbone.maxpool = nn.Identity()
        self.width = int(self.backbone.num_features)
        self.dimension = int(getattr(self.backbone, "head_hidden_size", None) or self.width)
        self.apertures = ApertureFluxes(apertures, crop) if apertures else None
        if self.apertures is not None:
            self.dimension += self.apertures.dimension
            self.preprocessing += f", fluxes within {', '.join(f'{radius:g}' for radius in apertures)} arcsec"

    def tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the last feature map's places (n, t, width), or a transformer's tokens."""
        maps: Tensor = self.backbone.forward_features(self.input(batch["image"]))
        if maps.ndim == 3:
            return maps
        if getattr(self.backbone, "output_fmt", "NCHW") == "NHWC":
            return maps.flatten(1, 2)
        return maps.flatten(2).transpose(1, 2)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the pooled features, and the fluxes where asked, (n, dimension) of ``image`` (n, 3, H, W)."""
        features: Tensor = self.backbone(self.input(batch["image"]).contiguous(memory_format=torch.channels_last))
        if self.apertures is None:
            return features
        return torch.cat([features, self.apertures(batch["image"]).to(features.dtype)], dim=1)


class ApertureFluxes(nn.Module):
    """Fluxes of the three bands in circles about the centre, stretched by asinh and standardised.

    Parameters
    ----------
    radii
        Arcsec.
    size
        Side of the central square that they are measured on, pixels.
    """

    masks: Tensor

    def __init__(self, radii: Sequence[float], size: int) -> None:
        super().__init__()
        self.dimension = 3 * len(radii)
        offset = (torch.arange(size) - (size - 1) / 2) * PIXEL_SCALE_ARCSEC
        distance = torch.hypot(offset[:, None], offset[None, :])
        inside = (torch.tensor(radii)[:, None, None] - distance) / PIXEL_SCALE_ARCSEC + 0.5
        self.register_buffer("masks", inside.clamp(0, 1).flatten(1), persistent=False)
        self.standardise = nn.BatchNorm1d(self.dimension, affine=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return (n, 3 x radii) of images (n, 3, H, W) in nanomaggies; not finite counts as 0."""
        size = math.isqrt(self.masks.shape[1])
        with torch.autocast(image.device.type, enabled=False):  # sums over thousands of pixels need float32
            pixels = torch.nan_to_num(centre_crop(image, size).float(), nan=0.0, posinf=0.0, neginf=0.0)
            fluxes = torch.asinh(pixels.flatten(2) @ self.masks.float().T / APERTURE_SOFTENING_NMGY)
        standardised: Tensor = self.standardise(fluxes.flatten(1).to(self.masks.dtype))
        return standardised


def _create(name: str, pretrained: bool, **options: Any) -> Any:
    """Return a timm model without classifier.

    Raises
    ------
    EmbedderError
        If timm has no model of that name, it does not take these options, or its weights cannot be had.
    """
    timm = import_timm()
    if "/" not in name and not timm.is_model(name.partition(".")[0]):
        raise EmbedderError(f"timm has no model {name!r}", todo=suggest(name, timm.list_models()))
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except (AssertionError, OSError, RuntimeError, TypeError, ValueError) as error:  # timm checks as it goes
        raise EmbedderError(f"timm cannot make {name!r} with {options}: {error}") from error
