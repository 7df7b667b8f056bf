"""Scores of the board on every resample of the sky, from the outcomes of single objects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leaderboard.columns import COLUMNS, PROTOCOLS, track_of
from leaderboard.rows import key_of

if TYPE_CHECKING:
    from astroclip_bench.results.record import Result


def replicates_of(result: Result, outcomes: Path) -> dict[str, NDArray[np.floating]]:
    """Return "track|protocol|column" -> the score on each resample, (r,), of every number that the board shows.

    Parameters
    ----------
    outcomes
        File of the outcomes that belong to the result.
    """
    from astroclip_bench.results.kept import read_cell
    from astroclip_bench.results.outcomes import CellKey
    from astroclip_bench.results.record import ALL
    from astroclip_bench.tasks.registry import all_tasks

    tasks = all_tasks()
    found: dict[str, NDArray[np.floating]] = {}
    cells = dict.fromkeys((one.task, one.protocol, one.reference, one.query) for one in result.scores)
    for task, protocol, reference, query in cells:
        columns = [
            one for one in COLUMNS if one.task == task and protocol in ([one.protocol] if one.protocol else PROTOCOLS)
        ]
        if not columns:
            continue
        cell = read_cell(outcomes, CellKey(task, protocol, reference, query))
        estimates = cell.estimates(tasks[task], [one.metric for one in columns], groups=False).get(ALL, {})
        for column in columns:
            drawn = estimates[column.metric].replicates if column.metric in estimates else None
            if drawn is not None and len(drawn):  # none without two pixels
                found[key_of(track_of(reference, query), protocol, column.key)] = drawn
    return found
