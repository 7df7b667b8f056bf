"""The model prefixes ``timm:`` and ``timm-untrained:``: any timm backbone as a frozen image embedder.

``timm:NAME`` has the published weights of that name, where they lie in the Hub's cache; nothing is fetched unasked.
``timm-untrained:NAME`` has fresh weights, always the same ones. NAME is timm's own (``resnet18``,
``convnext_nano.in12k``), or ``hf_hub:owner/name``. The vector is the pooled feature before the classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astroclip_bench.embedders import EmbedderInfo
from astroclip_bench.embedders.torch_embedder import TorchEmbedder
from astroclip_bench.embedders.weights import weights_digest
from astroclip_bench.errors import EmbedderError
from baselines.astroclip.architecture import ARCHITECTURE, build
from baselines.astroclip.image_transformer import TimmBackbone

WEIGHTS_FILE = "model.safetensors"
HUB_PREFIX = "hf_hub:"
CROP_PIXELS = 96
"""Central square that is shown to the network, 25 arcsec wide."""
LARGEST_INPUT_PIXELS = 224
"""Networks made for larger images are given this size: a crop of 96 pixels holds no more."""
UNTRAINED_SEED = 0

UNSCALED = {"hf_hub:mwalmsley/zoobot-": {"mean": None, "std": None}}
"""Prefix of a name -> what its network was trained on, where that is not what its configuration says: Zoobot takes
images from 0 to 1 as they are (Walmsley et al. 2023, JOSS 8, 5312)."""


def load_pretrained(name: str, device: str = "cpu", dtype: str = "float32") -> TorchEmbedder:
    """Return the backbone with its published weights (model prefix ``timm``).

    Raises
    ------
    EmbedderError
        If timm has no such model, or its weights are not in the cache.
    """
    where = missing_weights(name)
    if where is not None:
        raise EmbedderError(
            f"timm:{name}: the weights are not in the Hub's cache",
            f"{WEIGHTS_FILE} of {where}" if where else "a name that timm has published weights of",
            f"run: hf download {where}" if where else f"use timm-untrained:{name} for fresh weights",
        )
    return _embedder(f"timm:{name}", name, device, dtype, pretrained=True)


def load_untrained(name: str, device: str = "cpu", dtype: str = "float32") -> TorchEmbedder:
    """Return the backbone with fresh weights (model prefix ``timm-untrained``), the same ones every time.

    Raises
    ------
    EmbedderError
        If timm has no such model.
    """
    return _embedder(f"timm-untrained:{name}", name, device, dtype, pretrained=False)


def missing_weights(name: str) -> str | None:
    """Return None where the published weights of a name are in the cache, or else the repository that has them.

    The repository is empty where there are none at all.

    Raises
    ------
    EmbedderError
        If timm has no such model.
    """
    from huggingface_hub import try_to_load_from_cache

    if name.startswith(HUB_PREFIX):
        repository = name.removeprefix(HUB_PREFIX)
    else:
        repository = str(TimmBackbone(backbone=name).backbone.pretrained_cfg.get("hf_hub_id") or "")
    found = try_to_load_from_cache(repository, WEIGHTS_FILE) if repository else None
    return None if isinstance(found, str) else repository


def _embedder(title: str, name: str, device: str, dtype: str, *, pretrained: bool) -> TorchEmbedder:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        settings = _preprocessing(name)
        module = build({"encoder": {"name": "timm", "backbone": name, "pretrained": pretrained, **settings}})
    info = EmbedderInfo(
        name=title,
        digest=weights_digest(ARCHITECTURE, module.version, module.config, module.state_dict()),
        dimension=module.dimension,
        modalities=module.modalities,
        preprocessing=module.preprocessing,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        architecture=ARCHITECTURE,
        details={"dtype": dtype, "architecture_version": module.version},
    )
    return TorchEmbedder(module, info, device, dtype)


def _preprocessing(name: str) -> dict[str, Any]:
    """Return the settings of `TimmBackbone` that give a network the images it was made for.

    Colours as in the Legacy Survey's viewer, from 0 to 1, resized, and standardised as the weights' configuration says.
    """
    trained_on: Mapping[str, Any] = TimmBackbone(backbone=name).backbone.pretrained_cfg
    own = int(trained_on.get("input_size", (3, LARGEST_INPUT_PIXELS))[-1])
    size = min(own, LARGEST_INPUT_PIXELS)
    resized = bool(trained_on.get("fixed_input_size")) and size < own
    exceptions = [values for prefix, values in UNSCALED.items() if name.startswith(prefix)]
    standard = {key: list(trained_on[key]) for key in ("mean", "std") if key in trained_on}
    return {
        "transform": "dr2_rgb",
        "crop": CROP_PIXELS,
        "resize": size,
        "options": {"img_size": size} if resized else {},
        **(exceptions[0] if exceptions else standard),
    }
