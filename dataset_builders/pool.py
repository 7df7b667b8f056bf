"""Work on shards here, in several processes, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from astroclip_bench.processes import NumberedTask, Result, require_workers, run_numbered


def run_shards(
    task: NumberedTask[Result],
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
        If there is no worker, or a process is killed from outside, most often for want of memory.
    """
    require_workers(workers)
    if scheduler is None:
        with _one_thread():
            yield from run_numbered(task, shards, workers, on_rows)
    else:
        from dataset_builders.dask_run import run_on_dask

        for result, rows in run_on_dask(_CountingTask(task), shards, scheduler):
            on_rows(rows)
            yield result


@dataclass(frozen=True)
class _CountingTask:
    """A task for a machine that cannot report while it works: the rows made come with the result."""

    task: NumberedTask[Any]

    def __call__(self, shard: int) -> tuple[Any, int]:
        made: list[int] = []
        return self.task(shard, made.append), sum(made)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit the linear algebra of this process to one thread, for the while."""
    # The limit reaches libraries already loaded: numpy's and scipy's are loaded here for it.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
