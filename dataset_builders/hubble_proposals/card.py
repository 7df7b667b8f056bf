"""Texts of the data set card."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dataset_builders.hubble_proposals.catalogue import Proposal
from dataset_builders.hubble_proposals.summary import MAX_WORDS

DESCRIPTION = (
    "Preview pictures of Hubble observations, each with a caption made from the abstract of the proposal it was taken for: "
    "real data for models of image and text. The pictures are for display and carry no calibrated fluxes."
)
CITATION = (
    "Observations and proposals: NASA/ESA Hubble Space Telescope, obtained from the Mikulski Archive for Space Telescopes "
    "(MAST) at STScI. Pairing of previews and abstracts after Mishra-Sharma, Song and Thaler (2024), arXiv 2403.08851."
)
EXAMPLES = 6
MOST_CATEGORIES = 15

_SOURCE = """
A row is a preview picture of the archive (`total` products, no colour composites, at most {max_images} of a proposal,
those whose names hash lowest) whose name carries the number of a proposal in the catalogue of abstracts. Pictures,
records of the catalogue and captions that were left out are counted below, each under the first reason that holds.
"""

_PICTURES = """
`image` is the JPEG preview, its longer side brought to {size} pixels and the shorter one padded with black: 0 to 1, red,
green, blue; nearly all are grey, with three equal planes. **These are no fluxes**: the archive stretched and clipped
each picture in its own way; pixel scale, orientation and filter differ from one to the next. The modality has no unit,
no bands and no pixel scale, so that nothing takes it for a calibrated image. Where nothing was observed, a picture is
white or black, as the archive painted it; the padding is black.
"""

CAPTION_TEXTS: Mapping[str, str] = {
    "extractive": """
One caption for each proposal, taken from title and abstract by fixed rules, without a model: names of objects and
phenomena by a list of {names} names, then, after a semicolon, what follows the verbs of aims ("to measure ..."); at most
{words} words. The rules miss what is said in other words, and cut phrases short.
""",
    "chunks": """
One caption for each proposal: a run of whole sentences of the abstract, from a sentence drawn by hash (seed {seed}), of
at most {words} words. Much of an abstract is about other things than what a picture shows.
""",
    "endpoint": """
One caption for each proposal, written by the language model `{model}`: objects and phenomena, then, after a semicolon,
what they are observed for; at most {words} words. Nobody has read them all: a model may say what the abstract does not.
""",
}

_USES = """
* Proposals name instances ("NGC 1309") and aims that no picture shows; what can be learned is a weak association.
* The split is by proposal: the same object observed for two proposals may lie in two splits.
* Pictures of one proposal are often of one object; intervals resample proposals. In retrieval they are no rivals.
* Categories and titles are as the proposers wrote them. Observers' names are not carried over.
"""


def sections(options: Mapping[str, Any], proposals: Sequence[tuple[Proposal, str]]) -> Mapping[str, str]:
    """Return the data set's own sections of the card, heading -> Markdown; `proposals` are those with their captions."""
    from dataset_builders.hubble_proposals.vocabulary import OBJECTS

    values = {**options, "names": len(OBJECTS), "words": MAX_WORDS}
    return {
        "Where the rows come from": _SOURCE.format(**values),
        "Pictures": _PICTURES.format(**values),
        "Captions": CAPTION_TEXTS[options["captions"]].format(**values),
        "Examples": "\n".join(
            f"* *{_quoted(proposal.category or 'no category')}*: {_quoted(caption)}"
            for proposal, caption in proposals[:EXAMPLES]
        ),
        "Categories": _categories([proposal for proposal, _ in proposals]),
        "Uses and limits": _USES,
    }


def _categories(proposals: Sequence[Proposal]) -> str:
    counts = Counter(proposal.category or "(none)" for proposal in proposals).most_common()
    lines = [f"| {_quoted(name)} | {count:,} |" for name, count in counts[:MOST_CATEGORIES]]
    rest = sum(count for _, count in counts[MOST_CATEGORIES:])
    lines += [f"| ({len(counts) - MOST_CATEGORIES:,} others) | {rest:,} |"] if rest else []
    return "\n".join(["| category | proposals |", "|---|---|", *lines])


def _quoted(text: str) -> str:
    """Return text of others so that Markdown shows it as it is."""
    escaped = html.escape(text, quote=False)
    return "".join(f"\\{character}" if character in "\\`*_[]|~#!$" else character for character in escaped)
