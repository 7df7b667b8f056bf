"""The board as files: README.md, a Parquet of all rows, and a static site without any outside request."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclip_bench.errors import MissingExtraError
from astroclip_bench.files import atomic_folder, atomic_path
from leaderboard.board import Line, Table
from leaderboard.columns import COLUMNS, GROUPED, OVERALL, PROTOCOLS, RANKED, track_of
from leaderboard.rows import Number, Row, key_of

if TYPE_CHECKING:
    import jinja2

COLUMN = {column.key: column for column in COLUMNS}
DIGITS = 3
"""Decimals of a skill."""
DRAWN_FROM, DRAWN_TO = 5.0, 235.0
"""Ends of a drawn interval, in units of its picture."""
README, DATA = "README.md", "data.js"
PARQUET_COLUMNS = {
    "dataset_name": str,
    "dataset_version": str,
    "dataset_digest": str,
    "dataset_simulated": bool,
    "track": str,
    "protocol": str,
    "submission": str,
    "model": str,
    "rank": int,
    "skill": float,
    "column": str,
    "value": float,
    "low": float,
    "high": float,
    "chance": float,
    "n": int,
    "worst": float,
    "worst_group": str,
    "dimension": int,
    "parameters": int,
    "flags": list,
}
"""Of the Parquet of all rows: one line a number."""


@cache
def _environment() -> jinja2.Environment:
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("jinja2", "leaderboard") from error
    loader = jinja2.FunctionLoader(_resource)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)


def _resource(name: str) -> str:
    return (resources.files("leaderboard.templates") / name).read_text(encoding="utf-8")


def write_site(
    rows: Sequence[Row],
    tables: Sequence[Table],
    folder: Path,
    published: Mapping[str, Any],
    markdown: str,
    version: str,
) -> None:
    """Write the site: index.html with its data, and a page for each submission.

    Parameters
    ----------
    folder
        Holds the site and nothing else: an earlier site there is replaced, anything else is left and refused.
    published
        ``caption``, ``headings`` and ``rows`` of the figures of others.
    markdown
        The board as Markdown: the text of the Space's card.
    """
    environment = _environment()
    common = {"built": datetime.now(UTC).strftime("%Y-%m-%d"), "version": version}
    index = environment.get_template("index.html.j2").render(
        root="",
        published=published,
        refused=refusals(rows),
        required=", ".join(column.title for column in RANKED),
        **common,
    )
    page = environment.get_template("model.html.j2")
    places = _places(tables)
    with atomic_folder(folder) as temporary:
        (temporary / "models").mkdir()
        for name in ("style.css", "board.js", "look.js"):
            (temporary / name).write_text(_resource(name), encoding="utf-8")
        (temporary / "index.html").write_text(index, encoding="utf-8")
        (temporary / DATA).write_text(f"window.BOARD = {_script_json(board_data(rows, tables))};\n", encoding="utf-8")
        (temporary / README).write_text(space_card() + markdown, encoding="utf-8")
        for row in rows:
            if row.verdict["passed"]:
                text = page.render(root="../", **common, **_page(row, places.get(row.name, [])))
                (temporary / "models" / f"{row.name}.html").write_text(text, encoding="utf-8")
        if (folder / DATA).exists():
            shutil.rmtree(folder)


def space_card() -> str:
    """Return the front matter that makes the folder a static Space on the Hub."""
    return "---\ntitle: astroclip-bench leaderboard\nsdk: static\napp_file: index.html\npinned: false\n---\n\n"


def _script_json(content: Any) -> str:
    """Return JSON that can stand in a script: no text of it can end the script."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def refusals(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Return the submissions that did not pass, with the first reason."""
    found = []
    for row in rows:
        failed = [check for check in row.verdict["checks"] if check["outcome"] == "failed"]
        if failed:
            found.append({"name": row.name, "reason": f"{failed[0]['name']}: {failed[0]['detail']}"})
    return found


def flags_of(row: Row) -> list[str]:
    """Return what stands beside a row's name."""
    found = [check["detail"] for check in row.verdict["checks"] if check["outcome"] == "flagged"]
    if row.card["labels"]["benchmark"]:
        found.append("trained on this data set's labels")
    if row.card["labels"]["external"]:
        found.append("trained on labels from elsewhere")
    if not row.embedder["dimension"]:
        found.append("self-reported predictions, no embeddings")
    return found


def board_data(rows: Sequence[Row], tables: Sequence[Table]) -> dict[str, Any]:
    """Return what the page draws from, as plain values."""
    passed = [row for row in rows if row.verdict["passed"]]
    place = {row.name: number for number, row in enumerate(passed)}
    return {
        "titles": {key: f"{key}: {text}" for key, text in PROTOCOLS.items()},
        "submissions": [
            {
                "name": row.name,
                "title": row.card["name"],
                "parameters": row.card["parameters"],
                "dimension": row.embedder["dimension"] or None,
                "flags": flags_of(row),
                "words": " ".join([row.name, row.card["name"], *row.card["authors"], row.card["licence"]]).lower(),
            }
            for row in passed
        ],
        "tables": [_table_data(table, place) for table in tables],
    }


