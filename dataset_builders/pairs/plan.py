"""Which spectrum goes with which image and which labels: a light table, and the counts of how it came about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from astroclip_bench.datasets.arrays import array_shape
from dataset_builders.matching import AMBIGUOUS, METHODS, OUTCOMES, Matches, Positions, match
from dataset_builders.pairs.index import FILE_COLUMN, IndexedFiles, add_counts
from dataset_builders.splits import healpix_pixel, split_of_pixel

CORE_COLUMN = "core"
"""Flag of the rows that belong to a partition of the sky; the others surround it, to decide about those."""
MATCHED = OUTCOMES[: len(METHODS)]
AB_ZERO_POINT_NMGY = 22.5
MASS = "log_stellar_mass"
MASS_TOLERANCE_DEX = 0.01
CONFLICT = "with another stellar mass"
POINTERS = ("spectrum_file", "spectrum_row", "image_file", "image_row")
NOT_LABELS = ("row", FILE_COLUMN, "target_id", "ra", "dec", "redshift", "mag_r")
"""Columns of a label catalogue that are not taken over: the spectrum and the image say the same at first hand."""


@dataclass(frozen=True)
class LabelTables:
    """The index of one label catalogue, joined by TARGETID."""

    name: str
    tables: tuple[Path, ...]

    @classmethod
    def of(cls, indexed: IndexedFiles) -> LabelTables:
        """Return the tables of an index."""
        return cls(indexed.reader.name, tuple(indexed.tables))


@dataclass(frozen=True)
class Planner:
    """Makes the plan of a piece of the sky, or of all of it.

    Parameters
    ----------
    columns
        Names of the columns to carry into the data set, as far as spectra, images and labels have them.
    labels
        Catalogues joined by TARGETID; where two have the same column, an earlier one's value comes first. A row whose
        stellar mass differs from an earlier catalogue's by more than `MASS_TOLERANCE_DEX` comes from another fit, and
        is left out, so that one galaxy's labels belong together.
    votes
        Catalogues joined by position, within `votes_radius_arcsec`, one to one.
    radius_arcsec
        Largest separation of a spectrum's target from its image where they are matched on the sky.
    """

    columns: tuple[str, ...]
    labels: tuple[LabelTables, ...] = ()
    votes: tuple[LabelTables, ...] = ()
    radius_arcsec: float = 1.0
    votes_radius_arcsec: float = 0.5

    def __call__(self, spectra: pa.Table, images: pa.Table) -> Plan:
        """Return the plan of the spectra given, of those flagged in `core` alone where there is such a column.

        Parameters
        ----------
        spectra, images
            Index tables (see `dataset_builders.upstream.reader.Index`); with what lies around the core, so that every
            match is decided as it would be on the whole sky.
        """
        spectra, repeated_spectra = _deduplicated(spectra, "deltachi2")
        images, repeated_images = _deduplicated(images, None)
        matches = match(_positions(spectra), _positions(images), self.radius_arcsec)
        pairs = _joined(spectra.take(matches.left), images.take(matches.right), matches)
        joined: dict[str, int] = {}
        core = _core(pairs)
        for catalogue in self.labels:
            pairs, found, conflict = _with_labels(pairs, catalogue)
            joined[catalogue.name] = int((found & core).sum())
            joined[f"{catalogue.name}, {CONFLICT}"] = int((conflict & core).sum())
        for catalogue in self.votes:
            pairs, found = _with_votes(pairs, catalogue, self.votes_radius_arcsec)
            joined[catalogue.name] = int((found & core).sum())
        steps = [
            {"step": "one spectrum a target", **repeated_spectra},
            {"step": "one image an object", **repeated_images},
            _match_step(spectra, matches),
        ]
        finished = _finished(pairs.filter(pa.array(core)), self.columns)
        return Plan(finished, steps, _match_counts(core, matches), joined)


@dataclass(frozen=True)
class Plan:
    """The pairs of a piece of the sky in their final order, and the counts of how they came about.

    Parameters
    ----------
    table
        One row a pair: object_id, ra, dec, healpix, split, the pointers to spectrum and image, and scalar columns.
    steps
        For each step the rows read, kept, and dropped by reason.
    matched
        Number of pairs by how they were matched.
    joined
        Number of pairs found in each label catalogue.
    """

    table: pa.Table
    steps: list[dict[str, Any]]
    matched: dict[str, int] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the counts, for the manifest."""
        return {"steps": self.steps, "matched": self.matched, "joined": self.joined}


