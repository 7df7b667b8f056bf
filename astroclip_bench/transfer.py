"""HTTP that survives a bad line: requests tried again, one file fetched in as many pieces as it takes.

Resuming follows RFC 9110, sections 13.1.5 and 14: ``Range`` asks for the rest, ``If-Range`` for all of it should the
file have changed since.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import httpx2

from astroclip_bench import __version__
from astroclip_bench.errors import DataError
from astroclip_bench.files import write_json
from astroclip_bench.parallel import StoppedError

Result = TypeVar("Result")
Advance = Callable[[int], None]
"""Called with the number of bytes that have come in; negative when a file is started anew."""

TIMEOUT_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 300.0
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP answers that may be another the next time."""


class MissingFileError(DataError):
    """The server has nothing at that address."""


class _TryAgainError(Exception):
    """An attempt failed in a way that may pass."""

    def __init__(self, reason: str, after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds


@dataclass
class Line:
    """A line to the servers, shared by the threads that use it.

    Parameters
    ----------
    client
        See `open_client`.
    attempts
        Failures in a row, with nothing received between them, after which a file is given up.
    first_wait_seconds
        Wait after the first failure; doubled after each more, unless the server says how long (Retry-After).
    requests_a_second
        Bound on the rate of requests, for servers that make what they send.
    """

    client: httpx2.Client
    attempts: int = 6
    first_wait_seconds: float = 1.0
    requests_a_second: float | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    _next_request: float = field(default=0.0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def persist(self, attempt: Callable[[], Result], url: str, progress: Callable[[], int] = lambda: 0) -> Result:
        """Call `attempt` until it succeeds, as long as failures may pass; `progress` says what has come in so far.

        Raises
        ------
        DataError
            If it fails `attempts` times in a row.
        StoppedError
            If the transfers were called off meanwhile.
        """
        failures, before = 0, progress()
        while True:
            self._take_turn()
            try:
                return attempt()
            except _TryAgainError as error:
                reason, wait = str(error), error.after_seconds
            except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
                raise DataError(f"{url!r} is no web address", "https://...", "check --base-url") from error
            except httpx2.TooManyRedirects as error:
                raise DataError(
                    f"{url}: redirected in a circle", todo="try it in a browser, or use a mirror"
                ) from error
            except httpx2.TransportError as error:
                reason, wait = f"{type(error).__name__}: {error}", None
            failures = 1 if progress() > before else failures + 1
            before = progress()
            if failures >= self.attempts:
                raise DataError(
                    f"{url}: {reason} ({failures} times in a row)",
                    todo="check the network, and run the same command again: it goes on where this one stopped",
                )
            self._sleep(
                self.first_wait_seconds * 2 ** (failures - 1) * random.uniform(1, 1.2) if wait is None else wait
            )

    def _take_turn(self) -> None:
        """Wait for this request's turn, where their rate is bounded."""
        if self.requests_a_second is None:
            return
        with self._lock:
            start = max(self._next_request, time.monotonic())
            self._next_request = start + 1 / self.requests_a_second
        self._sleep(start - time.monotonic())

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(max(0.0, min(seconds, LONGEST_WAIT_SECONDS))):
            raise StoppedError


def open_client(connections: int) -> httpx2.Client:
    """Return a client for that many connections at once; it honours the proxy variables of the environment."""
    return httpx2.Client(
        follow_redirects=True,
        timeout=TIMEOUT_SECONDS,
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        # A compressed answer could be neither resumed nor compared with a checksum.
        headers={"User-Agent": f"astroclip-bench/{__version__}", "Accept-Encoding": "identity"},
    )


def get_text(line: Line, url: str) -> str | None:
    """Return the text at `url`, or None if there is nothing.

    Raises
    ------
    DataError
        If it cannot be had.
    """

    def attempt() -> str | None:
        response = line.client.get(url)
        if response.status_code in (404, 410):
            return None
        _check_status(response, url)
        return response.text

    return line.persist(attempt, url)


def size_of(line: Line, url: str) -> int | None:
    """Return the size in bytes of the file at `url`, or None if the server does not tell.

    Raises
    ------
    DataError
        If there is no such file, or it cannot be had.
    """

    def attempt() -> int | None:
        response = line.client.head(url)
        if response.status_code in (405, 501):
            return None
        _check_status(response, url)
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None

    return line.persist(attempt, url)


def receive(line: Line, url: str, target: Path, advance: Advance, expected_bytes: int | None = None) -> None:
    """Fetch `url` into the file `target`, going on from what an earlier attempt, or an earlier run, left there.

    Beside it lies a note with the server's mark (ETag or date) of the version that `target` is a part of; without
    one, or when the server has another version by now, the file is fetched anew.

    Parameters
    ----------
    advance
        Called with the bytes that come in.
    expected_bytes
        Size of the whole file, if it is known: a connection that ends early without saying so is then noticed.

    Raises
    ------
    DataError
        If there is no such file, or it cannot be had.
    OSError
        If the disk is full or not writable; what has come in stays.
    StoppedError
        If the transfers were called off; what has come in stays.
    """

    def attempt() -> None:
        _receive_once(line, url, target, advance)
        if expected_bytes is not None and received_bytes(target) < expected_bytes:
            raise _TryAgainError("the connection ended early")

    line.persist(attempt, url, lambda: received_bytes(target))
    _note_path(target).unlink(missing_ok=True)


def received_bytes(target: Path) -> int:
    """Return how much of a file lies there already."""
    return target.stat().st_size if target.is_file() else 0


def discard(target: Path) -> None:
    """Remove a part of a file and its note."""
    target.unlink(missing_ok=True)
    _note_path(target).unlink(missing_ok=True)


def _receive_once(line: Line, url: str, target: Path, advance: Advance) -> None:
    have, mark = received_bytes(target), _read_mark(target)
    headers = {"Range": f"bytes={have}-", "If-Range": mark} if have and mark else {}
    with line.client.stream("GET", url, headers=headers) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return
            discard(target)
            advance(-have)
            raise _TryAgainError("the file on the server is shorter than the part that is here", 0.0)
        _check_status(response, url)
        resumed = response.status_code == HTTPStatus.PARTIAL_CONTENT
        if resumed and _range_start(response) != have:
            discard(target)
            advance(-have)
            raise _TryAgainError("the server sent another range than was asked for", 0.0)
        if not resumed:
            target.unlink(missing_ok=True)
            advance(-have)
            write_json(_note_path(target), _mark_of(response))
        with target.open("ab") as handle:
            for chunk in response.iter_raw():
                if line.stop.is_set():
                    raise StoppedError
                handle.write(chunk)
                advance(len(chunk))


def _check_status(response: httpx2.Response, url: str) -> None:
    status = response.status_code
    if status in PASSING_STATUS:
        raise _TryAgainError(f"HTTP {status}", _retry_after(response))
    if status in (401, 403):
        raise DataError(f"{url}: HTTP {status}, the server refuses it", todo="try it in a browser, or use a mirror")
    if status in (404, 410):
        raise MissingFileError(f"{url}: no such file (HTTP {status})", todo="check the options and --base-url")
    if not response.is_success:
        raise DataError(f"{url}: HTTP {status}", "HTTP 200", "try it in a browser, or use a mirror")


def _retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds that the server asks to wait, given as a number or as a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None


def _range_start(response: httpx2.Response) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _mark_of(response: httpx2.Response) -> str | None:
    """Return what If-Range may compare: an ETag that is not weak, or else the date."""
    etag: str = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    date: str | None = response.headers.get("Last-Modified")
    return date


def _note_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _read_mark(target: Path) -> str | None:
    try:
        mark = json.loads(_note_path(target).read_bytes())
    except (OSError, ValueError):
        return None
    return mark if isinstance(mark, str) else None
