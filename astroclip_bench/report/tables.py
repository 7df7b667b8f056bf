"""The tables of a report, as headers and rows of text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from astroclip_bench.files import sha256_file
from astroclip_bench.report.material import Material, published
from astroclip_bench.report.parts import number, pair_name, primary_scores, task_title, with_interval
from astroclip_bench.results.record import LABELS, Result, Score
from astroclip_bench.results.table import HEADLINE, headline_scores, score_table
from astroclip_bench.tasks.protocols import PROTOCOLS

COMPARED = (("redshift", "r2"), ("stellar-mass", "r2"), ("retrieval", "recall@10"))
"""Tasks and metrics of the table of several models."""
BASELINE_COLUMNS = (
    ("redshift", "r2", "redshift R²"),
    ("redshift", "sigma_nmad", "redshift σ_NMAD"),
    ("stellar-mass", "r2", "stellar mass R²"),
    ("age", "r2", "age R²"),
    ("metallicity", "r2", "metallicity R²"),
    ("ssfr", "r2", "sSFR R²"),
)


@dataclass(frozen=True)
class Table:
    """A table: what it shows, its headers and rows, and whether it is closed until asked for."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    closed: bool = False
    left: int = field(default=1)
    """Columns of words, from the first; those that follow hold numbers."""


def headline_tables(result: Result) -> list[Table]:
    """Return the scores of the core tasks without trained probes, and those of the rest, beside the floors."""
    core = {task for task, _, _ in HEADLINE}
    scores = headline_scores(result)
    first = [score for score in scores if score.task in core and not _is_trained(score)]
    rest = [score for score in scores if score not in first]
    tables = []
    for caption, chosen, closed in (
        ("Zero-shot scores, with 95 % intervals", first, False),
        ("Scores of trained probes, and of further tasks", rest, True),
    ):
        if chosen:
            headers, rows = score_table(result, chosen)
            tables.append(Table(caption, _arrows(headers), [_arrows(row) for row in rows], closed, left=3))
    return tables


def _is_trained(score: Score) -> bool:
    return score.protocol in PROTOCOLS and PROTOCOLS[score.protocol].fits is not None


def _arrows(cells: Sequence[str]) -> list[str]:
    return [cell.replace("->", "→").replace("<=", "≤") for cell in cells]


def models_table(material: Material) -> Table | None:
    """Return the main scores of all results side by side; None of one result."""
    if len(material.results) == 1:
        return None
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for place, result in enumerate(material.results):
        for task, metric in COMPARED:
            for score in primary_scores(result.scores, task, metric):
                key = (
                    f"{task_title(task)}, {metric}",
                    f"{pair_name((score.reference, score.query))}, {score.protocol}",
                )
                rows.setdefault(key, {})[place] = with_interval(score)
    cells = [
        [*key, *(values.get(place, "–") for place in range(len(material.results)))] for key, values in rows.items()
    ]
    headers = ["score", "reference → query", *material.names]
    return Table("Models on the same data, with 95 % intervals", headers, cells, left=2)


def baselines_table(material: Material) -> Table | None:
    """Return the committed scores of the baselines on the same data, within each modality; None if there are none."""
    lines: dict[tuple[str, str, str, str], dict[tuple[str, str], str]] = {}
    for row in material.baselines:
        if row["reference"] == row["query"]:
            key = (row["baseline"], row["query"], row["protocol"], str(row["seeds"]))
            lines.setdefault(key, {})[row["task"], row["metric"]] = _with_spread(row)
    columns = [column for column in BASELINE_COLUMNS if any(column[:2] in line for line in lines.values())]
    if not columns:
        return None
    rows = [[*key, *(line.get(column[:2], "–") for column in columns)] for key, line in lines.items()]
    headers = ["baseline", "from", "by", "seeds", *(heading for *_, heading in columns)]
    return Table("Baselines on the same data: mean over seeds ± standard deviation over seeds", headers, rows, True, 3)


def _with_spread(row: Mapping[str, Any]) -> str:
    return number(row["value"]) + ("" if row["spread"] is None else f" ± {number(row['spread'])}")


