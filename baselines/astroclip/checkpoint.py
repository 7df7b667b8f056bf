"""Checkpoints: all that an identical continuation needs, written whole or not at all, read without running code.

Random numbers need no place in them where they are a function of seed, step and process (`seed_everything`); they are
stored all the same, for a stage that draws some outside its steps.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from astroclip_bench.errors import DataError
from astroclip_bench.files import atomic_path, storage_errors

if TYPE_CHECKING:
    from accelerate import Accelerator

FORMAT_VERSION = 1
LAST, BEST = "last.pt", "best.pt"
SEED_STRIDES = (1_000_003, 7_919)
"""Steps and processes are told apart in a seed by multiples of these."""


def seed_everything(seed: int, step: int, process: int) -> torch.Generator:
    """Set every random number generator by seed, step and process, and return a generator on the CPU.

    A run that goes on at a step therefore draws what an uninterrupted one draws there.
    """
    mixed = (seed * SEED_STRIDES[0] + step) * SEED_STRIDES[1] + process
    torch.manual_seed(mixed % 2**63)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)  # noqa: NPY002 - the legacy state is what libraries draw from
    return torch.Generator().manual_seed((mixed + 1) % 2**63)


def random_state() -> dict[str, Any]:
    """Return the states of the generators of Python, numpy and torch (all devices) as plain values and tensors."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    assert not isinstance(kind, dict)
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.array(keys, np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore what `random_state` returned."""
    kind, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def save_checkpoint(
    path: Path,
    accelerator: Accelerator,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    position: Mapping[str, Any],
) -> None:
    """Write a checkpoint; every process takes part, and the first one writes.

    Parameters
    ----------
    model, optimiser
        As wrapped for the processes.
    position
        Plain values: identity of the run, step, best score, running sums.
    """
    from accelerate.utils import gather_object
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, moments = get_state_dict(model, optimiser, options=options)
    states = gather_object([random_state()])
    if accelerator.is_main_process:
        content = {"model": weights, "optimiser": moments, "random": states, "position": dict(position)}
        write_tensors(path, content)
    accelerator.wait_for_everyone()


def load_checkpoint(
    path: Path,
    accelerator: Accelerator,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    identity: Mapping[str, str],
) -> dict[str, Any]:
    """Restore a run and return its position.

    Parameters
    ----------
    identity
        What must be equal for a continuation, each with its digest: the recipe and the data.

    Raises
    ------
    DataError
        If the file is damaged, or of another recipe or of other data.
    """
    content = read_tensors(path)
    position: dict[str, Any] = content["position"]
    for what, digest in identity.items():
        if position["identity"].get(what) != digest:
            raise DataError(
                f"{path} was written with another {what}",
                "the same recipe, overrides and data to go on with",
                "name another --out, or start anew with --fresh",
            )
    restore_weights(model, content["model"])
    _restore_moments(accelerator.unwrap_model(model), optimiser, content["optimiser"])
    if len(content["random"]) == accelerator.num_processes:
        set_random_state(content["random"][accelerator.process_index])
    return position


def _restore_moments(model: nn.Module, optimiser: torch.optim.Optimizer, moments: Mapping[str, Any]) -> None:
    """Load what the optimiser keeps of each parameter; one that has had no gradient yet has nothing, and stays so."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)
    set_optimizer_state_dict(model, optimiser, dict(moments), options=options)
    for name, parameter in model.named_parameters():
        if name not in moments["state"]:
            optimiser.state.pop(parameter, None)  # torch has made it one of zeros, a step old


def restore_weights(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Load the whole weights into a model as wrapped for the processes."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    set_model_state_dict(model, dict(weights), options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def write_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values, atomically."""
    with atomic_path(path) as temporary:
        torch.save({"format_version": FORMAT_VERSION, **content}, temporary)


def read_tensors(path: Path) -> dict[str, Any]:
    """Read what `write_tensors` wrote, refusing anything that asks for code.

    Raises
    ------
    DataError
        If it is damaged or of another version.
    """
    with storage_errors(path), path.open("rb"):
        pass
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        version = content["format_version"]
    except Exception as error:  # torch raises whatever a damaged file leads it to
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path} is no readable checkpoint: {reason}", todo="start anew with --fresh") from error
    if version != FORMAT_VERSION:
        raise DataError(f"{path} has checkpoint version {version!r}", f"{FORMAT_VERSION}", "start anew with --fresh")
    return content
