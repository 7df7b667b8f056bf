"""Random numbers for augmentations, from a generator that may lie on another device than the data.

Engines pass a generator on the CPU: what is drawn for each galaxy is then the same on every device and after a resume.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def uniform(generator: Generator, *shape: int) -> Tensor:
    """Return uniform numbers in [0, 1), on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device)


def normal(generator: Generator, *shape: int) -> Tensor:
    """Return standard normal numbers, on the generator's device."""
    return torch.randn(shape, generator=generator, device=generator.device)


def integers(generator: Generator, low: int, high: int, *shape: int) -> Tensor:
    """Return integers from `low` to `high`, both included, on the generator's device."""
    return torch.randint(low, high + 1, shape, generator=generator, device=generator.device)


def white_noise(generator: Generator, like: Tensor) -> Tensor:
    """Return standard normal numbers, as many as `like` and where it lies.

    They are made there, from a seed that is drawn: their number is too large to move them. Another device gives other
    numbers.
    """
    seed = int(integers(generator, 0, 2**62).item())
    there = Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=there, device=like.device, dtype=like.dtype)
