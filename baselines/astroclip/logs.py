"""What a training leaves to read, and how it is told to stop."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from astroclip_bench.errors import MissingExtraError
from astroclip_bench.files import atomic_path

LOG = "log.jsonl"
TENSORBOARD = "tensorboard"


class Logs:
    """The log as lines of JSON and for TensorBoard, both cut back to the step from which a run goes on.

    Parameters
    ----------
    writes
        Whether this process is the one that writes.
    """

    def __init__(self, out: Path, step: int, writes: bool) -> None:
        self._path, self._writer = out / LOG, None
        if not writes:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("tensorboard", "train") from error
        kept = [line for line in _lines(self._path) if json.loads(line)["step"] <= step] if step else []
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._writer = SummaryWriter(str(out / TENSORBOARD), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float], rates: Mapping[str, float] | None = None) -> None:
        """Add an entry; `rates` depend on the machine and stand apart."""
        if self._writer is None:
            return
        entry = {"step": step, **values, **({"rates": dict(rates)} if rates else {})}
        with self._path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(entry) + "\n")
        for name, value in {**values, **(rates or {})}.items():
            self._writer.add_scalar(name.replace(" ", "/"), value, step)

    def close(self) -> None:
        """Write what TensorBoard's writer still holds."""
        if self._writer is not None:
            self._writer.close()


def _lines(path: Path) -> list[str]:
    """Return the whole lines of a log; a line cut short by a crash is no line."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text.split("\n")[:-1]


@contextmanager
def stop_signal(alone: bool = True) -> Iterator[Callable[[], bool]]:
    """Give a function that says whether a signal asked to stop.

    Parameters
    ----------
    alone
        Let a second signal interrupt at once. Not so under torchrun, which passes on what the terminal has sent.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked and alone:
            raise KeyboardInterrupt
        asked.append(number)

    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, ask) for number in signals}
    except ValueError:  # not in the main thread, where no signal arrives
        before = {}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
