"""The architecture ``contrastive-mini``: one small convolutional encoder a modality, one shared embedding space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from astroclip_bench.errors import EmbedderError
from astroclip_bench.timm_compat import import_timm
from baselines.contrastive_mini import preprocess as pre

ARCHITECTURE = "contrastive-mini"
ARCHITECTURE_VERSION = 1
MODALITIES = ("image", "spectrum")
PREPROCESSING = (
    "image: central 96 px, 2x2 mean, asinh(x / (0.005, 0.010, 0.020) nmgy) / 2, and asinh of aperture fluxes at "
    "0.75, 1.5, 3, 5, 8, 12 arcsec; spectrum: inverse-variance mean in 2000 bins of 150 km/s (ivar 0 masked), "
    "continuum taken off by a running mean, in units of the noise and of the spectrum's own scale, and asinh of 20 "
    "band fluxes; embeddings L2-normalised"
)


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks; plain values, stored in the model file."""

    dimension: int = 128
    image_channels: tuple[int, ...] = (24, 48, 96, 160)
    spectrum_channels: tuple[int, ...] = (48, 64, 128, 128)
    spectrum_strides: tuple[int, ...] = (4, 2, 2, 1)
    spectrum_kernel: int = 9
    position_channels: int = 8
    hidden: int = 256

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> ModelConfig:
        """Read a stored configuration.

        Raises
        ------
        EmbedderError
            If a key is unknown.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(config) - known)
        if unknown:
            raise EmbedderError(
                f"configuration of {ARCHITECTURE!r} has unknown keys {unknown}", f"keys among {sorted(known)}"
            )
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in config.items()
        }
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )


class ImageEncoder(nn.Module):
    """A thin ResNet (He et al. 2016) with one basic block a stage, beside the aperture fluxes."""

    masks: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        resnet = import_timm().models.resnet
        self.backbone = resnet.ResNet(
            resnet.BasicBlock,
            [1] * len(config.image_channels),
            channels=config.image_channels,
            num_classes=0,
            global_pool="catavgmax",
        )
        self.backbone.maxpool = nn.Identity()  # the input is small already: 48 px
        self.standardise = nn.BatchNorm1d(pre.N_APERTURE_FEATURES, affine=False)
        self.head = _head(2 * config.image_channels[-1] + pre.N_APERTURE_FEATURES, config.hidden, config.dimension)
        self.register_buffer("masks", torch.from_numpy(pre.aperture_masks()), persistent=False)

    def reduce(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled pixels and aperture fluxes of (n, 3, H, W) images, both in nanomaggies."""
        return pre.reduce_image(image, self.masks)

    def forward(self, pixels: Tensor, apertures: Tensor) -> Tensor:
        """Return (n, dimension) from the outputs of `reduce`."""
        pixels, features = pre.stretch_image(pixels, apertures)
        dtype = next(self.parameters()).dtype
        pooled = self.backbone(pixels.to(dtype).contiguous(memory_format=torch.channels_last))
        vectors: Tensor = self.head(torch.cat([pooled, self.standardise(features.to(dtype))], dim=1))
        return vectors


class SpectrumEncoder(nn.Module):
    """Strided convolutions along log wavelength, read out both by place and by attention.

    A redshift moves every line by the same number of bins. Reading the last map out place by place keeps where the
    lines are; reading it out by a softmax along wavelength (as in Melchior et al. 2023) keeps what they are.
    """

    index: Tensor
    weight: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = pre.N_SPECTRUM_CHANNELS
        for outputs, stride in zip(config.spectrum_channels, config.spectrum_strides, strict=True):
            # Two-dimensional convolutions of height one: on CPUs they have the faster kernels.
            layers += [
                nn.Conv2d(
                    inputs,
                    outputs,
                    (1, config.spectrum_kernel),
                    (1, stride),
                    (0, config.spectrum_kernel // 2),
                    bias=False,
                ),
                nn.BatchNorm2d(outputs),
                nn.GELU(),
            ]
            inputs = outputs
        self.backbone = nn.Sequential(*layers)
        length = pre.N_BINS // math.prod(config.spectrum_strides)
        self.position = nn.Conv2d(inputs, config.position_channels, 1)
        self.attention = nn.Conv2d(inputs, 2 * inputs, 1)
        self.standardise = nn.BatchNorm1d(pre.N_SPECTRUM_FEATURES, affine=False)
        self.head = _head(
            config.position_channels * length + inputs + pre.N_SPECTRUM_FEATURES, config.hidden, config.dimension
        )
        index, weight = pre.bin_overlaps()
        self.register_buffer("index", torch.from_numpy(index), persistent=False)
        self.register_buffer("weight", torch.from_numpy(weight), persistent=False)

    def reduce(self, flux: Tensor, ivar: Tensor) -> tuple[Tensor, Tensor]:
        """Return flux and ivar of (n, 7781) spectra in logarithmic bins."""
        return pre.rebin_spectrum(flux, ivar, self.index, self.weight)

    def forward(self, flux: Tensor, ivar: Tensor) -> Tensor:
        """Return (n, dimension) from the outputs of `reduce`."""
        channels, features = pre.stretch_spectrum(flux, ivar)
        dtype = next(self.parameters()).dtype
        maps = channels.to(dtype)[:, :, None].contiguous(memory_format=torch.channels_last)
        maps = self.backbone(maps)
        value, score = self.attention(maps).flatten(2).chunk(2, dim=1)
        pooled = (value * score.softmax(dim=-1)).sum(-1)
        places = functional.gelu(self.position(maps)).flatten(1)
        vectors: Tensor = self.head(torch.cat([places, pooled, self.standardise(features.to(dtype))], dim=1))
        return vectors


class ContrastiveMini(nn.Module):
    """Image and spectrum encoders into one space, compared by cosine.

    Attributes
    ----------
    version, modalities, dimension, preprocessing
        What the harness reads of an architecture.
    """

    version = ARCHITECTURE_VERSION
    modalities = MODALITIES
    preprocessing = PREPROCESSING

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.dimension = config.dimension
        self.image = ImageEncoder(config)
        self.spectrum = SpectrumEncoder(config)

    def embed(self, batch: Mapping[str, Tensor], modality: str) -> Tensor:
        """Return L2-normalised embeddings (n, dimension) float32 of one modality.

        Parameters
        ----------
        batch
            ``image`` (n, 3, H, W) in nanomaggies, or ``flux`` and ``ivar`` (n, 7781).

        Raises
        ------
        EmbedderError
            If the modality is not one of `modalities`.
        """
        if modality == "image":
            vectors = self.image(*self.image.reduce(batch["image"]))
        elif modality == "spectrum":
            vectors = self.spectrum(*self.spectrum.reduce(batch["flux"], batch["ivar"]))
        else:
            raise EmbedderError(f"{ARCHITECTURE!r} has no modality {modality!r}", f"one of {list(MODALITIES)}")
        return functional.normalize(vectors.float(), dim=1)


def build(config: Mapping[str, Any]) -> ContrastiveMini:
    """Return the network of a stored configuration, with fresh weights (entry point ``contrastive-mini``)."""
    return ContrastiveMini(ModelConfig.from_mapping(config))
