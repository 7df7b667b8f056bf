"""Embedders: what they are, the safe ways to get one, and how their vectors are made and kept."""

from __future__ import annotations

from astroclip_bench.embedders.check import Check, CheckReport, check_embedder
from astroclip_bench.embedders.embed import Embeddings, embed_arrays, embed_split, predict_arrays, predict_split
from astroclip_bench.embedders.load import embedder_names, load_embedder
from astroclip_bench.embedders.protocol import ANY_MODALITY, Embedder, EmbedderInfo, Predictor
from astroclip_bench.embedders.samples import describe_inputs, input_format
from astroclip_bench.embedders.weights import read_model, save_model

__all__ = [
    "ANY_MODALITY",
    "Check",
    "CheckReport",
    "Embedder",
    "EmbedderInfo",
    "Embeddings",
    "Predictor",
    "check_embedder",
    "describe_inputs",
    "embed_arrays",
    "embed_split",
    "embedder_names",
    "input_format",
    "load_embedder",
    "predict_arrays",
    "predict_split",
    "read_model",
    "save_model",
]
