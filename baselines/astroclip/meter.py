"""Where the time of a training goes: galaxies and floating-point operations a second, memory, waiting for data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import torch

RATE_SIZE = 8192
RATE_REPEATS = 20
WARM_UP_REPEATS = 3


@dataclass
class Meter:
    """Counts galaxies between two logs.

    Parameters
    ----------
    waited
        Gives the seconds waited for data so far.
    operations
        Floating-point operations of one step of this process; None until they are counted.
    """

    device: torch.device
    waited: Callable[[], float]
    operations: int | None = None
    _began: float = field(default_factory=time.perf_counter)
    _waited_before: float = 0.0
    _galaxies: int = 0
    _steps: int = 0

    def add(self, galaxies: int) -> None:
        """Count a step of so many galaxies."""
        self._galaxies += galaxies
        self._steps += 1

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave out the time of the block: validation, checkpoints."""
        self._synchronise()
        before, waited = time.perf_counter(), self.waited()
        yield
        self._synchronise()
        self._began += time.perf_counter() - before
        self._waited_before += self.waited() - waited

    def read(self) -> dict[str, float]:
        """Return the rates since the last call, and start counting anew."""
        self._synchronise()
        now, waited = time.perf_counter(), self.waited()
        seconds = max(now - self._began, 1e-9)
        values = {
            "galaxies_per_second": self._galaxies / seconds,
            "share_waiting_for_data": (waited - self._waited_before) / seconds,
        }
        if self.operations is not None:
            rate = self.operations * self._steps / seconds
            values["tflops"] = rate / 1e12
            if self.device.type == "cuda":
                values["share_of_matrix_rate"] = rate / matrix_rate(str(self.device))
        if self.device.type == "cuda":
            values["gpu_memory_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        self._began, self._waited_before = time.perf_counter(), waited
        self._galaxies = self._steps = 0
        return values

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@contextmanager
def counted_operations(meter: Meter) -> Iterator[None]:
    """Count the operations of matrix products, convolutions and attention in the block as one step's."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        yield
    meter.operations = counter.get_total_flops()


@cache
def matrix_rate(device: str) -> float:
    """Return the measured rate of large bfloat16 matrix products on a device, in operations a second."""
    left, right = (torch.randn(RATE_SIZE, RATE_SIZE, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(WARM_UP_REPEATS):
        left @ right
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(RATE_REPEATS):
        left @ right
    torch.cuda.synchronize(device)
    return 2 * RATE_SIZE**3 * RATE_REPEATS / (time.perf_counter() - began)
