"""What an encoder is, and the table of those that a configuration may name.

The defaults of every encoder are those of the published model, so that the name alone rebuilds it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from astroclip_bench.errors import EmbedderError
from astroclip_bench.plugins import suggest


class Encoder(nn.Module):
    """A network from the raw columns of one modality to tokens, and to a vector of its own.

    Preprocessing is part of it, so that it takes what a data set holds: ``image`` (n, 3, H, W) in nanomaggies (bands
    g, r, z), ``flux`` and ``ivar`` (n, pixels).

    Attributes
    ----------
    modality
        ``image``, ``spectrum`` or ``text``.
    columns
        What it reads of a batch. ``ivar`` may be missing for those that only mask by it: then no pixel is masked.
    width
        Components of a token.
    dimension
        Components of the vector that `forward` gives.
    preprocessing
        What it does to its input, in words.
    config
        Plain values from which `build_encoder` rebuilds it, ``name`` among them.
    strings
        Columns of text among them, and what makes numbers of each for training.
    """

    modality: str
    columns: tuple[str, ...]
    width: int
    dimension: int
    preprocessing: str
    config: dict[str, Any]
    strings: Mapping[str, Callable[[Sequence[str]], Tensor]] = {}

    def tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the tokens (n, t, width) of a batch."""
        raise NotImplementedError

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the encoder's own embedding (n, dimension) of a batch."""
        raise NotImplementedError


def build_encoder(name: str, config: Mapping[str, Any]) -> Encoder:
    """Return the encoder of a name and configuration, with fresh (or, where it says so, pre-trained) weights.

    Parameters
    ----------
    name
        ``specformer``, ``vit``, ``timm``, ``spender``, ``spender-autoencoder``, ``stein``, ``convnet``, ``photometry``,
        ``logformer``, ``clip-image`` or ``clip-text``.
    config
        Arguments of its class, plain values; the published model's where left out.

    Raises
    ------
    EmbedderError
        If the name or a key of the configuration is unknown, with the nearest one.
    """
    classes = _classes()
    if name not in classes:
        raise EmbedderError(f"unknown encoder {name!r}", todo=suggest(name, classes))
    values = complete_config(f"encoder {name!r}", classes[name], config)
    encoder = classes[name](**values)
    if "pretrained" in values:
        values["pretrained"] = False  # the weights are in the state dict now: rebuilding must not fetch them again
    encoder.config = {"name": name, **values}
    return encoder


def complete_config(where: str, build: Callable[..., Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return every keyword that `build` takes with its value: the configuration's, or the default.

    Raises
    ------
    EmbedderError
        If the configuration has a key that `build` does not take, or lacks one that has no default.
    """
    parameters = inspect.signature(build).parameters
    for key in config:
        if key not in parameters:
            raise EmbedderError(f"{where} has no setting {key!r}", todo=suggest(key, parameters))
    values = {key: config.get(key, parameter.default) for key, parameter in parameters.items()}
    missing = [key for key, value in values.items() if value is inspect.Parameter.empty]
    if missing:
        raise EmbedderError(f"{where} lacks the setting {missing[0]!r}", todo="add it to the configuration")
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _classes() -> dict[str, type[Encoder]]:
    from baselines.astroclip.convnet import SpectrumConvNet
    from baselines.astroclip.image_transformer import TimmBackbone, VisionTransformer
    from baselines.astroclip.logformer import LogFormer
    from baselines.astroclip.specformer import SpecFormer
    from baselines.astroclip.spender import SpenderEncoder
    from baselines.astroclip.stein import SteinEncoder
    from baselines.astroclip.text import TextEncoder
    from baselines.astroclip_v1.causal import SpectrumGpt
    from baselines.hubbleclip.image import ClipImageEncoder
    from baselines.spender.autoencoder import SpenderAutoencoder
    from baselines.supervised.photometry import PhotometryEncoder

    return {
        "specformer": SpecFormer,
        "vit": VisionTransformer,
        "timm": TimmBackbone,
        "spender": SpenderEncoder,
        "spender-autoencoder": SpenderAutoencoder,
        "spectrum-gpt": SpectrumGpt,
        "stein": SteinEncoder,
        "convnet": SpectrumConvNet,
        "photometry": PhotometryEncoder,
        "logformer": LogFormer,
        "clip-image": ClipImageEncoder,
        "clip-text": TextEncoder,
    }
