"""What captions are: two fields of a summary, or sentences of the abstract; and the two ways that need no model.

The two fields, what is observed and what for, at most 80 words together, are those of Mishra-Sharma, Song and Thaler
(2024, arXiv 2403.08851, section 2); so are random runs of sentences as the alternative.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from dataset_builders.hubble_proposals.catalogue import Proposal
from dataset_builders.hubble_proposals.vocabulary import COMMON_WORDS, GENERIC, GOAL, OBJECTS
from dataset_builders.hubble_proposals.words import count_words, first_words, plain, sentences

MAX_WORDS = 80
"""Of a caption."""
MAX_ITEMS = 5
"""In each field of a summary."""
GOAL_WORDS = 12
"""Longest science use case."""

_TELESCOPE = re.compile(r"\s*\b(?:(?:with|using|by|from|on) )?(?:the )?(?:Hubble Space Telescope|HST)\b(?:'s)?", re.I)


@dataclass(frozen=True)
class Summary:
    """What a proposal observes and what for, each a list with commas."""

    objects_and_phenomena: str
    science_use_cases: str

    @property
    def caption(self) -> str:
        """Both fields, as one text."""
        return f"{self.objects_and_phenomena}; {self.science_use_cases}"


class Summariser(Protocol):
    """Makes a caption of a proposal."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What the captions depend on besides the abstract; plain JSON values."""
        ...

    def __call__(self, proposal: Proposal) -> str | None:
        """Return the caption, of at most `MAX_WORDS` words, or None if none can be made."""
        ...


class Extractive:
    """Takes both fields from the abstract's own words: objects by a list of names, use cases by the verbs of aims."""

    options: Mapping[str, Any] = {"captions": "extractive"}

    def __call__(self, proposal: Proposal) -> str | None:
        """Return the caption."""
        return extract(proposal).caption


class SentenceChunks:
    """Takes a run of whole sentences from one drawn by hash on; the end of the abstract is followed by its beginning."""

    def __init__(self, seed: int = 0) -> None:
        self.options: Mapping[str, Any] = {"captions": "chunks", "seed": seed}
        self._seed = seed

    def __call__(self, proposal: Proposal) -> str | None:
        """Return the caption."""
        from dataset_builders.draws import number_below

        parts = sentences(proposal.abstract)
        start = number_below(len(parts), "chunk", str(self._seed), proposal.proposal_id, proposal.abstract)
        chosen: list[str] = []
        for part in [*parts[start:], *parts[:start]]:
            if count_words(" ".join([*chosen, part])) > MAX_WORDS:
                break
            chosen.append(part)
        return " ".join(chosen) or first_words(parts[start], MAX_WORDS)


def extract(proposal: Proposal) -> Summary:
    """Return the summary of a proposal in the words of its own title and abstract.

    Objects and phenomena are the names of `OBJECTS` that occur most often; where fewer than two do, pairs of words that
    occur most often come after them. Science use cases are what follows the verbs of aims, in the order of the text;
    where there is none, the sentence whose words occur most often.
    """
    text = f"{proposal.title}. {proposal.abstract}" if proposal.title else proposal.abstract
    objects = _objects(text)
    if len(objects) < 2:
        objects += [pair for pair in _frequent_pairs(proposal.abstract) if pair not in objects]
    objects = objects[:MAX_ITEMS] or [proposal.category or "observations"]
    cases: list[str] = []
    for case in _use_cases(proposal.abstract) or [first_words(_central_sentence(proposal.abstract), 2 * GOAL_WORDS)]:
        if len(cases) < MAX_ITEMS and count_words(" ".join([*objects, *cases, case])) <= MAX_WORDS:
            cases.append(case)
    return Summary(", ".join(objects), ", ".join(cases))


def check_summary(answer: Any) -> Summary | None:
    """Return a summary that somebody else wrote, made plain, or None if it breaks the rules.

    Both fields must be texts or lists of texts with something in them, of `MAX_WORDS` words together at most.
    """
    if not isinstance(answer, dict):
        return None
    fields = [_field(answer.get(name)) for name in ("objects_and_phenomena", "science_use_cases")]
    if not all(fields) or count_words(" ".join(fields)) > MAX_WORDS:
        return None
    return Summary(*fields)


def _field(value: Any) -> str:
    """Return a field of an answer as plain text, empty if it is none."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    return plain(value).strip(" ,;") if isinstance(value, str) else ""


def _objects(text: str) -> list[str]:
    """Return the names that occur, the most frequent first and generic ones last; a longer name hides those in it."""
    counts: Counter[str] = Counter()
    first: dict[str, int] = {}
    for name, pattern in OBJECTS:
        matches = list(pattern.finditer(text))
        if matches:
            counts[name] = len(matches)
            first[name] = matches[0].start()
            text = pattern.sub(lambda found: "\x00" * len(found[0]), text)
    return sorted(counts, key=lambda name: (name in GENERIC, -counts[name], first[name]))


def _frequent_pairs(text: str) -> list[str]:
    """Return neighbouring pairs of telling words that occur more than once, the three most frequent."""
    words = [word.lower() for word in re.findall(r"[A-Za-z][A-Za-z-]+|[^\w\s]", text)]
    pairs = [
        f"{one} {other}"
        for one, other in pairwise(words)
        if all(len(word) > 3 and word not in COMMON_WORDS for word in (one, other))
    ]
    return [pair for pair, count in Counter(pairs).most_common(3) if count > 1]


def _use_cases(text: str) -> list[str]:
    """Return what the text says is to be done, in its order, each once."""
    cases: list[str] = []
    for sentence in sentences(text):
        for match in GOAL.finditer(sentence):
            case = first_words(_TELESCOPE.sub("", f"{match['verb']} {match['what']}"), GOAL_WORDS)
            if count_words(case) > 2 and not any(_same(case, other) for other in cases):
                cases.append(case)
    return cases


def _same(one: str, other: str) -> bool:
    return one.lower().split()[:3] == other.lower().split()[:3]


def _central_sentence(text: str) -> str:
    """Return the sentence whose words are most frequent in the text (Luhn 1958), the first of equal ones."""
    parts: Sequence[str] = sentences(text)
    counts = Counter(word for word in re.findall(r"[a-z]{4,}", text.lower()) if word not in COMMON_WORDS)

    def weight(sentence: str) -> float:
        words = [word for word in re.findall(r"[a-z]{4,}", sentence.lower()) if word not in COMMON_WORDS]
        return sum(counts[word] for word in words) / (len(words) + 3)

    return _TELESCOPE.sub("", max(parts, key=weight))
