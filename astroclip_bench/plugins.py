"""Entry points: how data sets, builders, tasks, architectures and bundled models are found, here and elsewhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any

from astroclip_bench.errors import UserError


def plugin_names(group: str) -> list[str]:
    """Return the sorted names registered under `astroclip_bench.<group>`."""
    return sorted({point.name for point in entry_points(group=f"astroclip_bench.{group}")})


def load_plugin(group: str, name: str) -> Any:
    """Import and return what `name` of `astroclip_bench.<group>` points to.

    Raises
    ------
    UserError
        If there is no such name (with the nearest ones), or the package that registers it cannot be imported.
    """
    for point in entry_points(group=f"astroclip_bench.{group}"):
        if point.name == name:
            try:
                return point.load()
            except (ImportError, AttributeError) as error:
                raise UserError(
                    f"{group.rstrip('s')} {name!r} ({point.value}) cannot be imported: {error}",
                    todo="repair or remove the package that registers it",
                ) from error
    raise UserError(f"unknown {group.rstrip('s')} {name!r}", todo=suggest(name, plugin_names(group)))


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a hint: the known names closest to `name`, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known) or 'none'}"
