"""Text of the catalogue made plain: encodings, mark-up, sentences."""

from __future__ import annotations

import html
import re
import unicodedata

HTML = """
a b big blockquote body br center code div em embed font form h1 h2 h3 h4 h5 h6 head hr html i iframe img input li link
math meta object ol p pre s script small span strike strong style sub sup svg table td th title tr tt u ul
"""
HTML_NAMES = frozenset(HTML.split())
HANGING = """
a an and are as at be both by can for from in into is its of on or our such than that the their these this those to
using very via was were what which will with within
"""
_HANGING = frozenset(HANGING.split())
"""Words that no phrase ends on."""
_HIDDEN = re.compile(r"<(script|style)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[/!]?\s*([A-Za-z][A-Za-z0-9]*)\b([^<>]*)>")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_SPACE = re.compile(r"\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z0-9])")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|cf|vs|etc|al|Fig|Sec|Dr|approx|resp|[A-Z])\.)$")


def decode(line: bytes) -> str:
    """Return a line as text: UTF-8, or Latin-1 where it is not that (the catalogue was written over thirty years)."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def plain(text: str) -> str:
    """Return text without mark-up, control characters and runs of blanks.

    Tags of HTML go, with what scripts and styles hold; `<` and `>` as in "z < 1" stay. Braces stand for parentheses in
    the catalogue, and become such.
    """
    text = html.unescape(text)
    text = _COMMENT.sub(" ", _HIDDEN.sub(" ", text))
    text = _TAG.sub(lambda found: " " if _is_mark_up(found) else found[0], text)
    text = text.translate(str.maketrans("{}", "()"))
    kept = (" " if unicodedata.category(character).startswith("C") else character for character in text)
    return _SPACE.sub(" ", unicodedata.normalize("NFC", "".join(kept))).strip()


def _is_mark_up(found: re.Match[str]) -> bool:
    """Say whether ``<...>`` is a tag: of a name that HTML has, or with an attribute."""
    return found[1].lower() in HTML_NAMES or "=" in found[2]


def sentences(text: str) -> list[str]:
    """Return the sentences of plain text, in order; abbreviations such as "e.g." end none."""
    found: list[str] = []
    for part in _SENTENCE_END.split(text):
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] += " " + part
        else:
            found.append(part)
    return [part for part in found if part]


def count_words(text: str) -> int:
    """Return the number of words, parted by blanks."""
    return len(text.split())


def first_words(text: str, number: int) -> str:
    """Return the beginning of a text, of so many words at most, without what it would end on in the air."""
    words = text.split()[:number]
    while words and words[-1].strip(",;:").lower() in _HANGING:
        words.pop()
    return " ".join(words).rstrip(",;:.")