def _table_data(table: Table, place: Mapping[str, int]) -> dict[str, Any]:
    digits = {key: COLUMN[key].digits if key in COLUMN else DIGITS for key in table.columns}
    better = {key: COLUMN[key].better if key in COLUMN else "higher" for key in table.columns}
    named = {key: key_of(table.track, table.protocol, key) for key in GROUPED}
    groups = dict.fromkeys(
        (key, name) for key in GROUPED for line in table.lines for name in sorted(line.row.groups.get(named[key], ()))
    )
    lines = [
        {
            "id": place[line.row.name],
            "rank": line.standing.rank if line.standing else None,
            "skill": _rounded(line.standing.skill, line.standing.low, line.standing.high) if line.standing else None,
            "cells": {key: _rounded(one.value, one.low, one.high) for key, one in line.cells.items()},
            "groups": _rounded(*(line.row.groups.get(named[key], {}).get(name) for key, name in groups)),
            "missing": _why_unranked(table, line),
        }
        for line in table.lines
    ]
    return {
        "data": data_title(table.dataset),
        "track": table.track,
        "protocol": table.protocol,
        "caption": f"{data_title(table.dataset)}, {table.dataset['test_rows']:,} test galaxies; {arrow(table.track)}; {PROTOCOLS[table.protocol]}.",
        "note": f"No ranks: {table.unranked_because}." if table.unranked_because else "",
        "columns": [
            {"key": key, "title": title, "digits": digits[key], "better": better[key]}
            for key, title in table.columns.items()
        ],
        "groups": [f"{COLUMN[key].title}, {name}" for key, name in groups],
        "lines": lines,
    }


def data_title(dataset: Mapping[str, Any]) -> str:
    """Return a data set's name as it stands beside every score."""
    return f"{dataset['name']} {dataset['version']}{' (SIMULATED)' if dataset['simulated'] else ''}"


def arrow(track: str) -> str:
    """Return a track as it is shown."""
    return track.replace("->", "→")


def _why_unranked(table: Table, line: Line) -> str:
    if line.standing or table.unranked_because:
        return table.unranked_because
    return f"lacks {', '.join(table.columns.get(key, key) for key in line.missing)}"


def _rounded(*values: float | None) -> list[float | None]:
    return [None if value is None else round(value, 4) for value in values]


def _places(tables: Sequence[Table]) -> dict[str, list[tuple[Table, Line]]]:
    found: dict[str, list[tuple[Table, Line]]] = {}
    for table in tables:
        for line in table.lines:
            found.setdefault(line.row.name, []).append((table, line))
    return found


def _page(row: Row, places: Sequence[tuple[Table, Line]]) -> dict[str, Any]:
    """Return what the page of a submission shows."""
    overlap = row.verdict["overlap"]
    shown = "not known" if overlap is None else f"{overlap['share']:.0%} of {overlap['of_objects']:,} test galaxies"
    return {
        "row": row,
        "flags": flags_of(row),
        "overlap": shown,
        "sections": [_section(table, line) for table, line in places],
        "groups": _groups(row),
    }


def _section(table: Table, line: Line) -> dict[str, Any]:
    what = "Skill, all pairs" if table.track == OVERALL else f"Asked from {arrow(table.track)}"
    why = _why_unranked(table, line)
    return {
        "title": f"{what}, by {table.protocol} ({PROTOCOLS[table.protocol]})",
        "standing": line.standing,
        "why": f": {why}" if why else "",
        "lines": [
            _line(table.columns[key], COLUMN[key].digits if key in COLUMN else DIGITS, one)
            for key, one in line.cells.items()
        ],
    }


def _line(title: str, digits: int, one: Number) -> dict[str, Any]:
    known = [value for value in (one.value, one.low, one.high, one.chance) if value is not None]
    low, high = min([*known, 0.0]), max([*known, 0.1 if max(known) < 0.1 else 1.0])

    def at(value: float | None) -> float | None:
        return None if value is None else round(DRAWN_FROM + (DRAWN_TO - DRAWN_FROM) * (value - low) / (high - low), 1)

    return {
        "title": title,
        "value": f"{one.value:.{digits}f}",
        "interval": "–" if one.low is None or one.high is None else f"[{one.low:.{digits}f}, {one.high:.{digits}f}]",
        "chance": "–" if one.chance is None else f"{one.chance:.{digits}f}",
        "worst": "–" if one.worst is None else f"{one.worst:.{digits}f} ({one.worst_group})",
        "at": {"value": at(one.value), "low": at(one.low), "high": at(one.high), "chance": at(one.chance)},
    }


