"""One check of a submission: what was looked at, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["passed", "flagged", "failed", "not made"]


@dataclass(frozen=True)
class Check:
    """What a check says.

    Parameters
    ----------
    outcome
        "failed": the submission is refused. "flagged": it stands, and the board says so beside it. "not made": nothing
        to look at, or something before it failed.
    """

    name: str
    outcome: Outcome
    detail: str = ""