def published_table() -> Table:
    """Return the published figures, each with where it stands."""
    rows = []
    for group in published()["groups"]:
        values: dict[str, list[str]] = {}
        for task, reference, query, value in group["values"]:
            values.setdefault(task, []).append(f"{pair_name((reference, query))} {number(value)}")
        told = "; ".join(f"{task_title(task)}: {', '.join(items)}" for task, items in values.items())
        rows.append([f"{group['model']}, {group['method']}", told, group["data"], group["source"]])
    headers = ["model", "R², reference → query", "data", "source"]
    return Table("Published figures, of OTHER data and protocols: for orientation only", headers, rows, True, 4)


def provenance_tables(material: Material) -> list[Table]:
    """Return what each number came from: data, model, run, environment, files and commands."""
    result = material.result
    data, model, environment = result.dataset, result.embedder, result.environment
    splits = [
        [f"{name} split", f"{split['rows']:,} objects, digest of ids {split['ids_digest']}"]
        for name, split in data["splits"].items()
    ]
    packages = dict(environment.get("packages", {}))
    checks = [f"{check['name']}: {'passed' if check['passed'] else 'FAILED'}" for check in result.checks]
    kind = "SIMULATED data" if data["simulated"] else "real data"
    return [
        _pairs(
            "Data", [("data set", f"{data['name']} {data['version']} ({kind})"), ("digest", data["digest"]), *splits]
        ),
        _pairs("Model", [(key, _text(value)) for key, value in model.items() if value not in (None, {})]),
        _pairs(
            "Run",
            [
                ("scored", result.created),
                ("complete", "yes" if result.complete else "NO: " + "; ".join(result.incomplete_because)),
                ("checks", ", ".join(checks) or "–"),
                *((key, _text(value)) for key, value in result.options.items()),
            ],
        ),
        _pairs(
            "Environment",
            [
                *((key, _text(value)) for key, value in environment.items() if key != "packages"),
                ("packages", ", ".join(f"{name} {version}" for name, version in packages.items())),
            ],
        ),
        Table(
            "Time taken",
            ["step", "seconds"],
            [[step, f"{seconds:,.1f}"] for step, seconds in result.timings_seconds.items()],
            closed=True,
        ),
        _pairs("Files", _files(material)),
        _pairs("Commands", commands(material)),
    ]


def _pairs(caption: str, rows: Sequence[Sequence[str]]) -> Table:
    return Table(caption, ["what", "value"], rows, closed=True, left=2)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _files(material: Material) -> list[tuple[str, str]]:
    """Return each file that the report was made from, with its digest."""
    paths = list(material.paths)
    paths += [] if material.outcomes.reason else [material.outcomes.path]
    paths += [material.analysis.path / "analysis.json"] if material.analysis.content else []
    paths += [material.robustness.path] if material.robustness.content else []
    return [(path.name, f"sha256 {sha256_file(path)}") for path in paths]


def commands(material: Material) -> list[tuple[str, str]]:
    """Return the commands that make what the report shows; MODEL stands for the model's file or name."""
    result = material.result
    has_probes = any(_is_trained(score) or score.part.startswith(LABELS) for score in result.scores)
    suite = " --suite full" if has_probes else ""
    limit = f" --limit {result.options['limit']}" if result.options.get("limit") else ""
    data = shlex.quote(result.dataset["name"])
    path = shlex.quote(str(material.paths[0]))
    return [
        ("scores and outcomes", f"astroclip-bench evaluate MODEL --data {data}{suite}{limit} --out {path}"),
        (
            "embedding space",
            f"astroclip-bench analyse MODEL --data {data} --out {shlex.quote(str(material.analysis.path))}",
        ),
        (
            "robustness",
            f"astroclip-bench robustness MODEL --data {data} --out {shlex.quote(str(material.robustness.path))}",
        ),
        ("this report", f"astroclip-bench report {' '.join(shlex.quote(str(path)) for path in material.paths)}"),
    ]
