"""The harness's entry point for one encoder alone: SpecFormer, AstroDINO, Spender or Stein before any alignment.

The aligned model is an architecture itself (`baselines.astroclip.alignment`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from astroclip_bench.errors import EmbedderError
from baselines.astroclip.alignment import SPECTRUM_SHAPES
from baselines.astroclip.encoders import Encoder, build_encoder

ARCHITECTURE = "astroclip-encoder"
ARCHITECTURE_VERSION = 1


class SingleEncoder(nn.Module):
    """An encoder as the harness asks for it; vectors are its own, not normalised.

    Attributes
    ----------
    version, modalities, dimension, preprocessing, input_shapes
        What the harness reads of an architecture.
    config
        Plain values from which `build` rebuilds it.
    """

    version = ARCHITECTURE_VERSION

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.modalities = (encoder.modality,)
        self.dimension, self.preprocessing = encoder.dimension, encoder.preprocessing
        self.input_shapes = {name: shape for name, shape in SPECTRUM_SHAPES.items() if name in encoder.columns}
        self.config: dict[str, Any] = {"encoder": dict(encoder.config)}

    def embed(self, batch: Mapping[str, Tensor], modality: str) -> Tensor:
        """Return the encoder's own embeddings (n, dimension) float32.

        Raises
        ------
        EmbedderError
            If `modality` is not the encoder's.
        """
        if modality not in self.modalities:
            raise EmbedderError(f"no modality {modality!r}", self.modalities[0])
        vectors: Tensor = self.encoder(batch)
        return vectors.float()


def build(config: Mapping[str, Any]) -> SingleEncoder:
    """Return the encoder of a configuration ``{"encoder": {"name": ..., settings}}`` (entry point ``astroclip-encoder``).

    Raises
    ------
    EmbedderError
        If the configuration names no encoder, or one that does not exist.
    """
    entry = config.get("encoder")
    if set(config) != {"encoder"} or not isinstance(entry, Mapping) or "name" not in entry:
        raise EmbedderError(
            f"configuration of {ARCHITECTURE!r} has keys {sorted(config)}", "'encoder' alone, with a 'name' in it"
        )
    return SingleEncoder(build_encoder(entry["name"], {key: entry[key] for key in entry if key != "name"}))
