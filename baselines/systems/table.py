"""The table of the systems that were run: command, time, scores with intervals, and what was published of them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.systems.catalogue import SYSTEMS
from baselines.systems.run import RECORD, Run, read_run

if TYPE_CHECKING:
    from astroclip_bench.results.record import Score

NOTE = (
    "SIMULATED marks scores on a mock survey. What stands under `published, OTHER data` was measured by others on real "
    "data, with other splits and numbers of neighbours: it shows what the system is known for, and ranks nothing."
)


@dataclass(frozen=True)
class Made(Run):
    """A run, and the folder that it lies in."""

    folder: Path = Path()


def read_runs(out: Path) -> list[Made]:
    """Return the runs in the folders of `out`, in the order of the catalogue."""
    folders = [out / name for name in SYSTEMS if (out / name / RECORD).exists()]
    return [Made(**{**vars(read_run(folder)), "folder": folder}) for folder in folders]


def render(runs: Sequence[Made], tablefmt: str = "simple") -> str:
    """Return the runs as one table, a row for each system: of several models the one that stands for it."""
    from tabulate import tabulate

    line, code = ("<br>", "`{}`") if tablefmt == "github" else ("\n", "{}")
    heads = ["system", "command", "time", "data set", "scores", "published, OTHER data", "what differs"]
    rows = []
    for run in runs:
        system = SYSTEMS[run.system]
        model = system.main if system.main in run.results else next(iter(run.results))
        scores, published = _scores(run, model), _published(system.published)
        theirs = [published.get((score.task, score.metric, score.reference, score.query), "") for score in scores]
        differs = system.differs if run.scale == "mini" else "the data set"
        cells = [
            f"{run.system}: {model}",
            code.format(run.command),
            f"{run.seconds / 60:.1f} min",
            _data(run),
            line.join(f"{_name(score)} {_pair(score)}: {_value(score)}" for score in scores),
            line.join(theirs).rstrip() if any(theirs) else "-",
            differs,
        ]
        rows.append(
            [line.join(textwrap.wrap(cell, 50)) if cell is differs and line == "\n" else cell for cell in cells]
        )
    return tabulate(rows, headers=heads, tablefmt=tablefmt, disable_numparse=True) + f"\n\n{NOTE}"


def render_all(runs: Sequence[Made]) -> str:
    """Return `render`'s table as Markdown, and below it the scores of every model of each system."""
    from tabulate import tabulate

    parts = [render(runs, "github")]
    for run in runs:
        rows: dict[tuple[str, str], dict[str, str]] = {}
        for model in run.results:
            for score in _scores(run, model):
                rows.setdefault((model, _name(score)), {})[_pair(score)] = _value(score)
        pairs = list(dict.fromkeys(pair for values in rows.values() for pair in values))
        cells = [[*row, *(values.get(pair, "-") for pair in pairs)] for row, values in rows.items()]
        table = tabulate(cells, headers=["model", "score", *pairs], tablefmt="github", disable_numparse=True)
        parts += [f"## {run.system}", f"{SYSTEMS[run.system].title}. {SYSTEMS[run.system].paper}. {_data(run)}.", table]
        if run.scores:
            further = [[name, f"{value:.4g}"] for name, value in run.scores.items()]
            parts.append(tabulate(further, headers=["further figure", "value"], tablefmt="github"))
    return re.sub(" {2,}", " ", re.sub("-{4,}", "---", "\n\n".join(parts)))  # padding that cells of many lines blow up


def _scores(run: Made, model: str) -> list[Score]:
    """Return the scores of a model that its system's table shows."""
    from astroclip_bench.results.record import ALL, read_result
    from astroclip_bench.tasks.registry import all_tasks

    result = read_result(run.folder / run.results[model])
    return [
        score
        for task, metric in SYSTEMS[run.system].shown
        for score in result.find(task=task, metric=metric, group=ALL, protocol=all_tasks()[task].protocols[0])
    ]


def _data(run: Run) -> str:
    return f"{run.data}{' (SIMULATED)' if run.simulated else ''}"


def _name(score: Score) -> str:
    return f"{score.task} {score.metric}"


def _pair(score: Score) -> str:
    return f"{score.reference} -> {score.query}"


def _published(models: Sequence[str]) -> dict[tuple[str, str, str, str], str]:
    """Return what was published of some models: (task, metric, reference, query) -> the figures in words."""
    from astroclip_bench.report.material import published

    found: dict[tuple[str, str, str, str], list[str]] = {}
    for group in published()["groups"]:
        if group["model"] in models:
            for task, reference, query, value in group["values"]:
                found.setdefault((task, "r2", reference, query), []).append(f"{value:g}")
    for line in published()["retrieval"]:
        if line["model"] in models:
            for percent, accuracy in zip(line["percent"], line["accuracy"], strict=True):
                for pair in (("image", "text"), ("text", "image")):
                    key = ("retrieval", f"accuracy@{percent}%", *pair)
                    found.setdefault(key, []).append(f"{accuracy:g}")
    return {key: "; ".join(values) for key, values in found.items()}


def _value(score: Score) -> str:
    interval = "" if score.low is None else f" [{score.low:.3f}, {score.high:.3f}]"
    chance = "" if score.chance is None else f"; chance {score.chance:.3f}"
    return f"{score.value:.3f}{interval}{chance}"
