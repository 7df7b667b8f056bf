"""The one error hierarchy: each message says what was found, what was expected and what to do."""

from __future__ import annotations


class BenchError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command ends with.

    Parameters
    ----------
    found
        What was found, naming the file, column or argument at fault.
    expected
        What would have been accepted, where that is not obvious.
    todo
        What to do next; names the argument or command to change.
    """

    exit_code = 1

    def __init__(self, found: str, expected: str | None = None, todo: str | None = None) -> None:
        self.found, self.expected, self.todo = found, expected, todo
        parts = [found, f"expected {expected}" if expected else None, todo]
        # One line, whatever a third-party library put into its message.
        super().__init__(" ".join("; ".join(part for part in parts if part).split()))

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the error whole on its way out of a worker process, whatever its constructor takes."""
        return (_rebuild, (type(self), self.found, self.expected, self.todo))


class UserError(BenchError):
    """The input, an argument or the machine's state is at fault, not this package (exit code 2)."""

    exit_code = 2


class DataError(UserError):
    """A data set, or one of the files it is built from, is missing, damaged or not of the record's schema."""


class EmbedderError(UserError):
    """A model cannot be loaded safely, or its embeddings break the embedder's contract."""


class TaskError(UserError):
    """An unknown task, protocol, metric or label was asked for."""


class ResultError(UserError):
    """A result file is missing, damaged, of another schema version, or does not belong to this run."""


class StorageError(UserError):
    """The disk is full, or a path cannot be read or written."""


class MissingExtraError(UserError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed",
            todo=f"run: pip install 'astroclip-bench[{extra}]'",
        )


def _rebuild(kind: type[BenchError], found: str, expected: str | None, todo: str | None) -> BenchError:
    error = kind.__new__(kind)
    BenchError.__init__(error, found, expected, todo)
    return error
