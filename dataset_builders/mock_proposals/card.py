"""Texts of the data set card."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from dataset_builders.mock_proposals.themes import OBJECT_CLASSES, SCIENCE_CASES

if TYPE_CHECKING:
    from dataset_builders.mock_proposals.source import MockProposals, Proposal

DESCRIPTION = (
    "SIMULATED galaxies of the mock survey, each in an invented observing proposal: one caption for the few galaxies of a "
    "proposal, written by a grammar from what the simulation knows of them. For models of images, spectra and text."
)

SIMULATION = """\
**Galaxies and texts are invented**: no row was observed, nobody proposed to observe it, and no score on this data set is
a score on real data. It exists so that models of image and text can be trained and scored offline.

![proposals](figures/proposals.png)

*Proposals of the simulated survey: the caption, and the galaxies (g, r, z) that share it.*"""

MADE = """\
The rows are those of `{name}` {version} (data digest `{digest}`), every column of it unchanged; `caption`, `proposal_id`,
`object_class` and `science_case` are new. Proposals: {counts}.

* **Themes.** A galaxy has the first theme whose rule takes it. The rules go by what the simulation knows: the `*_true`
  columns, the drawn structure and the bulge share, never the noisy labels. `object_class` and `science_case` are the
  theme's; they are for zero-shot classification. The rules, the classes and a prompt for each are in
  `dataset_builders/mock_proposals/themes.py`.
* **Proposals.** Within each split, the galaxies of a theme are halved at the median of the property they differ most in
  (redshift, r magnitude, size, axis ratio, mass, colour), until a part has at most the number of galaxies drawn for it, 1 to 8.
  A proposal lies within one split, so the split by sky is also one by proposal.
* **Captions.** One for each proposal, from the medians of its galaxies: class, redshift, brightness, size, shape,
  colour, bulge, star formation, mass and science case, in sentences whose words and order are drawn by a hash of the
  identifier. No caption has more than 77 tokens of CLIP."""

LIMITS = """\
* The captions say what the labels say: predicting redshift or mass **from text** is reading, not inference.
* They are far more regular than abstracts, which seldom describe how a target looks; a score here says that a model can
  learn to retrieve, not how well it would on real proposals.
* Galaxies of one proposal share a caption but not a place on the sky; intervals resample pixels of the sky.
* The classes are cuts in continuous properties, so galaxies near a cut look like those beyond it."""


def sections(source: MockProposals) -> Mapping[str, str]:
    """Return the sections, heading to Markdown."""
    record = source.build_record()
    counts = ", ".join(f"{number:,} {split}" for split, number in record["proposals"].items())
    return {
        "A simulation": SIMULATION,
        "How it is made": MADE.format(**record["survey"], counts=counts),
        "Examples": _examples(source.proposals["test"].values() or source.proposals["train"].values()),
        "Classes": _classes(),
        "Limits": LIMITS,
    }


def _examples(proposals: Collection[Proposal]) -> str:
    """Return the first caption of each class, as a list."""
    first: dict[str, Proposal] = {}
    for proposal in proposals:
        first.setdefault(proposal.object_class, proposal)
    return "\n".join(f"* *{name}*: {first[name].caption}" for name in OBJECT_CLASSES if name in first)


def _classes() -> str:
    lines = ["| column | class | prompt |", "|---|---|---|"]
    lines += [f"| `object_class` | {name} | {prompt} |" for name, prompt in OBJECT_CLASSES.items()]
    lines += [f"| `science_case` | {name} | {prompt} |" for name, prompt in SCIENCE_CASES.items()]
    return "\n".join(lines)
