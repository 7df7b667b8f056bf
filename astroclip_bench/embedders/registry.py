"""Architectures: registered names of what rebuilds a torch module from a configuration of plain values.

An architecture is an entry point of the group ``astroclip_bench.architectures``: a callable taking the configuration
(a dictionary) and returning a ``torch.nn.Module`` with

* ``version`` (int), raised whenever old weights no longer give the old embeddings,
* ``modalities`` (tuple of str), ``dimension`` (int), ``preprocessing`` (str), as in `EmbedderInfo`,
* ``embed(batch, modality)``: from float32 tensors (n, *shape), one a column, to embeddings (n, dimension),
* if it likes, ``input_shapes``: column -> shape of one object's array, checked before every batch,
* if it predicts labels itself, ``targets``: modality -> tuple of label names, and ``predict(batch, modality)``: from the
  same tensors to label name -> tensor (n,), in the unit of the label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from astroclip_bench.embedders.protocol import TARGETS_EXPECTED, is_targets
from astroclip_bench.errors import BenchError, EmbedderError
from astroclip_bench.plugins import load_plugin

if TYPE_CHECKING:
    from torch import nn

    from astroclip_bench.embedders.weights import ModelFile

GROUP = "architectures"
_ATTRIBUTES: tuple[tuple[str, type, str], ...] = (
    ("version", int, "a whole number"),
    ("modalities", tuple, "a tuple of modality names"),
    ("dimension", int, "a whole number"),
    ("preprocessing", str, "a text"),
)


def build_module(model: ModelFile) -> nn.Module:
    """Build the module a model file names, without its weights.

    Raises
    ------
    UserError
        If the architecture is not registered (with the nearest names).
    EmbedderError
        If it refuses the configuration, breaks the contract above, or is of another version than the file's.
    """
    from torch import nn

    where = f"architecture {model.architecture!r}"
    build = load_plugin(GROUP, model.architecture)
    try:
        module = build(dict(model.config))
    except BenchError:
        raise
    except Exception as error:  # somebody else's code
        raise EmbedderError(
            f"{where} cannot be built from the configuration in {model.path}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module) or not callable(getattr(module, "embed", None)):
        raise EmbedderError(f"{where} gave a {type(module).__name__}", "a torch module with a method embed")
    for name, kind, expected in _ATTRIBUTES:
        if not isinstance(getattr(module, name, None), kind):
            raise EmbedderError(f"{where}: attribute {name!r} is {getattr(module, name, None)!r}", expected)
    targets = getattr(module, "targets", {})
    if not is_targets(targets):
        raise EmbedderError(f"{where}: attribute 'targets' is {targets!r}", TARGETS_EXPECTED)
    if targets and not callable(getattr(module, "predict", None)):
        raise EmbedderError(f"{where} names targets", "a method predict beside them")
    if module.version != model.architecture_version:
        raise EmbedderError(
            f"{model.path} was written for version {model.architecture_version} of {where}",
            f"version {module.version}, the one installed",
            "install the version it was written for, or convert it",
        )
    return module
