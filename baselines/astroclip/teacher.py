"""What self-distillation and momentum contrast share: a student, its moving average the teacher, and lightly's parts."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from astroclip_bench.errors import MissingExtraError
from astroclip_bench.timm_compat import import_timm
from baselines.astroclip.architecture import ARCHITECTURE, ARCHITECTURE_VERSION, SingleEncoder
from baselines.astroclip.encoders import build_encoder


def lightly(module: str) -> Any:
    """Return a module of lightly, which imports torchvision: `import_timm` has seen to that before.

    Raises
    ------
    MissingExtraError
        If lightly is not installed.
    """
    import_timm()
    try:
        return importlib.import_module(f"lightly.{module}")
    except ModuleNotFoundError as error:
        raise MissingExtraError("lightly", "train") from error


def encoder_from(config: Mapping[str, Any]) -> Any:
    """Return the encoder of a table with its name."""
    return build_encoder(config["name"], {key: value for key, value in config.items() if key != "name"})


def follow(teacher: nn.Module, student: nn.Module) -> None:
    """Start the teacher as the student is, out of reach of gradients."""
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)


def exported(encoder: Any) -> tuple[str, int, dict[str, Any], dict[str, Tensor]]:
    """Return architecture, version, configuration and weights of an encoder as a model file holds them."""
    single = SingleEncoder(encoder)
    return ARCHITECTURE, ARCHITECTURE_VERSION, single.config, single.state_dict()