def merge_plans(tables: Iterable[pa.Table], records: Sequence[dict[str, Any]]) -> Plan:
    """Return the plan of the whole sky from those of its pieces: tables, and what `Plan.record` gave for each."""
    table = _sorted(pa.concat_tables(tables, promote_options="default"))
    steps = []
    for pieces in zip(*(record["steps"] for record in records), strict=True):
        counts = {key: sum(piece[key] for piece in pieces) for key in ("read", "kept")}
        dropped = add_counts(piece["dropped"] for piece in pieces)
        steps.append({"step": pieces[0]["step"], **counts, "dropped": dropped})
    matched, joined = (add_counts(record[key] for record in records) for key in ("matched", "joined"))
    return Plan(table, steps, matched, joined)


def _numpy(table: pa.Table, name: str) -> npt.NDArray[Any]:
    return np.asarray(table[name].to_numpy())


def _core(table: pa.Table) -> npt.NDArray[np.bool_]:
    if CORE_COLUMN not in table.schema.names:
        return np.ones(table.num_rows, bool)
    return np.asarray(table[CORE_COLUMN].to_numpy(), bool)


def _positions(table: pa.Table) -> Positions:
    return Positions(_numpy(table, "ra"), _numpy(table, "dec"), _numpy(table, "target_id"))


def _deduplicated(table: pa.Table, best: str | None) -> tuple[pa.Table, dict[str, Any]]:
    """Keep one row of each TARGETID: the one with the highest `best`, or else the first file's first."""
    target_id = _numpy(table, "target_id")
    keys = [_numpy(table, "row"), _numpy(table, FILE_COLUMN)]
    if best is not None and best in table.schema.names:
        keys.append(-np.nan_to_num(_numpy(table, best).astype(np.float64), nan=-np.inf))
    order = np.lexsort([*keys, target_id])
    first = np.ones(len(order), bool)
    first[1:] = np.diff(target_id[order]) != 0
    keep = np.empty(len(order), bool)
    keep[order] = first | (target_id[order] < 0)
    core = _core(table)
    counts = {
        "read": int(core.sum()),
        "kept": int((core & keep).sum()),
        "dropped": {"duplicate TARGETID": int((core & ~keep).sum())},
    }
    return table.filter(pa.array(keep)), counts


def _joined(spectra: pa.Table, images: pa.Table, matches: Matches) -> pa.Table:
    """Put the columns of matched spectra and images side by side; the image's photometry comes first."""
    for name, side in (("row", "spectrum_row"), (FILE_COLUMN, "spectrum_file")):
        spectra = spectra.append_column(side, spectra[name])
    for name, side in (("row", "image_row"), (FILE_COLUMN, "image_file")):
        images = images.append_column(side, images[name])
    photometry = [name for name in images.schema.names if name.startswith("flux_")]
    pairs = _coalesced(images.select(photometry), spectra) if photometry else spectra
    others = [name for name in images.schema.names if name not in ("row", FILE_COLUMN, "target_id", CORE_COLUMN)]
    pairs = _coalesced(pairs, images.select(others))
    pairs = pairs.append_column("match_method", pa.array(matches.method.tolist(), pa.string()))
    pairs = pairs.append_column("match_ambiguous", pa.array(matches.ambiguous))
    return pairs.append_column("match_separation", pa.array(matches.separation_arcsec.astype(np.float32)))


