"""What the board shows and ranks by: one entry a column, one a track.

A track is a pair of modalities: galaxies of known labels in one, asked about in the other. A model of images and spectra has a
row on four tracks, and is held against models of images alone where images are all that is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PROTOCOLS = {
    "knn16": "zero-shot, 16 neighbours",
    "linear": "ridge regression on the embedding",
    "mlp": "small network on the embedding",
    "direct": "the model's own predictions",
}
"""Protocols that a table stands for, the primary one first; retrieval stands beside each."""

SUPERVISED = {"photometry": "photometry-mlp", "image": "resnet18", "spectrum": "conv-att"}
"""Query modality -> baseline whose own predictions have skill 1; its submission is ``NAME--DATA``."""


@dataclass(frozen=True)
class Column:
    """One column of scores.

    Parameters
    ----------
    task, metric
        As in the result record.
    title
        Heading.
    better
        Which direction is.
    digits
        Decimals shown.
    is_ranked
        Whether it is one of the required tasks that the skill is the mean of.
    protocol
        Protocol that it is always of; None: that of the table.
    """

    task: str
    metric: str
    title: str
    better: Literal["higher", "lower"] = "higher"
    digits: int = 3
    is_ranked: bool = False
    protocol: str | None = None

    @property
    def key(self) -> str:
        """What names it in files and addresses."""
        return f"{self.task}.{self.metric}"


COLUMNS = (
    Column("redshift", "r2", "Redshift R²", is_ranked=True),
    Column("redshift", "sigma_nmad", "Redshift σ_NMAD", better="lower", digits=4),
    Column("stellar-mass", "r2", "Stellar mass R²", is_ranked=True),
    Column("age", "r2", "Age R²", is_ranked=True),
    Column("metallicity", "r2", "Metallicity R²", is_ranked=True),
    Column("ssfr", "r2", "sSFR R²", is_ranked=True),
    Column("retrieval", "recall@1", "Recall@1", protocol="cosine"),
    Column("retrieval", "recall@10", "Recall@10", protocol="cosine"),
)
RANKED = tuple(column for column in COLUMNS if column.is_ranked)
GROUPED = ("redshift.r2", "stellar-mass.r2")
"""Columns that the view by group shows."""


OVERALL = "overall"
OVERALL_TRACKS = ("image", "spectrum", "image -> spectrum", "spectrum -> image")
"""Tracks that a row of the overall table needs: the pairs of modalities that AstroCLIP is about."""


def track_of(reference: str, query: str) -> str:
    """Return the track of a pair of modalities."""
    return query if reference == query else f"{reference} -> {query}"


def query_of(track: str) -> str:
    """Return the modality that a track asks about."""
    return track.rpartition(" -> ")[2]
