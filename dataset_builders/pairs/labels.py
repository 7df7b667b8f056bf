"""Label catalogues joined to pairs: by TARGETID, or by position; their columns fill what the pairs lack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from astroclip_bench.datasets.arrays import array_shape
from dataset_builders.matching import Positions, match
from dataset_builders.pairs.index import FILE_COLUMN, IndexedFiles

OBSERVATION = ("target_id", "survey", "program")
"""What names a spectrum among those of a target; a fit to it carries the same names."""
NOT_LABELS = ("row", FILE_COLUMN, *OBSERVATION, "ra", "dec", "redshift", "mag_r")
"""Columns of a label catalogue that are not taken over: the spectrum and the image say the same at first hand."""

REDSHIFT, REDSHIFT_TOLERANCE = "redshift", 0.0033
"""Of (1 + z), 1,000 km/s: DESI counts a galaxy's redshift as wrong beyond it."""
MASS, MASS_TOLERANCE_DEX = "log_stellar_mass", 1e-4
"""Copies of one fit agree up to rounding; of two fits one galaxy in some thousand agrees as well by chance."""

Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelTables:
    """The index of one label catalogue."""

    name: str
    tables: tuple[Path, ...]

    @classmethod
    def of(cls, indexed: IndexedFiles) -> LabelTables:
        """Return the tables of an index."""
        return cls(indexed.reader.name, tuple(indexed.tables))


def with_labels(pairs: pa.Table, catalogue: LabelTables) -> tuple[pa.Table, Flags, Flags]:
    """Join a catalogue by TARGETID; tell which pairs got its labels, and which found labels that contradict them.

    Of several rows of a target, that of the pair's survey and programme is taken, or else the first. Labels contradict
    a pair if they are of a fit at another redshift (`REDSHIFT_TOLERANCE`), or if an earlier catalogue gave another
    stellar mass (`MASS_TOLERANCE_DEX`): one galaxy's labels come from one fit.
    """
    wanted = pc.field("target_id").isin(pa.array(_numpy(pairs, "target_id")))
    labels = _read(catalogue, wanted)
    place = _place_of(pairs, labels, OBSERVATION)
    place = np.where(place < 0, _place_of(pairs, labels, OBSERVATION[:1]), place)
    conflict = np.zeros(pairs.num_rows, bool)
    for name, tolerance, relative in ((REDSHIFT, REDSHIFT_TOLERANCE, True), (MASS, MASS_TOLERANCE_DEX, False)):
        if name in pairs.schema.names and name in labels.schema.names and labels.num_rows:
            own = _floats(pairs, name)
            allowed = tolerance * (1 + own) if relative else tolerance
            conflict |= (place >= 0) & (np.abs(own - _floats(labels, name)[place]) > allowed)
    joined, found = _looked_up(pairs, labels, np.where(conflict, -1, place))
    return joined, found, conflict


def with_votes(pairs: pa.Table, catalogue: LabelTables, radius_arcsec: float) -> tuple[pa.Table, Flags]:
    """Join a catalogue by the position of the pairs, one to one, and tell which pairs it has."""
    votes = _read(catalogue, None)
    sides = [
        Positions(_numpy(side, "ra"), _numpy(side, "dec"), np.full(side.num_rows, -1, np.int64))
        for side in (pairs, votes)
    ]
    matches = match(sides[0], sides[1], radius_arcsec)
    place = np.full(pairs.num_rows, -1, np.int64)
    place[matches.left] = matches.right
    return _looked_up(pairs, votes, place)


def coalesced(first: pa.Table, second: pa.Table) -> pa.Table:
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


def _read(catalogue: LabelTables, wanted: pc.Expression | None) -> pa.Table:
    parts = [pads.dataset(path).to_table(filter=wanted) for path in catalogue.tables]
    return pa.concat_tables(parts, promote_options="default")


def _place_of(pairs: pa.Table, labels: pa.Table, names: Sequence[str]) -> Places:
    """Return for each pair the first row of `labels` that agrees in these columns, or -1; -1 where one is missing."""
    if not {*names} <= {*pairs.schema.names} & {*labels.schema.names}:
        return np.full(pairs.num_rows, -1, np.int64)
    wanted, known = (
        pc.binary_join_element_wise(*(table[name].cast(pa.string()) for name in names), " ")
        for table in (pairs, labels)
    )
    place = pc.index_in(wanted, value_set=known, skip_nulls=True)
    return np.asarray(pc.fill_null(place, -1).to_numpy(), np.int64)


def _looked_up(pairs: pa.Table, labels: pa.Table, place: Places) -> tuple[pa.Table, Flags]:
    found = place >= 0
    names = [name for name in labels.schema.names if name not in NOT_LABELS]
    rows = labels.select(names).take(pa.array(place, mask=~found))
    return coalesced(pairs, rows), found


def _nan_as_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def _numpy(table: pa.Table, name: str) -> npt.NDArray[Any]:
    return np.asarray(table[name].to_numpy())


def _floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    return np.asarray(table[name].cast(pa.float64()).to_numpy())
