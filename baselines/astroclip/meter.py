"""Where the time of a training goes: galaxies and floating-point operations a second, memory, waiting for data."""

from __future__ import annotations

import inspect
import resource
import statistics
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


@dataclass(frozen=True)
class Interval:
    """What was done between two logs, pauses left out; seconds are those of wall time."""

    seconds: float
    waited: float
    galaxies: int
    steps: int


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
    _intervals: list[Interval] = field(default_factory=list)
    _marks: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

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
        last = Interval(max(now - self._began, 1e-9), waited - self._waited_before, self._galaxies, self._steps)
        self._intervals.append(last)
        self.seconds["training"] += last.seconds
        self.seconds["waiting for data"] += last.waited
        values = self._rates(last)
        if self.device.type == "cuda":
            if self.operations is not None:
                values["share_of_matrix_rate"] = values["tflops"] * 1e12 / matrix_rate(self.device, self.precision)
            values["gpu_memory_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        self._began, self._waited_before = time.perf_counter(), waited
        self._galaxies = self._steps = 0
        return values

    def _rates(self, interval: Interval) -> dict[str, float]:
        values = {
            "galaxies_per_second": interval.galaxies / interval.seconds,
            "share_waiting_for_data": interval.waited / interval.seconds,
        }
        if self.operations is not None:
            values["tflops"] = self.operations * interval.steps / interval.seconds / 1e12
        return values

    def report(self, processes: int = 1) -> dict[str, Any]:
        """Return what has been done since the run was last started, and how fast; plain values.

        Rates are medians over the intervals between logs but for the first one, in which blocks are compiled.
        Operations are those of matrix products, convolutions and attention, forward and backward, of one process; they
        are compared with its measured rate of large matrix products of the same precision. ``seconds`` says where the
        time went: waiting, computing and the optimiser are parts of ``training``, the rest stood between steps.
        """
        rates = [self._rates(interval) for interval in self._intervals[1:] or self._intervals]
        medians = {name: statistics.median(rate[name] for rate in rates) for name in rates[0]}
        best = matrix_rate(self.device, self.precision) / 1e12
        cuda = self.device.type == "cuda"
        memory = torch.cuda.max_memory_allocated(self.device) if cuda else _peak_resident_bytes()
        return {
            "covers": "since the run was last started",
            "device": torch.cuda.get_device_name(self.device) if cuda else f"cpu, {torch.get_num_threads()} threads",
            "processes": processes,
            "precision": str(self.precision).removeprefix("torch."),
            "torch": torch.__version__,
            "steps": sum(interval.steps for interval in self._intervals),
            "galaxies": sum(interval.galaxies for interval in self._intervals),
            **medians,
            "operations_per_step": self.operations,
            "matrix_tflops": best,
            "share_of_matrix_rate": medians["tflops"] / best if "tflops" in medians else None,
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

    with FlopCounterMode(display=False, custom_mapping=_attention_on_the_cpu()) as counter:
        yield
    meter.operations = counter.get_total_flops()


def _attention_on_the_cpu() -> dict[Any, Any]:
    """Return formulas that torch's counter has for GPUs alone."""
    from torch.utils.flop_counter import sdpa_backward_flop, sdpa_flop

    operations, name = torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu"
    formulas: dict[str, Callable[..., Any]] = {name: sdpa_flop, f"{name}_backward": sdpa_backward_flop}
    return {getattr(operations, key): inspect.unwrap(formula) for key, formula in formulas.items()}


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
