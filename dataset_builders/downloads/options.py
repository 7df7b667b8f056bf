"""What the functions of several sources have in common: types of options, lists of numbers."""

from __future__ import annotations

import enum
from pathlib import Path

from astroclip_bench.errors import UserError
from astroclip_bench.files import storage_errors


class Release(enum.StrEnum):
    """A public release of DESI."""

    edr = "edr"
    dr1 = "dr1"


class Survey(enum.StrEnum):
    """A phase of DESI: commissioning, survey validation 1 to 3, main survey, special tiles."""

    cmx = "cmx"
    sv1 = "sv1"
    sv2 = "sv2"
    sv3 = "sv3"
    main = "main"
    special = "special"


class Program(enum.StrEnum):
    """The conditions that a DESI tile is observed in."""

    bright = "bright"
    dark = "dark"
    backup = "backup"
    other = "other"


def read_numbers(text: str, option: str) -> list[int]:
    """Return the whole numbers that an option gives: separated by commas or, in a text file, by commas or spaces.

    Parameters
    ----------
    text
        The numbers, or the file's path.
    option
        Name of the option, for the message.

    Raises
    ------
    UserError
        If there is no number, or something else.
    """
    path = Path(text).expanduser()
    if path.is_file():
        with storage_errors(path):
            text = path.read_text(encoding="utf-8", errors="replace")
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() for word in words):
        wrong = next((word for word in words if not word.isdecimal()), "")
        raise UserError(f"{option} {wrong[:40]!r}", "whole numbers separated by commas, or a file of them")
    return sorted({int(word) for word in words})


def join(base_url: str, *parts: str) -> str:
    """Return an address made of its parts.

    Raises
    ------
    UserError
        If `base_url` is no web address.
    """
    if not base_url.startswith(("http://", "https://")):
        raise UserError(f"--base-url {base_url!r}", "an address that begins with https://")
    return "/".join([base_url.rstrip("/"), *parts])
