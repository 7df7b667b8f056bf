"""An encoder and a regression head: labels from one modality, and the vectors that they are read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from astroclip_bench.errors import EmbedderError
from baselines.astroclip.alignment import SPECTRUM_SHAPES
from baselines.astroclip.encoders import Encoder, build_encoder, complete_config
from baselines.astroclip.heads import MlpHead

ARCHITECTURE = "supervised"
ARCHITECTURE_VERSION = 1


class SupervisedNetwork(nn.Module):
    """Predicts labels, standardised inside and in their own units outside.

    Its embedding is the last hidden layer: the vector from which every label is a linear function. Without hidden
    layers that is the encoder's own vector.

    Parameters
    ----------
    encoder
        From the columns of one modality to a vector.
    targets
        Names of the labels.
    hidden
        Sizes of the head's hidden layers.
    dropout
        After each hidden layer.

    Attributes
    ----------
    version, modalities, dimension, preprocessing, input_shapes, targets
        What the harness reads of an architecture.
    label_mean, label_std
        Of each target, (t,); weights of the model file. 0 and 1 until they are set.
    config
        Plain values from which `build` rebuilds it.
    """

    version = ARCHITECTURE_VERSION
    label_mean: Tensor
    label_std: Tensor

    def __init__(self, encoder: Encoder, targets: Sequence[str], hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = MlpHead(encoder.dimension, len(targets), hidden=hidden, dropout=dropout)
        self.register_buffer("label_mean", torch.zeros(len(targets)))
        self.register_buffer("label_std", torch.ones(len(targets)))
        self.labels = tuple(targets)
        self.modalities = (encoder.modality,)
        self.targets = {encoder.modality: self.labels}
        self.dimension, self.preprocessing = (hidden[-1] if hidden else encoder.dimension), encoder.preprocessing
        self.input_shapes = {name: shape for name, shape in SPECTRUM_SHAPES.items() if name in encoder.columns}
        self.config: dict[str, Any] = {
            "encoder": dict(encoder.config),
            "targets": list(targets),
            "hidden": list(hidden),
            "dropout": dropout,
        }

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the standardised labels (n, t) of a batch, float32."""
        return self._head(self.head.layers, batch)

    def embed(self, batch: Mapping[str, Tensor], modality: str) -> Tensor:
        """Return the last hidden layer (n, dimension), float32.

        Raises
        ------
        EmbedderError
            If `modality` is not the encoder's.
        """
        self._require(modality)
        return self._head(self.head.layers[:-1], batch)

    def predict(self, batch: Mapping[str, Tensor], modality: str) -> dict[str, Tensor]:
        """Return target -> (n,), in the unit of the label.

        Raises
        ------
        EmbedderError
            If `modality` is not the encoder's.
        """
        self._require(modality)
        values = self(batch) * self.label_std + self.label_mean
        return dict(zip(self.labels, values.unbind(1), strict=True))

    def _head(self, layers: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        vectors = self.encoder(batch)
        # The 8 bits of bfloat16 would show in a label.
        with torch.autocast(vectors.device.type, enabled=False):
            values: Tensor = layers(vectors.float())
        return values

    def _require(self, modality: str) -> None:
        if modality not in self.modalities:
            raise EmbedderError(f"no modality {modality!r}", self.modalities[0])


def build(config: Mapping[str, Any]) -> SupervisedNetwork:
    """Return the network of a configuration (entry point ``supervised``), with fresh weights.

    Parameters
    ----------
    config
        ``encoder`` (``name`` and settings), ``targets``, ``hidden`` and ``dropout``.

    Raises
    ------
    EmbedderError
        If a key is missing or unknown, there is no target, or the encoder does not exist.
    """
    values = complete_config(f"architecture {ARCHITECTURE!r}", _network, config)
    return _network(**values)


def _network(
    encoder: Mapping[str, Any], targets: Sequence[str], hidden: Sequence[int] = (256,), dropout: float = 0.0
) -> SupervisedNetwork:
    if not targets or "name" not in encoder:
        raise EmbedderError(
            f"a supervised network of encoder {dict(encoder)} and targets {list(targets)}", "a name and a target"
        )
    settings = {key: value for key, value in encoder.items() if key != "name"}
    return SupervisedNetwork(build_encoder(encoder["name"], settings), targets, hidden, dropout)
