"""Choices drawn by hash: the same for the same words, whatever was drawn before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def number_below(bound: int, *key: str) -> int:
    """Return a whole number from 0 to `bound` - 1 that depends on `key` alone."""
    digest = hashlib.blake2b("\x1f".join(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % bound


def choose(options: Sequence[Item], *key: str) -> Item:
    """Return one of the options."""
    return options[number_below(len(options), *key)]


def shuffled(items: Sequence[Item], *key: str) -> list[Item]:
    """Return the items in another order."""
    return [
        items[place] for place in sorted(range(len(items)), key=lambda place: number_below(2**62, *key, str(place)))
    ]
