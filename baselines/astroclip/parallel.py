"""Many processes through accelerate: one accelerator a stage, and gradients averaged once a step.

A stage may call any method of its model and do several backward passes a step (gradient caching does), which
`DistributedDataParallel` alone does not follow. So backward passes stay in the process, and one last backward pass of
zeros through every parameter makes it average what has been gathered, in its own buckets.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from astroclip_bench.errors import MissingExtraError
from baselines.astroclip.config import RecipeError, TrainSettings

if TYPE_CHECKING:
    from accelerate import Accelerator, PartialState

MINIMUM_REPEATS = 2
MOST_VARIANTS = 64
"""Of a class of blocks that are compiled; torch's own 8 are fewer than a vision transformer has rates of dropped paths."""


def process_state() -> PartialState:
    """Return which process this is, of how many, and its device; the first call joins the processes.

    Raises
    ------
    MissingExtraError
        If accelerate is not installed.
    """
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingExtraError("accelerate", "train") from error
    return PartialState(cpu=not torch.cuda.is_available())


def make_accelerator(settings: TrainSettings, model: nn.Module | None = None) -> Accelerator:
    """Return the accelerator of a stage; under ``torchrun`` it joins the processes (NCCL on GPUs, gloo on CPUs).

    Parameters
    ----------
    model
        Its repeated blocks are what fully sharded training splits.

    Raises
    ------
    MissingExtraError
        If accelerate is not installed.
    RecipeError
        If fully sharded training is asked for without several GPUs.
    """
    state = process_state()
    from accelerate import Accelerator, FullyShardedDataParallelPlugin
    from accelerate.state import AcceleratorState

    plugin = None
    if settings.parallel == "fsdp" and model is not None:
        if state.device.type != "cuda" or state.num_processes < 2:
            raise RecipeError(
                "parallel = 'fsdp' in one process or on the CPU", "ddp", "or start it with torchrun on GPUs"
            )
        scalars = [name for name, parameter in model.named_parameters() if not parameter.ndim]
        if scalars:  # torch shards along the first dimension
            raise RecipeError(f"parallel = 'fsdp' with {scalars[0]} learned", "ddp, or a fixed one")
        names = sorted({type(block).__name__ for block in repeated_blocks(model)})
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap", transformer_cls_names_to_wrap=names
        )
    AcceleratorState._reset_state()  # an earlier stage may have had another precision
    return Accelerator(
        cpu=state.device.type == "cpu",
        mixed_precision="bf16" if settings.precision == "bf16" else "no",
        gradient_accumulation_steps=settings.accumulate,
        fsdp_plugin=plugin,
    )


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the modules that stand in a list with others of their class: the layers of transformers, mostly."""
    blocks = []
    for parent in model.modules():
        if isinstance(parent, nn.ModuleList | nn.Sequential):
            counts = Counter(type(child) for child in parent)
            blocks += [
                child
                for child in parent
                if counts[type(child)] >= MINIMUM_REPEATS and any(True for _ in child.children())
            ]
    return blocks


def compile_blocks(model: nn.Module) -> None:
    """Compile the repeated blocks of a model, those of one class and form once.

    Torch keeps what it compiles by class, for all stages, and runs what exceeds a limit uncompiled.
    """
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = MOST_VARIANTS
    for block in repeated_blocks(model):
        block.compile()


def prepare(
    accelerator: Accelerator, model: nn.Module, optimiser: torch.optim.Optimizer, methods: tuple[str, ...]
) -> Any:
    """Put a model on the device and wrap it for several processes; return the wrapper and the wrapped optimiser.

    Parameters
    ----------
    methods
        Names of the model's methods that compute with its weights; fully sharded training gathers them there.
    """
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call] # in place: the statistics of the whole batch
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # convolutions' faster order
    wrapped, wrapped_optimiser = accelerator.prepare(model, optimiser)
    if accelerator.is_fsdp2:
        from torch.distributed.fsdp import register_fsdp_forward_method

        for name in methods:
            register_fsdp_forward_method(wrapped, name)
    return wrapped, wrapped_optimiser


def average_gradients(accelerator: Accelerator, wrapped: nn.Module) -> None:
    """Average the gradients over the processes; a parameter without one in any of them stays without.

    Fully sharded training has averaged them in each backward pass, and one process needs nothing.
    """
    if accelerator.num_processes == 1 or accelerator.is_fsdp2:
        return
    trainable = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    without = [parameter for parameter in trainable if parameter.grad is None]
    nothing = torch.stack([0.0 * parameter.sum() for parameter in trainable]).sum()
    with accelerator.trigger_sync_in_backward(wrapped):
        nothing.backward()  # type: ignore[no-untyped-call]
    for parameter in without:
        if parameter.grad is not None and not parameter.grad.any():
            parameter.grad = None


def share_buffers(accelerator: Accelerator, model: nn.Module) -> None:
    """Give every process the first one's buffers, such as the running statistics of batch normalisation."""
    if accelerator.num_processes > 1 and not accelerator.is_fsdp2:
        from accelerate.utils import broadcast

        for buffer in model.buffers():
            buffer.copy_(broadcast(buffer))
