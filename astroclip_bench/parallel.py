"""The same work on many items, in threads that can be called off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

GRACE_SECONDS = 1.0
"""What the threads get to put down their files once they are called off."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class StoppedError(Exception):
    """The work was called off; what is done so far stays."""


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], connections: int, stop: threading.Event
) -> list[Result]:
    """Return `work` of each item, done in threads; the first error, or Ctrl-C, sets `stop` and is raised.

    Raises
    ------
    StoppedError
        If `stop` was set already.

    Notes
    -----
    The threads are daemons, unlike those of `concurrent.futures`: one that waits for a silent server must not keep
    the process from ending.
    """
    todo: SimpleQueue[tuple[int, Item]] = SimpleQueue()
    for numbered in enumerate(items):
        todo.put(numbered)
    results: dict[int, Result] = {}
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def run() -> None:
        failure: BaseException | None = None
        try:
            while not stop.is_set():
                number, item = todo.get_nowait()
                results[number] = work(item)
        except Empty:
            pass
        except BaseException as error:
            failure = error
        ended.put(failure)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(connections, len(items)))]
    try:
        for thread in threads:
            thread.start()
        for _ in threads:
            failure = ended.get()
            if failure is not None:
                raise failure
    except BaseException:
        stop.set()
        for thread in threads:
            thread.join(GRACE_SECONDS / len(threads))
        raise
    if len(results) < len(items):
        raise StoppedError
    return [results[number] for number in range(len(items))]
