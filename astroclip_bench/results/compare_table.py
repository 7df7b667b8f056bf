"""The tables that `compare` prints: all test objects by every protocol, and the groups by the first one."""

from __future__ import annotations

from collections.abc import Sequence

from astroclip_bench.results.compare import Comparison, Difference
from astroclip_bench.results.record import ALL

_BETTER = {"a": "A", "b": "B", "tie": "tie", None: "-"}


def render(comparison: Comparison, tablefmt: str = "simple") -> str:
    """Return the tables of a comparison as text, under a heading that names models and data."""
    from tabulate import tabulate

    headers = ["task", "protocol", "metric", "reference -> query", "A", "B", "B - A", "95 % interval", "better"]
    rows = [
        [
            row.task,
            row.protocol,
            row.metric,
            _pair(row),
            f"{row.value_a:.4f}",
            f"{row.value_b:.4f}",
            f"{row.difference:+.4f}",
            _interval(row),
            _BETTER[row.better],
        ]
        for row in comparison.find(group=ALL)
    ]
    table = tabulate(rows, headers=headers, tablefmt=tablefmt, disable_numparse=True)
    return "\n".join([heading(comparison), "", table, *_group_tables(comparison, tablefmt), "", *_notes(comparison)])


def heading(comparison: Comparison) -> str:
    """Return lines that say what is compared on what."""
    data = comparison.dataset
    kind = "SIMULATED data" if data["simulated"] else "real data"
    models = [
        f"{letter}: {model['name']} ({model['dimension']}-d, digest {model['digest'][:12]}), {model['path']}"
        for letter, model in (("A", comparison.a), ("B", comparison.b))
    ]
    return "\n".join([f"B - A on {data['name']} {data['version']} ({kind})", *models])


def _group_tables(comparison: Comparison, tablefmt: str) -> list[str]:
    """Return a table for each task and metric: groups down, pairs of modalities across."""
    from tabulate import tabulate

    lines: list[str] = []
    grouped = [row for row in comparison.rows if row.group != ALL]
    for task, metric in dict.fromkeys((row.task, row.metric) for row in grouped):
        same = [row for row in grouped if (row.task, row.metric) == (task, metric)]
        same = [row for row in same if row.protocol == same[0].protocol]
        cells = {(row.group, _pair(row)): row for row in same}
        pairs, groups = (
            list(dict.fromkeys(names)) for names in zip(*((pair, name) for name, pair in cells), strict=True)
        )
        rows = [[group, *(_cell(cells.get((group, pair))) for pair in pairs)] for group in groups]
        table = tabulate(rows, headers=["group", *pairs], tablefmt=tablefmt, disable_numparse=True)
        lines += ["", f"B - A in groups: {metric} of {task} by {same[0].protocol}", "", table]
    return lines


def _notes(comparison: Comparison) -> list[str]:
    notes = [
        "Intervals: paired, of 1,000 common bootstrap replicates over HEALPix pixels; a tie where zero is inside. "
        "Of biases, the distances from zero are compared.",
    ]
    reasons: dict[str, list[str]] = {}
    for cell in comparison.not_compared:
        name = f"{cell.task} {cell.protocol} {cell.reference} -> {cell.query}"
        reasons.setdefault(cell.reason, []).append(name)
    return [*notes, *(f"Not compared ({reason}): {_some(names)}." for reason, names in reasons.items())]


def _some(names: Sequence[str], most: int = 8) -> str:
    left = len(names) - most
    return ", ".join(names[:most]) + (f", and {left} more (--format json has all)" if left > 0 else "")


def _pair(row: Difference) -> str:
    return f"{row.reference} -> {row.query}"


def _interval(row: Difference) -> str:
    return "-" if row.low is None or row.high is None else f"[{row.low:+.4f}, {row.high:+.4f}]"


def _cell(row: Difference | None) -> str:
    return "-" if row is None else f"{row.difference:+.3f} {_interval(row)} {_BETTER[row.better]}"
