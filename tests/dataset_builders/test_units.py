"""Every unit of a column is one that astropy reads, and means what its column says."""

from __future__ import annotations

import pytest

from astroclip_bench.records import COLUMNS
from dataset_builders.pairs.columns import PAIR_PROPERTIES
from dataset_builders.upstream.galaxy_zoo import vote_columns
from dataset_builders.upstream.provabgs import provabgs_columns

units = pytest.importorskip("astropy.units")

ALL = [*COLUMNS.values(), *PAIR_PROPERTIES, *provabgs_columns(), *vote_columns()]


def test_units_are_readable():
    unreadable = {}
    for column in ALL:
        try:
            units.Unit(column.unit)
        except ValueError:
            unreadable[column.name] = column.unit
    assert not unreadable


def test_flux_times_root_of_ivar_has_no_unit():
    product = units.Unit(COLUMNS["flux"].unit) * units.Unit(COLUMNS["ivar"].unit) ** 0.5
    assert product.decompose().to(units.one) == pytest.approx(1.0)
