"""Progress on standard error: a bar with rate and time left on a terminal, sparse lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""

LINE_INTERVAL_SECONDS = 15.0


@contextmanager
def progress_bar(what: str, unit: str = "galaxies", quiet: bool = False) -> Iterator[Progress]:
    """Give a `Progress` that shows how far `what` has come, its rate and the time left."""
    if quiet:
        yield lambda done, total: None
    elif sys.stderr.isatty():
        with _terminal_bar(what, unit) as report:
            yield report
    else:
        yield _line_reporter(what, unit)


@contextmanager
def _terminal_bar(what: str, unit: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit}, {{task.fields[rate]}}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    start = time.monotonic()
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(what, total=None, rate="")

        def report(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total, rate=_rate(done, time.monotonic() - start))

        yield report


def _line_reporter(what: str, unit: str) -> Progress:
    start = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_INTERVAL_SECONDS or not done:
            return
        last = now
        left = (now - start) * (total - done) / done
        sys.stderr.write(f"{what}: {done:,} of {total:,} {unit}, {_rate(done, now - start)}, {left:,.0f} s left\n")
        sys.stderr.flush()

    return report


def _rate(done: int, seconds: float) -> str:
    rate = done / max(seconds, 1e-9)
    return f"{rate:,.0f}/s" if rate >= 1 else f"{60 * rate:,.1f}/min"
