"""Threads for work that alternates between matrix products and many small steps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

_settings_lock = threading.RLock()


@dataclass(frozen=True)
class Workers:
    """A pool of threads, and how many there are."""

    pool: ThreadPoolExecutor
    count: int


@contextmanager
def alone_in_each_thread() -> Iterator[int]:
    """Let torch use one thread, in full float32 precision; give the number of threads that it is set to use.

    Torch's threads wait for their next work by spinning, and so take the processor from the small steps in between.
    Torch keeps both settings once per process. They are restored at the end, and a lock keeps two users of this
    function apart; products that other threads compute meanwhile are slower, never less precise.
    """
    import torch

    with _settings_lock:
        precision, count = torch.get_float32_matmul_precision(), torch.get_num_threads()
        torch.set_float32_matmul_precision("highest")
        torch.set_num_threads(1)
        try:
            yield count
        finally:
            torch.set_num_threads(count)
            torch.set_float32_matmul_precision(precision)


@contextmanager
def workers() -> Iterator[Workers]:
    """Give as many threads as torch is set to use, in each of which torch works alone: one for each block of the work.

    That is faster than one block after the other in several of torch's threads (see `alone_in_each_thread`).
    """
    with alone_in_each_thread() as count, ThreadPoolExecutor(count) as pool:
        yield Workers(pool, count)
