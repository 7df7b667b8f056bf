"""List what a pickle would import, without running it."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

MAX_PICKLES = 5
"""A PyTorch file of before 2020 is five pickles, one after the other, and then the bytes of its tensors."""

_TENSOR_PARTS = ("torch._utils._rebuild_", "torch.storage.", "collections.OrderedDict")
_STRING_OPCODES = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING")


def refused_globals(path: Path) -> list[str]:
    """Return the names of functions and classes that loading the pickle would import, sorted.

    Left out are those that any file of tensors has. The list is for the reader of a refusal: a pickle written to hide
    may show less than it would do, so it decides nothing.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            streams = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
    else:
        streams = [path.read_bytes()]
    names = {name for stream in streams for name in _globals(stream)}
    return sorted(name for name in names if not _is_tensor_part(name))


def _is_tensor_part(name: str) -> bool:
    return name.startswith(_TENSOR_PARTS) or (name.startswith("torch.") and name.endswith("Storage"))


def _globals(stream: bytes) -> Iterator[str]:
    """Yield ``module.name`` for each import opcode of the pickles in `stream`, up to the first byte that is none."""
    handle = BytesIO(stream)
    for _ in range(MAX_PICKLES):
        strings: list[str] = []
        memo: dict[int, str | None] = {}
        last: str | None = None
        try:
            for opcode, argument, _position in pickletools.genops(handle):
                if opcode.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
                    memo[len(memo) if opcode.name == "MEMOIZE" else int(str(argument))] = last
                    continue
                if opcode.name in ("GLOBAL", "INST"):
                    yield str(argument).replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    yield ".".join(strings[-2:])
                last = _pushed_string(opcode.name, argument, memo)
                if last is not None:
                    strings.append(last)
        except Exception:  # the tensors' bytes, or damage: what was seen so far is the answer
            return


def _pushed_string(opcode: str, argument: object, memo: dict[int, str | None]) -> str | None:
    """Return the string that an opcode puts on the stack, if it does."""
    if opcode in _STRING_OPCODES:
        return str(argument)
    if opcode in ("BINGET", "LONG_BINGET", "GET") and isinstance(argument, int | str):
        return memo.get(int(argument))
    return None