def _with_labels(
    pairs: pa.Table, catalogue: LabelTables
) -> tuple[pa.Table, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Join a catalogue by TARGETID; tell which pairs got its labels, and which have others that contradict them."""
    target_id = _numpy(pairs, "target_id")
    wanted = pc.field("target_id").isin(pa.array(target_id))
    labels = _read(catalogue, wanted)
    place = _place_of(target_id, _numpy(labels, "target_id"))
    conflict = _mass_differs(pairs, labels, place)
    pairs, found = _looked_up(pairs, labels, np.where(conflict, -1, place))
    return pairs, found, conflict


def _mass_differs(pairs: pa.Table, labels: pa.Table, place: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    if MASS not in pairs.schema.names or MASS not in labels.schema.names or not labels.num_rows:
        return np.zeros(pairs.num_rows, bool)
    difference = np.abs(_floats(pairs, MASS) - _floats(labels, MASS)[place])
    return np.asarray((place >= 0) & (difference > MASS_TOLERANCE_DEX))


def _floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    return np.asarray(table[name].cast(pa.float64()).to_numpy())


def _with_votes(
    pairs: pa.Table, catalogue: LabelTables, radius_arcsec: float
) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """Join a catalogue by position, one to one, and tell which pairs it has."""
    votes = _read(catalogue, None)
    sides = [
        Positions(_numpy(side, "ra"), _numpy(side, "dec"), np.full(side.num_rows, -1, np.int64))
        for side in (pairs, votes)
    ]
    matches = match(sides[0], sides[1], radius_arcsec)
    place = np.full(pairs.num_rows, -1, np.int64)
    place[matches.left] = matches.right
    return _looked_up(pairs, votes, place)


def _read(catalogue: LabelTables, wanted: pc.Expression | None) -> pa.Table:
    parts = [pads.dataset(path).to_table(filter=wanted) for path in catalogue.tables]
    return pa.concat_tables(parts, promote_options="default")


def _place_of(wanted: npt.NDArray[np.int64], known: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return for each wanted number the place of its first occurrence in `known`, or -1."""
    if not len(known):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(known, kind="stable")
    place = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)]
    return np.where(known[place] == wanted, place, -1)


def _looked_up(
    pairs: pa.Table, labels: pa.Table, place: npt.NDArray[np.int64]
) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    found = place >= 0
    names = [name for name in labels.schema.names if name not in NOT_LABELS]
    rows = labels.select(names).take(pa.array(place, mask=~found))
    return _coalesced(pairs, rows), found


def _coalesced(first: pa.Table, second: pa.Table) -> pa.Table:
    """Return the columns of both; where both have one, the first's values, and the second's where they are missing."""
    result = first
    for name in second.schema.names:
        column = second[name]
        if name not in first.schema.names:
            result = result.append_column(name, column)
        elif not array_shape(column.type):
            values = pc.coalesce(_nan_as_null(first[name]), column.cast(first[name].type))
            result = result.set_column(result.schema.get_field_index(name), name, values)
    return result


def _nan_as_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def _match_step(spectra: pa.Table, matches: Matches) -> dict[str, Any]:
    core = _core(spectra)
    numbers = np.bincount(matches.outcome[core], minlength=len(OUTCOMES))
    counts = dict(zip(OUTCOMES, numbers.tolist(), strict=True))
    dropped = {outcome: count for outcome, count in counts.items() if outcome not in MATCHED}
    kept = int(core.sum()) - sum(dropped.values())
    return {"step": "match with images", "read": int(core.sum()), "kept": kept, "dropped": dropped}


def _match_counts(core: npt.NDArray[np.bool_], matches: Matches) -> dict[str, int]:
    counts = {
        name: int((core & (matches.method == method)).sum()) for name, method in zip(MATCHED, METHODS, strict=True)
    }
    return {**counts, AMBIGUOUS: int((core & matches.ambiguous).sum())}


def _finished(pairs: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Add what follows from position and fluxes, pick the columns of the data set, and sort."""
    healpix = healpix_pixel(_numpy(pairs, "ra"), _numpy(pairs, "dec"))
    added = {
        "object_id": pc.cast(pairs["target_id"], pa.string()),
        "healpix": pa.array(healpix),
        "split": pa.array(split_of_pixel(healpix).tolist(), pa.string()),
    }
    if "flux_r" in pairs.schema.names:
        flux = pairs["flux_r"].cast(pa.float64())
        positive = pc.if_else(pc.greater(flux, 0.0), flux, pa.scalar(None, pa.float64()))
        added["mag_r"] = pc.subtract(AB_ZERO_POINT_NMGY, pc.multiply(2.5, pc.log10(positive)))
    for name, column in added.items():
        pairs = pairs.append_column(name, column)
    wanted = ["target_id", *POINTERS, *columns]
    return _sorted(pairs.select([name for name in wanted if name in pairs.schema.names]))


def _sorted(pairs: pa.Table) -> pa.Table:
    order = np.lexsort([_numpy(pairs, "target_id"), _numpy(pairs, "healpix")])
    return pairs.take(pa.array(order)).combine_chunks()
