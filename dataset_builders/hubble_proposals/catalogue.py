"""The catalogue of abstracts (``abstracts.cat`` of STScI), and lists of abstracts without numbers.

The catalogue is text: records between lines of dashes, each with the lines ``Prop. Type:``, ``Category:``, ``ID:``,
``Cycle:``, ``Title:`` and ``PI:`` in this order, and then the abstract. A value may go on over the following lines.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astroclip_bench.errors import DataError
from astroclip_bench.files import storage_errors
from dataset_builders.hubble_proposals.words import count_words, decode, plain

SEPARATOR = "-----"
KEYS = ("Prop. Type", "Category", "ID", "Cycle", "Title", "PI")
LAST_KEY = "PI"
"""What comes after its line is the abstract, whatever it looks like."""
SHORTEST_ABSTRACT = 5
"""Words that an abstract must have."""
LONGEST_TEXT = 20_000
"""Characters of one field; more is several records run together."""
NO_NUMBER, LISTED_BEFORE = "no proposal number", "proposal listed before"
NO_ABSTRACT, RUN_TOGETHER = "no abstract", f"a text of more than {LONGEST_TEXT:,} characters"

_KEY_LINE = re.compile(rf"\s*({'|'.join(map(re.escape, KEYS))})\s*:(.*)")
_LIST_LINE = re.compile(r"Category:\s*([^.]*)\.\s+(.*)")


@dataclass(frozen=True)
class Proposal:
    """One observing proposal, its texts plain.

    Parameters
    ----------
    proposal_id
        Its number in decimal digits, without leading zeros; empty in a list without numbers.
    cycle
        Observing cycle, or None where the catalogue has none.
    """

    proposal_id: str
    cycle: int | None
    kind: str
    category: str
    title: str
    abstract: str


@dataclass(frozen=True)
class Catalogue:
    """The proposals that can be used, by number, and the counts of how they came about, for the manifest."""

    path: Path
    proposals: Mapping[str, Proposal]
    step: Mapping[str, Any]


def read_catalogue(path: Path | str) -> Catalogue:
    """Read a catalogue; records without a number or an abstract, run together, or listed a second time are counted only.

    Raises
    ------
    StorageError
        If the file cannot be read.
    DataError
        If it has no record that can be used.
    """
    path = Path(path).expanduser()
    kept: dict[str, Proposal] = {}
    dropped: Counter[str] = Counter({RUN_TOGETHER: 0, NO_NUMBER: 0, LISTED_BEFORE: 0, NO_ABSTRACT: 0})
    read = 0
    for fields in _records(_lines(path)):
        read += 1
        if max(map(len, fields.values())) > LONGEST_TEXT:
            dropped[RUN_TOGETHER] += 1
            continue
        proposal = _proposal(fields)
        reason = _reason_against(proposal, kept)
        if reason:
            dropped[reason] += 1
        else:
            kept[proposal.proposal_id] = proposal
    if not kept:
        raise DataError(
            f"{path}: none of its {read:,} records can be used",
            "records between lines of dashes, with ID:, Cycle:, Category:, Title:, PI: and an abstract",
            "get abstracts.cat of STScI",
        )
    step = {"step": "catalogue", "read": read, "kept": len(kept), "dropped": dict(dropped)}
    return Catalogue(path, kept, step)


def read_abstract_list(path: Path | str) -> list[Proposal]:
    """Read a list of abstracts without numbers, one a line: ``Category: NAME.  ABSTRACT``.

    Raises
    ------
    DataError
        If a line is none of these, naming it.
    """
    found = []
    for number, line in enumerate(_lines(Path(path).expanduser()), start=1):
        if not line.strip():
            continue
        match = _LIST_LINE.match(line)
        if match is None or not plain(match[2]):
            raise DataError(f"{path}, line {number}: {line[:40]!r}", "Category: NAME.  ABSTRACT")
        found.append(Proposal("", None, "", category_name(match[1]), "", plain(match[2])))
    return found


def category_name(text: str) -> str:
    """Return a category in one spelling: plain, in lower case; empty where there is none."""
    name = plain(text).lower()
    return "" if name == "none" else name


def _lines(path: Path) -> Iterator[str]:
    with storage_errors(path), path.open("rb") as handle:
        for number, line in enumerate(handle):
            text = decode(line).rstrip("\r\n")
            yield text.removeprefix("\ufeff") if number == 0 else text


def _records(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the fields of each record that has any; the abstract is the one named ``Abstract``."""
    fields: dict[str, list[str]] = {}
    current = ""
    for line in lines:
        if line.lstrip().startswith(SEPARATOR):
            if fields:
                yield _joined(fields)
            fields, current = {}, ""
            continue
        match = None if current in (LAST_KEY, "Abstract") else _KEY_LINE.match(line)
        if match:
            current = match[1]
            fields[current] = [match[2]]
        elif current:
            current = "Abstract" if current == LAST_KEY else current
            fields.setdefault(current, []).append(line)
    if fields:
        yield _joined(fields)


def _joined(fields: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: " ".join(lines) for name, lines in fields.items()}


def _proposal(fields: Mapping[str, str]) -> Proposal:
    values = {name: plain(value) for name, value in fields.items()}
    number, cycle = (values.get(name, "") for name in ("ID", "Cycle"))
    return Proposal(
        proposal_id=str(int(number)) if _is_number(number) else "",
        cycle=int(cycle) if _is_number(cycle) else None,
        kind=values.get("Prop. Type", ""),
        category=category_name(values.get("Category", "")),
        title=values.get("Title", ""),
        abstract=values.get("Abstract", ""),
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _reason_against(proposal: Proposal, kept: Mapping[str, Proposal]) -> str:
    reasons = {
        NO_NUMBER: not proposal.proposal_id,
        LISTED_BEFORE: proposal.proposal_id in kept,
        NO_ABSTRACT: count_words(proposal.abstract) < SHORTEST_ABSTRACT,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