def _groups(row: Row) -> list[dict[str, Any]]:
    """Return one table for each grouped column and protocol: groups down, tracks across."""
    kinds = dict.fromkeys((key.split("|")[1], key.split("|")[2]) for key in row.groups)
    tables = []
    for protocol, column in kinds:
        keys = [key for key in row.groups if key.endswith(f"|{protocol}|{column}")]
        names = dict.fromkeys(name for key in keys for name in row.groups[key])
        lines = [
            (name, [f"{row.groups[key][name]:.3f}" if name in row.groups[key] else "–" for key in keys])
            for name in names
        ]
        headings = [arrow(key.split("|")[0]) for key in keys]
        tables.append({"title": f"{COLUMN[column].title}, {protocol},", "headings": headings, "lines": lines})
    return tables


def published_table() -> dict[str, Any]:
    """Return the figures of others that the harness ships: ``caption``, ``headings``, ``rows``."""
    content = json.loads((resources.files("astroclip_bench.report") / "published.json").read_text(encoding="utf-8"))
    headings = ["model", "score", "galaxies asked from", "R²", "data and protocol", "where it stands"]
    rows = [
        [
            group["model"],
            task,
            track_of(reference, query),
            value,
            f"{group['data']}; {group['method']}",
            group["source"],
        ]
        for group in content["groups"]
        for task, reference, query, value in group["values"]
    ]
    return {"caption": content["about"], "headings": headings, "rows": rows}


def readme(rows: Sequence[Row], tables: Sequence[Table], published: Mapping[str, Any]) -> str:
    """Return the board as Markdown."""
    from tabulate import tabulate

    parts = [
        "# Leaderboard",
        "Every score was computed again from the submitted embeddings. Rows that share a rank are not told apart by the data: the "
        "95 % interval of their paired difference holds zero. Skill is 0 for the mean label and 1 for the supervised "
        "baseline of the same input. How to enter: [CONTRIBUTING.md](../CONTRIBUTING.md).",
    ]
    for table in tables:
        heading = f"## {data_title(table.dataset)}: {arrow(table.track)}, {table.protocol}"
        headers = ["rank", "model", "skill", *table.columns.values(), "flags"]
        lines = [_markdown_line(table, line) for line in table.lines]
        parts += [heading, tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True)]
        if table.unranked_because:
            parts.append(f"No ranks: {table.unranked_because}.")
    refused = refusals(rows)
    if refused:
        parts += ["## Refused", *(f"* {_cell(one['name'])}: {_cell(one['reason'])}" for one in refused)]
    parts += [
        "## Published figures",
        "Read from papers and repositories: not measured here, on other data or by other protocols; never ranked beside the "
        "rows above.",
        tabulate(
            [[_cell(str(value)) for value in row] for row in published["rows"]],
            headers=published["headings"],
            tablefmt="github",
            disable_numparse=True,
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown_line(table: Table, line: Line) -> list[str]:
    standing = line.standing
    skill = "–" if standing is None else _with_interval(standing.skill, standing.low, standing.high, DIGITS)
    cells = [
        "–"
        if (one := line.cells.get(key)) is None
        else _with_interval(one.value, one.low, one.high, COLUMN[key].digits if key in COLUMN else DIGITS)
        for key in table.columns
    ]
    rank = "–" if standing is None else str(standing.rank)
    return [rank, _cell(line.row.card["name"]), skill, *cells, _cell("; ".join(flags_of(line.row)))]


def _with_interval(value: float, low: float | None, high: float | None, digits: int) -> str:
    shown = f"{value:.{digits}f}"
    return shown if low is None or high is None else f"{shown} [{low:.{digits}f}, {high:.{digits}f}]"


def _cell(text: str) -> str:
    """Return text that is nothing but text in a Markdown table."""
    from html import escape

    plain = escape(" ".join(text.split()), quote=False)
    for sign in "\\|`*_[]":
        plain = plain.replace(sign, f"\\{sign}")
    return plain


def write_parquet(tables: Iterable[Table], path: Path) -> None:
    """Write every number of the board as one long table: `load_dataset` reads it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = [
        {
            **{f"dataset_{key}": table.dataset[key] for key in ("name", "version", "digest", "simulated")},
            "track": table.track,
            "protocol": table.protocol,
            "submission": line.row.name,
            "model": line.row.card["name"],
            "rank": line.standing.rank if line.standing else None,
            "skill": line.standing.skill if line.standing else None,
            "column": key,
            "value": one.value,
            "low": one.low,
            "high": one.high,
            "chance": one.chance,
            "n": one.n,
            "worst": one.worst,
            "worst_group": one.worst_group,
            "dimension": line.row.embedder["dimension"],
            "parameters": line.row.card["parameters"],
            "flags": flags_of(line.row),
        }
        for table in tables
        for line in table.lines
        for key, one in line.cells.items()
    ]
    kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string(), list: pa.list_(pa.string())}
    schema = pa.schema([(name, kinds[kind]) for name, kind in PARQUET_COLUMNS.items()])
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(content, schema=schema), temporary, compression="zstd")
