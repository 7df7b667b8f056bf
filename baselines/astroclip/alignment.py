"""Encoders of two or more modalities, each with a head, into one space compared by cosine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from astroclip_bench.errors import EmbedderError
from astroclip_bench.plugins import suggest
from astroclip_bench.records import N_WAVELENGTH
from baselines.astroclip.encoders import Encoder, build_encoder, complete_config
from baselines.astroclip.heads import Head, build_head

ARCHITECTURE = "astroclip"
ARCHITECTURE_VERSION = 1
PUBLISHED_SCALE = 15.5
MAX_SCALE = 100.0
"""A learned scale is brought back to this after a step, as in CLIP (Radford et al. 2021, section 2.5)."""
FEATURES = "features of {}"
"""Column of a batch that holds what the head of a modality reads, where that was made before."""
SPECTRUM_SHAPES = {"flux": (N_WAVELENGTH,), "ivar": (N_WAVELENGTH,)}


class AlignmentModel(nn.Module):
    """One encoder and one head a modality.

    Parameters
    ----------
    encoders, heads
        Modality -> module, of the same keys.
    dimension
        Components of the shared space.
    frozen
        Modalities whose encoder is not trained: no gradients, evaluation mode.
    scale
        What cosines are multiplied by in the loss; the start value where `learn_scale`.

    Attributes
    ----------
    version, modalities, preprocessing, input_shapes
        What the harness reads of an architecture.
    config
        Plain values from which `build` rebuilds it.
    """

    version = ARCHITECTURE_VERSION
    log_scale: Tensor

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        heads: Mapping[str, Head],
        dimension: int,
        frozen: Sequence[str] = (),
        scale: float = PUBLISHED_SCALE,
        *,
        learn_scale: bool = False,
    ) -> None:
        super().__init__()
        _require_known("heads", heads, encoders)
        _require_known("frozen", frozen, encoders)
        self.encoders, self.heads = nn.ModuleDict(encoders), nn.ModuleDict(heads)
        self.dimension, self.frozen = dimension, tuple(frozen)
        log_scale = torch.tensor(math.log(scale))
        if learn_scale:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self.modalities = tuple(encoders)
        parts = [f"{name}: {encoder.preprocessing}" for name, encoder in encoders.items()]
        self.preprocessing = "; ".join([*parts, "embeddings L2-normalised"])
        read = {column for encoder in encoders.values() for column in encoder.columns}
        self.input_shapes = {column: shape for column, shape in SPECTRUM_SHAPES.items() if column in read}
        self.config: dict[str, Any] = {
            "dimension": dimension,
            "encoders": {name: dict(encoder.config) for name, encoder in encoders.items()},
            "heads": {name: dict(head.config) for name, head in heads.items()},
            "scale": scale,
            "learn_scale": learn_scale,
            "frozen": list(frozen),
        }
        for name in self.frozen:
            self.encoders[name].requires_grad_(False)
        self.train(self.training)

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by in the loss; a scalar with a gradient where it is learned."""
        return self.log_scale.exp()

    @torch.no_grad()
    def limit_scale(self) -> None:
        """Bring a scale above `MAX_SCALE` back to it; clamping it where it is used would leave it without gradient."""
        self.log_scale.clamp_(max=math.log(MAX_SCALE))

    def train(self, mode: bool = True) -> AlignmentModel:
        """Switch to training mode, frozen encoders excepted."""
        super().train(mode)
        for name in self.frozen:
            self.encoders[name].eval()
        return self

    def features(self, batch: Mapping[str, Tensor], modality: str) -> Tensor:
        """Return what the head of a modality reads: tokens (n, t, width) or the encoder's vector (n, width).

        The encoder is not asked where the batch has them already, under `FEATURES`.
        """
        if modality not in self.modalities:
            raise EmbedderError(f"no modality {modality!r}", todo=suggest(modality, self.modalities))
        if (made := FEATURES.format(modality)) in batch:
            return batch[made]
        encoder, head = self.encoders[modality], self.heads[modality]
        with torch.set_grad_enabled(torch.is_grad_enabled() and modality not in self.frozen):
            features: Tensor = encoder.tokens(batch) if head.reads_tokens else encoder(batch)  # type: ignore[operator]
        return features

    def encode(self, batch: Mapping[str, Tensor], modality: str) -> Tensor:
        """Return embeddings (n, dimension) of one modality, not normalised, with gradients."""
        features = self.features(batch, modality)
        vectors: Tensor = self.heads[modality](features)
        return vectors

    def forward(self, batch: Mapping[str, Tensor], modality: str) -> Tensor:
        """Return `encode`; what a wrapper for several processes calls."""
        return self.encode(batch, modality)

    def embed(self, batch: Mapping[str, Tensor], modality: str) -> Tensor:
        """Return L2-normalised embeddings (n, dimension) float32 of one modality.

        Raises
        ------
        EmbedderError
            If the modality is not one of `modalities`.
        """
        return functional.normalize(self.encode(batch, modality).float(), dim=1)


def build(config: Mapping[str, Any]) -> AlignmentModel:
    """Return the model of a configuration, with fresh weights (entry point ``astroclip``).

    Parameters
    ----------
    config
        ``dimension``; ``encoders`` and ``heads``: modality -> {"name": ..., settings}; and, with the published values
        where left out, ``frozen``, ``scale``, ``learn_scale``.

    Raises
    ------
    EmbedderError
        If a name or key is unknown, or an encoder stands under another modality than its own.
    """
    values = complete_config(f"architecture {ARCHITECTURE!r}", _settings, config)
    encoders = {}
    for modality, entry in values["encoders"].items():
        encoders[modality] = build_encoder(*_named(entry, f"encoder of {modality!r}"))
        if encoders[modality].modality != modality:
            raise EmbedderError(
                f"encoder {entry['name']!r} stands under modality {modality!r}", encoders[modality].modality
            )
    _require_known("heads", values["heads"], encoders)
    heads = {
        modality: build_head(*_named(entry, f"head of {modality!r}"), encoders[modality], values["dimension"])
        for modality, entry in values["heads"].items()
    }
    return AlignmentModel(
        encoders, heads, values["dimension"], values["frozen"], values["scale"], learn_scale=values["learn_scale"]
    )


def _settings(
    dimension: int,
    encoders: Mapping[str, Mapping[str, Any]],
    heads: Mapping[str, Mapping[str, Any]],
    frozen: Sequence[str] = (),
    scale: float = PUBLISHED_SCALE,
    learn_scale: bool = False,
) -> None:
    """Declare the keys of a configuration and their defaults."""


def _named(entry: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    if "name" not in entry:
        raise EmbedderError(f"the {where} has no name", "an entry 'name' beside its settings")
    return entry["name"], {key: value for key, value in entry.items() if key != "name"}


def _require_known(what: str, names: Mapping[str, Any] | Sequence[str], encoders: Mapping[str, Any]) -> None:
    strange = sorted(set(names) - set(encoders))
    missing = sorted(set(encoders) - set(names)) if isinstance(names, Mapping) else []
    if strange or missing:
        fault = f"name {strange} beyond the encoders" if strange else f"lack {missing}"
        raise EmbedderError(f"{what} {fault}", f"modalities among {sorted(encoders)}")
