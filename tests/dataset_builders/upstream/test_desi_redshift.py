"""Redshifts from redrock files and from catalogues of a release."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from desi_files import redshift_table, write_table

from astroclip_bench.errors import DataError
from dataset_builders.upstream import desi_redshift
from dataset_builders.upstream.desi_redshift import Group, read_redrock, read_zcatalog, redshifts_of

pytest.importorskip("astropy.io.fits")


def catalogue(groups, **columns):
    """Return a catalogue with one row a group, targets 0, 1, ...; redshifts 0.100, 0.101, ..."""
    survey, program, healpix = zip(*groups, strict=True)
    fields = {"SURVEY": survey, "PROGRAM": program, "HEALPIX": np.array(healpix, np.int32)}
    return redshift_table(range(len(groups)), **fields, **columns)


def test_real_redrock(realdata):
    table = read_redrock(realdata / "desi/redrock-4-80613-thru20210324.fits")
    assert table["target_id"].tolist() == [39633345008634465]
    assert table["redshift"][0] == pytest.approx(0.368744, abs=1e-6)
    assert (table["zwarn"][0], table["spectype"][0]) == (0, "GALAXY")
    assert 0 < table["redshift_err"][0] < 1e-3
    assert table["deltachi2"][0] > 40


@pytest.mark.parametrize("column", ["TARGETID", "Z", "ZERR", "ZWARN", "DELTACHI2", "SPECTYPE"])
def test_missing_column_of_redrock(tmp_path, column):
    table = redshift_table([1, 2])
    table.remove_column(column)
    path = write_table(tmp_path / "redrock-x.fits", table, "REDSHIFTS")
    with pytest.raises(DataError, match=f"redrock-x.fits: column {column} is missing from HDU REDSHIFTS"):
        read_redrock(path)


def test_other_hdu(tmp_path):
    path = write_table(tmp_path / "redrock-x.fits", redshift_table([1]), "ZBEST")
    with pytest.raises(DataError, match="HDU REDSHIFTS is missing; expected it among PRIMARY, ZBEST"):
        read_redrock(path)


def test_targets_are_joined_by_number():
    table = {"target_id": np.array([30, 10, 20, 10]), "redshift": np.array([0.3, 0.1, 0.2, 0.9])}
    columns, found = redshifts_of(np.array([20, 5, 10, 40, 30]), table)
    assert found.tolist() == [True, False, True, False, True]
    assert {name: values.tolist() for name, values in columns.items()} == {"redshift": [0.2, 0.0, 0.1, 0.0, 0.3]}
    columns, found = redshifts_of(np.array([1, 2]), {name: values[:0] for name, values in table.items()})
    assert not found.any()


def test_catalogue_rows_of_a_group(tmp_path, monkeypatch):
    # A piece ends within a group, and groups come back later in the file.
    monkeypatch.setattr(desi_redshift, "CHUNK_ROWS", 3)
    one, two = ("sv3", "bright", 10016), ("sv3", "dark", 10016)
    three, four = ("sv1", "bright", 10016), ("sv3", "bright", 10017)
    path = write_table(
        tmp_path / "zall-pix-fuji.fits", catalogue([one, one, two, two, one, three, four, one]), "ZCATALOG"
    )
    assert read_zcatalog(path, Group(*one))["target_id"].tolist() == [0, 1, 4, 7]
    assert read_zcatalog(path, Group(*two))["target_id"].tolist() == [2, 3]
    assert read_zcatalog(path, Group(*three))["target_id"].tolist() == [5]
    rows = read_zcatalog(path, Group(*four))
    np.testing.assert_allclose(rows["redshift"], [0.106])
    assert rows["spectype"].tolist() == ["GALAXY"]
    assert rows["redshift"].dtype == np.dtype(float)
    assert len(read_zcatalog(path, Group("main", "bright", 10016))["target_id"]) == 0


def test_catalogue_is_read_anew_when_replaced(tmp_path):
    path = write_table(tmp_path / "zall-pix-iron.fits", catalogue([("sv3", "dark", 1)] * 2), "ZCATALOG")
    assert len(read_zcatalog(path, Group("sv3", "dark", 1))["target_id"]) == 2
    write_table(path, catalogue([("sv3", "dark", 1)] * 200), "ZCATALOG")
    assert len(read_zcatalog(path, Group("sv3", "dark", 1))["target_id"]) == 200


def test_catalogue_needs_its_columns(tmp_path):
    table = catalogue([("sv3", "dark", 1)])
    table.remove_columns(["HEALPIX", "ZERR"])
    path = write_table(tmp_path / "zall-pix-iron.fits", table, "ZCATALOG")
    with pytest.raises(DataError, match=r"zall-pix-iron.fits: HDU ZCATALOG has no column ZERR, HEALPIX"):
        read_zcatalog(path, Group("sv3", "dark", 1))


def test_memory_does_not_grow_with_the_catalogue(tmp_path, monkeypatch):
    monkeypatch.setattr(desi_redshift, "CHUNK_ROWS", 1000)
    rows = 20_000
    groups = [("main", "dark", number // 500) for number in range(rows)]
    table = catalogue(groups, COEFF=np.zeros((rows, 100)))
    path = write_table(tmp_path / "zall-pix-iron.fits", table, "ZCATALOG")
    read_zcatalog(path, Group("main", "dark", 0))
    desi_redshift._runs_by_group.cache_clear()
    tracemalloc.start()
    assert len(read_zcatalog(path, Group("main", "dark", 7))["target_id"]) == 500
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 16e6
    assert peak_bytes < 1e6
