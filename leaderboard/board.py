"""The tables of the board: rows of one data set, on one track, by one protocol; never of two data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leaderboard.columns import (
    COLUMNS,
    OVERALL,
    OVERALL_TRACKS,
    PROTOCOLS,
    RANKED,
    SUPERVISED,
    query_of,
)
from leaderboard.ranking import INTERVAL_PERCENT, Contender, Standing, rank, skill_of
from leaderboard.rows import Number, Row, key_of

Ends = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A row in a table: its standing if it is ranked, and its cells by column."""

    row: Row
    standing: Standing | None
    cells: Mapping[str, Number]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table.

    Parameters
    ----------
    dataset
        name, version, digest, simulated, test_rows.
    track, protocol
        `OVERALL` holds skills by track instead of scores by column.
    columns
        Key -> heading.
    lines
        Ranked ones first, then the others by name.
    unranked_because
        Why there are no ranks at all; empty if there are.
    """

    dataset: Mapping[str, Any]
    track: str
    protocol: str
    columns: Mapping[str, str]
    lines: tuple[Line, ...]
    unranked_because: str = ""


def make_tables(rows: Sequence[Row]) -> list[Table]:
    """Return the tables of all rows that passed, data set by data set; of each the overall one first."""
    tables: list[Table] = []
    passed = [row for row in rows if row.verdict["passed"]]
    sets = {row.dataset["digest"]: row.dataset for row in sorted(passed, key=_dataset_order)}
    for digest, dataset in sets.items():
        of_set = [row for row in passed if row.dataset["digest"] == digest]
        tracks = _tracks(of_set)
        ends = {track: _ends(of_set, track) for track in tracks}
        for protocol in PROTOCOLS:
            tables += _overall(dataset, of_set, protocol, ends)
            tables += [
                table for track in tracks for table in _track_table(dataset, of_set, track, protocol, ends[track])
            ]
    return tables


def _dataset_order(row: Row) -> tuple[bool, str, str]:
    """Real data first."""
    return (bool(row.dataset["simulated"]), str(row.dataset["name"]), str(row.dataset["version"]))


def _tracks(rows: Sequence[Row]) -> list[str]:
    found = {key.split("|")[0] for row in rows for key in row.scores}
    known = [track for track in OVERALL_TRACKS if track in found]
    return known + sorted(found - set(known))


def _ends(rows: Sequence[Row], track: str) -> Ends:
    """Return the scores of skill 0 and 1 of the required columns: the mean label's, and the supervised baseline's."""
    found: Ends = {}
    for row in rows:
        if row.name != supervised_name(track, row.dataset):
            continue
        for column in RANKED:
            number = row.scores.get(key_of(query_of(track), "direct", column.key))
            if number is not None and number.chance is not None and number.value > number.chance:
                found[column.key] = (number.chance, number.value)
    return found


def supervised_name(track: str, dataset: Mapping[str, Any]) -> str:
    """Return the name of the submission whose own predictions have skill 1 on a track."""
    return f"{SUPERVISED.get(query_of(track), 'supervised')}--{dataset['name']}"


def _track_table(dataset: Mapping[str, Any], rows: Sequence[Row], track: str, protocol: str, ends: Ends) -> list[Table]:
    cells: dict[str, dict[str, Number]] = {}
    for row in rows:
        numbers = {
            column.key: row.scores.get(key_of(track, column.protocol or protocol, column.key)) for column in COLUMNS
        }
        if any(numbers[column.key] is not None for column in COLUMNS if column.protocol is None):
            cells[row.name] = {key: number for key, number in numbers.items() if number is not None}
    if not cells:
        return []
    by_name = {row.name: row for row in rows}
    missing = {
        name: tuple(key for key in ends if key_of(track, protocol, key) not in by_name[name].replicates)
        for name in cells
    }
    contenders = [
        Contender(
            name,
            {key: cells[name][key].value for key in ends},
            {key: by_name[name].replicates[key_of(track, protocol, key)] for key in ends},
        )
        for name in cells
        if ends and not missing[name]
    ]
    standings = rank(contenders, ends)
    shown = {column.key: column.title for column in COLUMNS if any(column.key in found for found in cells.values())}
    because = "" if ends else f"no verified row of {supervised_name(track, dataset)!r} to measure skill by"
    return [
        Table(
            dataset,
            track,
            protocol,
            shown,
            tuple(
                Line(by_name[name], standings.get(name), cells[name], missing[name])
                for name in _order(cells, standings)
            ),
            because,
        )
    ]


def _overall(dataset: Mapping[str, Any], rows: Sequence[Row], protocol: str, ends: Mapping[str, Ends]) -> list[Table]:
    """Return the table of skills by track; none, where no row has two tracks or a track has no ends."""
    tracks = [track for track in OVERALL_TRACKS if ends.get(track)]
    if len(tracks) < 2:
        return []
    all_ends = {key_of(track, protocol, key): value for track in tracks for key, value in ends[track].items()}
    cells: dict[str, dict[str, Number]] = {}
    contenders = []
    for row in rows:
        found = {track: _skill_number(row, track, protocol, ends[track]) for track in tracks}
        cells_found = {track: number for track, number in found.items() if number is not None}
        if not cells_found:
            continue
        cells[row.name] = cells_found
        if len(cells_found) == len(tracks):
            contenders.append(
                Contender(
                    row.name,
                    {key: row.scores[key].value for key in all_ends},
                    {key: row.replicates[key] for key in all_ends},
                )
            )
    if not contenders:
        return []
    standings = rank(contenders, all_ends)
    by_name = {row.name: row for row in rows}
    lines = tuple(
        Line(
            by_name[name],
            standings.get(name),
            cells[name],
            tuple(track for track in tracks if track not in cells[name]),
        )
        for name in _order(cells, standings)
    )
    return [Table(dataset, OVERALL, protocol, {track: f"Skill {track.replace('->', '→')}" for track in tracks}, lines)]


def _skill_number(row: Row, track: str, protocol: str, ends: Ends) -> Number | None:
    keys = {key: key_of(track, protocol, key) for key in ends}
    if any(key not in row.scores or key not in row.replicates for key in keys.values()):
        return None
    value = float(skill_of({key: row.scores[full].value for key, full in keys.items()}, ends))
    drawn = skill_of({key: row.replicates[full] for key, full in keys.items()}, ends)
    low, high = np.percentile(drawn, INTERVAL_PERCENT)
    return Number(value, float(low), float(high), 0.0, min(row.scores[full].n for full in keys.values()))


def _order(cells: Mapping[str, object], standings: Mapping[str, Standing]) -> list[str]:
    return [*standings, *sorted(name for name in cells if name not in standings)]
