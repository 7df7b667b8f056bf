"""Numbered pieces of work in several processes: one thread each, live progress, and a prompt, clean stop."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any, TypeVar

from astroclip_bench.errors import UserError

Result = TypeVar("Result")
NumberedTask = Callable[[int, Callable[[int], None]], Result]
"""Takes the number of a piece, and a function to call with how many rows (or other units) of it are newly done."""

POLL_SECONDS = 0.3
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def require_workers(workers: int) -> None:
    """Refuse, with a UserError, less than one worker."""
    if workers < 1:
        raise UserError(f"{workers} workers", "at least 1", "change --workers")


def run_numbered(
    task: NumberedTask[Result],
    numbers: Sequence[int],
    workers: int = 1,
    on_rows: Callable[[int], None] = lambda count: None,
) -> Iterator[Result]:
    """Yield `task(number, tick)` of every number as it finishes.

    With one worker the pieces are worked on here, one after the other; with more, in freshly started ("spawn")
    processes, in each of which linear algebra and OpenMP run on one thread. When the caller stops early, the processes
    are ended.

    Parameters
    ----------
    task
        Picklable; each process receives it once.
    on_rows
        Called in this process with numbers of rows newly done.

    Raises
    ------
    UserError
        If there is no worker, or a process is killed from outside, most often for want of memory.
    """
    require_workers(workers)
    if min(workers, len(numbers)) > 1:
        yield from _run_in_processes(task, numbers, min(workers, len(numbers)), on_rows)
    else:
        for number in numbers:
            yield task(number, on_rows)


def _run_in_processes(
    task: NumberedTask[Result], numbers: Sequence[int], workers: int, on_rows: Callable[[int], None]
) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")
    made = context.Value("q", 0)
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(task, made))
    reported = 0
    try:
        with _environment(dict.fromkeys(THREAD_VARIABLES, "1")):
            pending: set[Future[Result]] = {executor.submit(_work, number) for number in numbers}
            while pending:
                done, pending = wait(pending, POLL_SECONDS, FIRST_COMPLETED)
                count = made.value
                on_rows(count - reported)
                reported = count
                for future in done:
                    yield future.result()
        executor.shutdown()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process ended before its work was done (out of memory?)", todo="run again with fewer --workers"
        ) from error
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
            child.join()


_task: NumberedTask[Any]
_made: Any


def _start_worker(task: NumberedTask[Any], made: Any) -> None:
    """Prepare a worker: the parent alone answers Ctrl-C, and a worker does not outlive its parent."""
    global _task, _made
    _task, _made = task, made
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()


def _leave_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _work(number: int) -> Any:
    return _task(number, _tick)


def _tick(rows: int) -> None:
    with _made.get_lock():
        _made.value += rows


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables that processes started meanwhile inherit."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        _restore(before.items())


def _restore(variables: Iterable[tuple[str, str | None]]) -> None:
    for name, value in variables:
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
