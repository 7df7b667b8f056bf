"""Work on shards in several processes: one thread each, live progress, and a prompt, clean stop."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, TypeVar

from astroclip_bench.errors import UserError

Result = TypeVar("Result")
ShardTask = Callable[[int, Callable[[int], None]], Result]
"""Takes a shard number and a function to call with the number of rows just made."""

POLL_SECONDS = 0.3
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def run_shards(
    task: ShardTask[Result],
    shards: Sequence[int],
    workers: int,
    on_rows: Callable[[int], None],
    scheduler: str | None = None,
) -> Iterator[Result]:
    """Yield `task(shard, tick)` for every shard as it finishes.

    With one worker the shards run here, one after the other; with more, in freshly started ("spawn") processes; with
    a `scheduler`, on the workers of that Dask cluster.
    Linear algebra and OpenMP run on one thread either way, so that results are the same bits for any number of
    workers.

    Parameters
    ----------
    on_rows
        Called in this process with numbers of rows newly made.

    Raises
    ------
    UserError
        If a worker process is killed from outside, most often for want of memory.
    """
    if workers < 1:
        raise UserError(f"{workers} workers", "at least 1", "change --workers")
    if scheduler is not None:
        from dataset_builders.dask_run import run_on_dask

        for result, rows in run_on_dask(_CountingTask(task), shards, scheduler):
            on_rows(rows)
            yield result
    elif workers == 1 or len(shards) < 2:
        with _one_thread():
            for shard in shards:
                yield task(shard, on_rows)
    else:
        yield from _run_in_processes(task, shards, min(workers, len(shards)), on_rows)


def _run_in_processes(
    task: ShardTask[Result], shards: Sequence[int], workers: int, on_rows: Callable[[int], None]
) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")
    made = context.Value("q", 0)
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(task, made))
    reported = 0
    try:
        with _environment(dict.fromkeys(THREAD_VARIABLES, "1")):
            pending: set[Future[Result]] = {executor.submit(_work, shard) for shard in shards}
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


@dataclass(frozen=True)
class _CountingTask:
    """A task for a machine that cannot report while it works: the rows made come with the result."""

    task: ShardTask[Any]

    def __call__(self, shard: int) -> tuple[Any, int]:
        made: list[int] = []
        return self.task(shard, made.append), sum(made)


_task: ShardTask[Any]
_made: Any


def _start_worker(task: ShardTask[Any], made: Any) -> None:
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


def _work(shard: int) -> Any:
    return _task(shard, _tick)


def _tick(rows: int) -> None:
    with _made.get_lock():
        _made.value += rows


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit the linear algebra of this process to one thread, for the while."""
    # The limit reaches libraries already loaded: numpy's and scipy's are loaded here for it.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


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
