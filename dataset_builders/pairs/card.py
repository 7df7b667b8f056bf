"""What the card of a build says of its pairs: how they were matched, which labels they have, with which options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_builders.matching import AMBIGUOUS, OUTCOMES
from dataset_builders.pairs.plan import CONFLICT

HEADING = "How the pairs were found"


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
        if name.endswith(CONFLICT):
            continue
        conflicts = joined.get(f"{name}, {CONFLICT}", 0)
        contradicted = f"; {conflicts:,} contradict an earlier catalogue's stellar mass and were not used"
        lines.append(f"* {name}: {count:,} pairs" + (contradicted if conflicts else ""))
    return "Pairs found in each catalogue of labels:\n\n" + "\n".join(lines)


def _options_text(values: Mapping[str, Any]) -> str:
    return "; ".join(f"`{name}` {value}" for name, value in values.items() if not isinstance(value, list))
