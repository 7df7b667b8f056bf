"""The error of this room: a submission is at fault."""

from __future__ import annotations

from astroclip_bench.errors import UserError


class SubmissionError(UserError):
    """A submission, its card or one of its files is missing, damaged, hostile or not of the schema."""
