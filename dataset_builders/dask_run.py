"""Run tasks on a Dask cluster: a task runs again when its worker dies, and one line says what cannot be mended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from astroclip_bench.errors import MissingExtraError, UserError

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

CONNECT_SECONDS = 15
WORKERS_SECONDS = 300
"""How long to wait for the first worker: a batch system may have to start it."""


def run_on_dask(
    task: Callable[[Item], Result],
    items: Iterable[Item],
    scheduler: str,
    on_done: Callable[[Item], None] | None = None,
) -> Iterator[Result]:
    """Yield `task(item)` for every item as it finishes, in no fixed order.

    A task whose worker dies runs again on another, so it must be safe to run twice. Linear algebra and OpenMP run on
    one thread, as in `dataset_builders.pool`. When the caller stops early, by Ctrl-C or otherwise, the tasks that
    still wait are taken back. If all workers die, the scheduler waits for new ones for as long as its setting
    ``distributed.scheduler.no-workers-timeout`` says.

    Parameters
    ----------
    task
        Picklable; each worker receives it once. It finds the same files under the same paths on every worker.
    scheduler
        Address of the scheduler, such as ``tcp://10.0.0.1:8786``.
    on_done
        Called here with each item whose result has come.

    Raises
    ------
    UserError
        If the cluster cannot be reached, gets no workers or is lost, or if a task keeps killing its workers.
    MissingExtraError
        If Dask is not installed.
    """
    with connect(scheduler) as client:
        from distributed import as_completed

        # Handed on as a result, not inside each item: if the worker that holds it dies, the scheduler makes it again.
        shared = client.submit(_itself, task, pure=False)
        wanted = list(items)
        waiting = dict(zip(client.map(_run, wanted, task=shared, pure=False), wanted, strict=True))
        try:
            client.wait_for_workers(1, WORKERS_SECONDS)
            for future, result in as_completed(list(waiting), loop=client.loop, with_results=True):
                if future.cancelled():
                    raise result
                # Forgotten at once, so that the cluster need not keep results that have been fetched.
                item = waiting.pop(future)
                del future
                if on_done is not None:
                    on_done(item)
                yield result
        finally:
            if client.status == "running":
                client.cancel(list(waiting))


@contextmanager
def connect(scheduler: str) -> Iterator[Client]:
    """Give a client of the cluster at the address `scheduler`; what Dask raises in the block becomes one line.

    Raises
    ------
    UserError
        If the cluster cannot be reached, gets no workers or is lost, or if a task keeps killing its workers.
    MissingExtraError
        If Dask is not installed.
    """
    try:
        from distributed import CancelledError, Client, KilledWorker
        from distributed.comm import get_address_host_port
        from distributed.exceptions import WorkerStartTimeoutError
        from distributed.scheduler import NoValidWorkerError, NoWorkerError
    except ImportError as error:
        raise MissingExtraError("distributed", "dask") from error
    # What the client logs of a lost scheduler is raised here as well.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        get_address_host_port(scheduler, strict=True)
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler answers at {scheduler!r} ({error})",
            "an address such as tcp://10.0.0.1:8786",
            "start it (dask scheduler) or correct --scheduler",
        ) from error
    with client:
        try:
            yield client
        except KilledWorker as error:
            raise UserError(
                f"a task ended {error.allowed_failures + 1} workers one after the other (out of memory?)",
                todo="give each worker more memory or fewer threads, and run again",
            ) from error
        except (WorkerStartTimeoutError, NoValidWorkerError, NoWorkerError) as error:
            raise UserError(
                f"the Dask scheduler at {scheduler} has no workers", todo=f"start some: dask worker {scheduler}"
            ) from error
        except CancelledError as error:
            raise UserError(
                f"the Dask scheduler at {scheduler} was lost, or took the tasks back",
                todo="run again: what is finished is kept",
            ) from error


def _itself(task: Callable[[Item], Result]) -> Callable[[Item], Result]:
    return task


def _run(item: Item, task: Callable[[Item], Result]) -> Result:
    # The limit reaches libraries already loaded: numpy's and scipy's are loaded here for it.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    # Not as a context: leaving it would lift the limit from the tasks in this worker's other threads.
    threadpool_limits(1)
    return task(item)
