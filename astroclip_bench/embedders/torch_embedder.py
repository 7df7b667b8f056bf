"""A torch module of a registered architecture as an embedder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from astroclip_bench.embedders.protocol import Arrays, EmbedderInfo, Vectors
from astroclip_bench.embedders.registry import build_module
from astroclip_bench.embedders.weights import load_weights, read_model
from astroclip_bench.errors import BenchError, EmbedderError

if TYPE_CHECKING:
    from torch import Tensor, nn

DTYPES = ("float32", "bf16")
"""How the arithmetic is done: in float32, or under autocast to bfloat16. Embeddings are float32 either way."""


def load_torch_model(path: Path, name: str, device: str = "cpu", dtype: str = "float32") -> TorchEmbedder:
    """Read a model file, build its architecture and return it as an embedder.

    Raises
    ------
    UserError
        Of the kinds `read_model`, `build_module` and `load_weights` raise.
    """
    model = read_model(path)
    module = build_module(model)
    load_weights(module, model.state_dict, str(path))
    info = EmbedderInfo(
        name=name,
        digest=model.digest,
        dimension=int(module.dimension),  # type: ignore[arg-type]
        modalities=tuple(module.modalities),  # type: ignore[arg-type]
        preprocessing=str(module.preprocessing),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        architecture=model.architecture,
        details={"dtype": dtype, "architecture_version": model.architecture_version},
        targets=dict(getattr(module, "targets", {})),
    )
    return TorchEmbedder(module, info, device, dtype)


def require_device(device: str) -> str:
    """Return `device` if torch can use it.

    Raises
    ------
    EmbedderError
        If it is no device, or not on this machine.
    """
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise EmbedderError(f"device {device!r} cannot be used: {reason}", "cpu, cuda, cuda:1 or mps") from error
    return device


class TorchEmbedder:
    """Runs a module in evaluation mode, without gradients, on one device.

    Parameters
    ----------
    module
        As described in `astroclip_bench.embedders.registry`; moved to `device` and switched to evaluation mode.
    info
        Its description.
    device
        Anything torch takes: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    dtype
        One of `DTYPES`.
    """

    def __init__(self, module: nn.Module, info: EmbedderInfo, device: str = "cpu", dtype: str = "float32") -> None:
        if dtype not in DTYPES:
            raise EmbedderError(f"dtype {dtype!r}", " or ".join(DTYPES))
        self.device, self.dtype = require_device(device), dtype
        self.module = module.to(device).eval()
        self.info = info

    def embed(self, batch: Arrays, modality: str) -> Vectors:
        """Return the embeddings (n, d) of a batch.

        Raises
        ------
        EmbedderError
            If the module does not take this modality, or stops at these inputs (which are named with their shapes).
        """
        if not self.info.supports(modality):
            raise EmbedderError(f"{self.info.name!r} takes no modality {modality!r}", ", ".join(self.info.modalities))
        vectors = self._run(self.module.embed, "embed", batch, modality)  # type: ignore[arg-type]
        return _to_numpy(vectors, "the module's embed gave")

    def predict(self, batch: Arrays, modality: str) -> dict[str, Vectors]:
        """Return the module's own predictions of a batch: target -> (n,), in the unit of the label.

        Raises
        ------
        EmbedderError
            If the module predicts nothing from this modality, or as `embed` does.
        """
        if not self.info.predicts(modality):
            raise EmbedderError(f"{self.info.name!r} predicts nothing from {modality!r}", ", ".join(self.info.targets))
        found = self._run(self.module.predict, "predict", batch, modality)  # type: ignore[arg-type]
        if not isinstance(found, Mapping):
            raise EmbedderError(
                f"the module's predict gave a {type(found).__name__}", "a mapping, target -> tensor (n,)"
            )
        return {
            target: _to_numpy(values, f"the module's predict gave {target!r} as") for target, values in found.items()
        }

    def _run(self, method: Callable[..., object], doing: str, batch: Arrays, modality: str) -> object:
        """Return what a method of the module makes of a batch."""
        import torch

        self._require_inputs(batch)
        tensors = {name: self._input(array) for name, array in batch.items()}
        try:
            with torch.inference_mode(), self._arithmetic(), _exact_convolutions():
                return method(tensors, modality)
        except (BenchError, torch.OutOfMemoryError, MemoryError):
            raise
        except KeyError as error:
            raise EmbedderError(
                f"{self.info.name!r} needs column {error}, which modality {modality!r} of this data set does not have",
                f"no more than {', '.join(batch)}",
                "choose another data set or model",
            ) from error
        except Exception as error:  # somebody else's code
            if "out of memory" in str(error):
                raise
            shapes = ", ".join(f"{name} {tuple(array.shape)}" for name, array in batch.items())
            raise EmbedderError(
                f"{self.info.name!r} cannot {doing} modality {modality!r} from {shapes}: {type(error).__name__}: {error}"
            ) from error

    def _require_inputs(self, batch: Arrays) -> None:
        wanted: Mapping[str, Any] = getattr(self.module, "input_shapes", {})
        for name, array in batch.items():
            if name in wanted and tuple(wanted[name]) != array.shape[1:]:
                raise EmbedderError(
                    f"column {name!r} has objects of shape {array.shape[1:]}",
                    f"{tuple(wanted[name])}, which {self.info.name!r} was made for",
                )

    def _input(self, array: npt.NDArray[Any]) -> Tensor | list[str]:
        """Return texts as a list, and numbers as a tensor on the device, that the module may do with as it likes.

        A read-only array (memory mapped from a file, mostly) is copied: torch cannot mark a tensor read-only, and a
        module that wrote into it would bring the process down.
        """
        import torch

        if array.dtype == object:
            return list(array)
        return torch.from_numpy(np.require(array, np.float32, ["C", "W"])).to(self.device)

    def _arithmetic(self) -> AbstractContextManager[Any]:
        import torch

        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)


def _exact_convolutions() -> AbstractContextManager[Any]:
    """Keep cuDNN to float32 (its default is TF32) and to algorithms that do not depend on chance."""
    import torch

    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def _to_numpy(values: object, what: str) -> Vectors:
    import torch

    if not isinstance(values, torch.Tensor):
        raise EmbedderError(f"{what} a {type(values).__name__}", "a tensor")
    array: Vectors = values.to("cpu", torch.float32).numpy()
    return array
