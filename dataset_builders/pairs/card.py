"""What the card of a build says of its pairs: how they were matched, which labels they have, with which options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_builders.matching import AMBIGUOUS, OUTCOMES

HEADING = "How the pairs were found"
REASON_MARK = ", "
"""Between a catalogue and the reason why labels of it were not used, in the names of the counts."""


def pairing_text(record: Mapping[str, Any]) -> str:
    """Return the Markdown text of a build record: see `dataset_builders.pairs.source.PairSource`."""
    matched, options = record["matched"], dict(record["options"])
    by_target, on_sky = (matched[name] for name in OUTCOMES[:2])
    parts = [
        f"{by_target:,} pairs by TARGETID, {on_sky:,} on the sky within {options.pop('radius_arcsec'):g} arcsec; of "
        f"these, {matched[AMBIGUOUS]:,} had a second candidate (`match_ambiguous`)."
    ]
    if record["joined"]:
        parts.append(_joined_text(record["joined"]))
    lines = [f"* {reader}: {text}" for reader, values in options.items() if (text := _options_text(values))]
    parts.append("Options of the readers:\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n\nCounts are those before the pairs without a usable image or spectrum are left out."


def _joined_text(joined: Mapping[str, int]) -> str:
    lines = []
    for name, count in joined.items():
        catalogue, _, reason = name.partition(REASON_MARK)
        if not reason:
            lines.append(f"* {catalogue}: {count:,} pairs")
        elif count:
            lines[-1] += f"; {count:,} more {reason}, which were not used"
    return "Pairs with labels of each catalogue:\n\n" + "\n".join(lines)


def _options_text(values: Mapping[str, Any]) -> str:
    return "; ".join(f"`{name}` {value}" for name, value in values.items() if not isinstance(value, list))
