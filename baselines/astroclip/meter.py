"""Where the time of a training goes: galaxies and floating-point operations a second, memory, waiting for data."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

RATE_SIZES = {"cuda": 8192, "cpu": 1024}
"""Side of the matrices whose product tells what a device can do."""
RATE_SECONDS = {"cuda": 1.0, "cpu": 0.3}
WARM_UP_REPEATS = 3
COMPUTE, OPTIMISER = "forward and backward", "optimiser"


@dataclass
class Meter:
    """Counts galaxies between two logs, and over the whole call.

    Parameters
    ----------
    waited
        Gives the seconds waited for data so far.
    operations
        Floating-point operations of one step of this process; None until they are counted.
    precision
        What the matrix products of the training are computed in.

    Attributes
    ----------
    seconds
        Part of the work -> seconds so far: the parts of a step, and what stood between steps.
    """

    device: torch.device
    waited: Callable[[], float]
    operations: int | None = None
    precision: torch.dtype = torch.bfloat16
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _began: float = field(default_factory=time.perf_counter)
    _waited_before: float = 0.0
    _galaxies: int = 0
    _steps: int = 0
    _intervals: list[tuple[float, int, int]] = field(default_factory=list)
    """Seconds, galaxies and steps between two logs."""
    _marks: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = field(default_factory=list)

    def add(self, galaxies: int) -> None:
        """Count a step of so many galaxies."""
        self._galaxies += galaxies
        self._steps += 1

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of the block as a part of the step; a GPU is asked for it later, and never waited for."""
        if self.device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            yield
            end.record()
            self._marks.append((name, begin, end))
        else:
            began = time.perf_counter()
            yield
            self.seconds[name] += time.perf_counter() - began

    @contextmanager
    def pause(self, name: str) -> Iterator[None]:
        """Leave the time of the block out of the rates: validation, checkpoints."""
        self._synchronise()
        before, waited = time.perf_counter(), self.waited()
        yield
        self._synchronise()
        passed = time.perf_counter() - before
        self.seconds[name] += passed
        self._began += passed
        self._waited_before += self.waited() - waited

    def read(self) -> dict[str, float]:
        """Return the rates since the last call, and start counting anew."""
        self._synchronise()
        for name, begin, end in self._marks:
            self.seconds[name] += begin.elapsed_time(end) / 1e3
        self._marks.clear()
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
                values["share_of_matrix_rate"] = rate / matrix_rate(self.device, self.precision)
        if self.device.type == "cuda":
            values["gpu_memory_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        self.seconds["training"] += seconds
        self.seconds["waiting for data"] += waited - self._waited_before
        self._intervals.append((seconds, self._galaxies, self._steps))
        self._began, self._waited_before = time.perf_counter(), waited
        self._galaxies = self._steps = 0
        return values

    def report(self) -> dict[str, Any]:
        """Return what this call has done and how fast: plain values, for one process.

        Rates leave out the interval before the first log, in which blocks are compiled. Operations are those of matrix
        products, convolutions and attention, forward and backward; they are compared with the measured rate of large
        matrix products of the same precision.
        """
        steady = self._intervals[1:] or self._intervals
        seconds = max(sum(entry[0] for entry in steady), 1e-9)
        steps = sum(entry[2] for entry in steady)
        best = matrix_rate(self.device, self.precision)
        rate = None if self.operations is None else self.operations * steps / seconds
        cuda = self.device.type == "cuda"
        memory = torch.cuda.max_memory_allocated(self.device) if cuda else _peak_resident_bytes()
        return {
            "covers": "this process, since the run was last started",
            "device": torch.cuda.get_device_name(self.device) if cuda else f"cpu, {torch.get_num_threads()} threads",
            "precision": str(self.precision).removeprefix("torch."),
            "steps": sum(entry[2] for entry in self._intervals),
            "galaxies": sum(entry[1] for entry in self._intervals),
            "galaxies_per_second": sum(entry[1] for entry in steady) / seconds,
            "operations_per_step": self.operations,
            "tflops": None if rate is None else rate / 1e12,
            "matrix_tflops": best / 1e12,
            "share_of_matrix_rate": None if rate is None else rate / best,
            "peak_memory_gib": memory / 2**30,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }

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
def matrix_rate(device: torch.device, precision: torch.dtype) -> float:
    """Return the measured rate of large matrix products on a device, in operations a second."""
    kind = device.type if device.type in RATE_SIZES else "cpu"
    size = RATE_SIZES[kind]
    left, right = (torch.randn(size, size, device=device).to(precision) for _ in range(2))
    for _ in range(WARM_UP_REPEATS):
        left @ right
    repeats, passed = 1, 0.0
    while passed < RATE_SECONDS[kind] / 2:
        repeats *= 2
        _wait_for(device)
        began = time.perf_counter()
        for _ in range(repeats):
            left @ right
        _wait_for(device)
        passed = time.perf_counter() - began
    return 2 * size**3 * repeats / passed


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_resident_bytes() -> int:
    """Return the most memory that the process has held; memory-mapped files count."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
