"""The final table: every baseline beside the others, with intervals, and mean and spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroclip_bench.results.record import ALL

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset
    from astroclip_bench.results.record import Result
    from baselines.suite.run import Outcome

SHOWN_PROTOCOLS = ("direct", "knn16")
COLUMNS = (
    ("redshift", "r2", "redshift R2"),
    ("redshift", "sigma_nmad", "sigma_NMAD"),
    ("stellar-mass", "r2", "log M* R2"),
    ("age", "r2", "age R2"),
    ("metallicity", "r2", "Z R2"),
    ("ssfr", "r2", "log sSFR R2"),
)
"""Task, metric and heading of the columns of figures; the first one shows its interval."""


@dataclass(frozen=True)
class Figure:
    """A score of a baseline over its seeds: mean of the values and of the ends of their 95 % intervals.

    `spread` is the standard deviation over seeds (n - 1 in the denominator); None of one seed.
    """

    baseline: str
    protocol: str
    reference: str
    query: str
    task: str
    metric: str
    value: float
    low: float | None
    high: float | None
    spread: float | None
    seeds: int
    n: int


def figures(outcome: Outcome) -> list[Figure]:
    """Return the scores of a baseline on all test galaxies, by the protocols of the table."""
    first = outcome.results[0].scores if outcome.results else []
    found = []
    for score in first:
        if score.protocol not in SHOWN_PROTOCOLS or score.group != ALL or score.value is None:
            continue
        same = [_same(result, score.cell, score.metric) for result in outcome.results]
        values = [one.value for one in same]
        found.append(
            Figure(
                outcome.baseline.name,
                score.protocol,
                score.reference,
                score.query,
                score.task,
                score.metric,
                float(np.mean(values)),
                _mean([one.low for one in same]),
                _mean([one.high for one in same]),
                float(np.std(values, ddof=1)) if len(values) > 1 else None,
                len(values),
                score.n,
            )
        )
    return found


def summary(outcomes: Sequence[Outcome], dataset: BenchDataset) -> dict[str, Any]:
    """Return the figures of all baselines and the reasons of those left out, as plain values."""
    return {
        "dataset": {"name": dataset.info.name, "digest": dataset.digest, "simulated": dataset.info.simulated},
        "figures": [asdict(figure) for outcome in outcomes for figure in figures(outcome)],
        "left_out": {outcome.baseline.name: outcome.reason for outcome in outcomes if outcome.reason},
    }


def render(outcomes: Sequence[Outcome], dataset: BenchDataset, tablefmt: str = "simple") -> str:
    """Return the table as text, one line a baseline, protocol and modality, headed by the data set's name."""
    from tabulate import tabulate

    found = [figures(outcome) for outcome in outcomes]
    shown = {(one.task, one.metric) for each in found for one in each}
    columns = [column for column in COLUMNS if column[:2] in shown]
    headers = ["baseline", "from", "by", "seeds", *(heading for *_, heading in columns)]
    rows = [row for each in found for row in _rows(each, columns)]
    kind = "SIMULATED data" if dataset.info.simulated else "real data"
    lines = [
        f"Baselines on {dataset.info.name} {dataset.info.version} ({kind}), {dataset.splits['test'].rows:,} test galaxies"
    ]
    lines += ["", tabulate(rows, headers=headers, tablefmt=tablefmt, disable_numparse=True), ""]
    lines.append(
        "Mean over seeds +- standard deviation over seeds; in brackets the 95 % interval of one model (bootstrap over "
        "HEALPix pixels). direct: the model's own predictions; knn16: votes of 16 neighbours in its embedding."
    )
    lines += [f"Left out: {outcome.baseline.name} ({outcome.reason})." for outcome in outcomes if outcome.reason]
    return "\n".join(lines)


def _rows(found: Sequence[Figure], columns: Sequence[tuple[str, str, str]]) -> list[list[str]]:
    """Return the lines of one baseline: in-modal ones, by each protocol that was used."""
    kinds = dict.fromkeys(
        (one.protocol, one.query) for one in found if one.reference == one.query and one.task != "retrieval"
    )
    rows = []
    for protocol, modality in sorted(kinds, key=lambda kind: SHOWN_PROTOCOLS.index(kind[0])):
        line = {
            (one.task, one.metric): one
            for one in found
            if (one.protocol, one.reference, one.query) == (protocol, modality, modality)
        }
        seeds = str(next(iter(line.values())).seeds)
        cells = [
            _cell(line.get((task, metric)), interval=not number) for number, (task, metric, _) in enumerate(columns)
        ]
        rows.append([found[0].baseline, modality, protocol, seeds, *cells])
    return rows


def _cell(figure: Figure | None, *, interval: bool) -> str:
    if figure is None:
        return "-"
    digits = 4 if abs(figure.value) < 0.1 else 3
    text = f"{figure.value:.{digits}f}"
    if figure.spread is not None:
        text += f" +- {figure.spread:.{digits}f}"
    if interval and figure.low is not None and figure.high is not None:
        text += f" [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
    return text


def _same(result: Result, cell: tuple[Any, ...], metric: str) -> Any:
    (score,) = [one for one in result.scores if one.cell == cell and one.metric == metric and one.group == ALL]
    return score


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
