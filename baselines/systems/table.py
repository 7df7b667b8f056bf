"""The table of the systems that were run: command, time, scores with intervals, and what was published of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """Return the runs as two tables: of the systems, and of their scores."""
    from tabulate import tabulate

    code = "`{}`".format if tablefmt == "github" else "{}".format
    systems = [
        [run.system, SYSTEMS[run.system].title, code(run.command), f"{run.seconds / 60:.1f} min", *_differs(run)]
        for run in runs
    ]
    heads = ["system", "what it is", "command", "time", "what differs from the paper"]
    scores = [row for run in runs for row in _score_rows(run)]
    score_heads = ["system", "model", "data set", "score", "reference -> query", "value", "published, OTHER data"]
    return "\n\n".join(
        [
            tabulate(systems, headers=heads, tablefmt=tablefmt),
            tabulate(scores, headers=score_heads, tablefmt=tablefmt, disable_numparse=True),
            NOTE,
        ]
    )


def _differs(run: Made) -> list[str]:
    return [SYSTEMS[run.system].differs if run.scale == "mini" else "nothing but the data set"]


def _score_rows(run: Made) -> Iterator[list[str]]:
    from astroclip_bench.results.record import ALL, read_result
    from astroclip_bench.tasks.registry import all_tasks

    system, data = SYSTEMS[run.system], f"{run.data}{' (SIMULATED)' if run.simulated else ''}"
    published = _published(system.published)
    for model, path in run.results.items():
        result = read_result(run.folder / path)
        for task, metric in system.shown:
            protocol = all_tasks()[task].protocols[0]
            for score in result.find(task=task, metric=metric, group=ALL, protocol=protocol):
                pair = f"{score.reference} -> {score.query}"
                theirs = published.get((task, metric, score.reference, score.query), "")
                yield [run.system, model, data, f"{task} {metric}", pair, _value(score), theirs]
    for name, value in run.scores.items():
        yield [run.system, "", data, name, "", f"{value:.4g}", ""]


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
                    found.setdefault(key, []).append(f"{accuracy:g} ({line['model']})")
    return {key: "; ".join(values) for key, values in found.items()}


def _value(score: Score) -> str:
    interval = "" if score.low is None else f" [{score.low:.3f}, {score.high:.3f}]"
    chance = "" if score.chance is None else f", chance {score.chance:.2g}"
    return f"{score.value:.3f}{interval}{chance}"
