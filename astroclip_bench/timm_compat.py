"""The one place that imports timm, and open_clip, which imports it.

timm imports torchvision, and beside a CPU build of torch a CUDA build of torchvision stops at its import: it attaches
to operators (`nms` first) that its own library, which failed to load, should have defined. None of them is needed
here, so their schemas are declared in its stead and the import is tried again.
"""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType

from astroclip_bench.errors import MissingExtraError, UserError

OPERATOR_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
MAX_MISSING_OPERATORS = 16
_MISSING_OPERATOR = re.compile(r"operator (torchvision::\w+) does not exist")


def import_timm() -> ModuleType:
    """Import timm and return it, declaring operators that a mismatched torchvision lacks.

    Raises
    ------
    UserError
        If timm or torchvision cannot be imported for another reason.
    """
    import torch

    for _ in range(MAX_MISSING_OPERATORS):
        try:
            return importlib.import_module("timm")
        except RuntimeError as error:
            missing = _MISSING_OPERATOR.search(str(error))
            if missing is None:
                raise _broken(error) from error
            _forget("timm", "torchvision")
            torch.library.define(missing[1], OPERATOR_SCHEMA)
        except ImportError as error:
            raise _broken(error) from error
    raise UserError("torchvision lacks its operators", todo="install the torchvision build that belongs to this torch")


def import_open_clip() -> ModuleType:
    """Import open_clip and return it.

    Raises
    ------
    UserError
        If it is not installed, or as `import_timm` does.
    """
    import_timm()
    try:
        return importlib.import_module("open_clip")
    except ImportError as error:
        raise MissingExtraError("open_clip", "text") from error


def _broken(error: Exception) -> UserError:
    return UserError(
        f"timm cannot be imported: {error}",
        todo="install torch, torchvision and timm together, in one pip command",
    )


def _forget(*packages: str) -> None:
    """Drop half-imported packages, so that the next import starts afresh."""
    for name in list(sys.modules):
        if name.partition(".")[0] in packages:
            del sys.modules[name]
