"""PROVABGS and its Multimodal Universe variant, in miniature files of the upstream layouts."""

from __future__ import annotations

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from astroclip_bench.datasets.arrays import numpy_to_arrow
from astroclip_bench.errors import DataError, StorageError
from dataset_builders.upstream import provabgs
from dataset_builders.upstream.provabgs import Provabgs, provabgs_columns
from dataset_builders.upstream.provabgs_multimodal import (
    ProvabgsMultimodal,
    exact_integers,
)

pytestmark = pytest.mark.filterwarnings("ignore:table path was not set")

FIRST_TARGET = 39633390185481181
"""Odd and beyond 2**53: as a float64 it is another number."""


def catalogue(rows=6, **changes):
    """Return the columns of the original catalogue, in its types."""
    random = np.random.default_rng(3)
    mass = random.uniform(9, 11, rows)
    theta = random.uniform(0, 1, (rows, 13))
    theta[:, 0] = mass + 0.25
    columns = {
        "TARGETID": FIRST_TARGET + 2 * np.arange(rows),
        "RA": random.uniform(0, 360, rows),
        "DEC": random.uniform(-5, 67, rows),
        "Z_HP": random.uniform(0.01, 0.6, rows),
        "ZERR": np.full(rows, 1e-5),
        "TSNR2_BGS": np.full(rows, 1500, np.float32),
        **{f"MAG_{band}": random.uniform(16, 20, rows) for band in ("G", "R", "Z", "W1")},
        "FIBMAG_R": random.uniform(17, 21, rows),
        "SCHLEGEL_COLOR": random.uniform(-1, 1, rows),
        "HPIX_64": np.full(rows, 16040),
        "PROVABGS_MCMC": np.repeat(theta[:, None], 100, axis=1),
        "PROVABGS_THETA_BF": theta,
        "PROVABGS_LOGMSTAR_BF": mass,
        "PROVABGS_LOGMSTAR": mass[:, None] + random.normal(0, 0.1, (rows, 100)),
        "PROVABGS_Z_MAX": random.uniform(0.3, 0.6, rows),
        "PROVABGS_W_ZFAIL": np.ones(rows),
        "PROVABGS_W_FIBASSIGN": np.ones(rows),
        "IS_BGS_BRIGHT": np.arange(rows) % 2 == 0,
        "IS_BGS_FAINT": np.arange(rows) % 2 == 1,
    }
    columns |= changes
    return {name: values for name, values in columns.items() if values is not None}


def written(path, columns, key="__astropy_table__"):
    Table(columns).write(path, path=key, format="hdf5")
    return path


def variant(rows=6, **changes):
    """Return the columns of the Multimodal Universe's HDF5 partitions."""
    original = catalogue(rows)
    columns = {name: values for name, values in original.items() if name not in ("RA", "DEC")}
    columns |= {
        "object_id": original["TARGETID"],
        "ra": original["RA"],
        "dec": original["DEC"],
        "healpix": np.full(rows, 1002),
        "TAGE_MW": np.linspace(2, 11, rows)[:, None],
        "Z_MW": np.linspace(0.002, 0.03, rows)[:, None],
        "AVG_SFR": np.linspace(0.01, 30, rows)[:, None],
    }
    columns |= changes
    return {name: values for name, values in columns.items() if values is not None}


def as_hdf5(folder, columns, healpix=1002):
    path = folder / f"provabgs/healpix={healpix}/001-of-001.hdf5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file.create_dataset(name, data=values)
    return path


def as_parquet(path, columns, **changes):
    """Write the columns as the Parquet copies have them."""
    kept = ("Z_HP", "Z_MW", "TAGE_MW", "AVG_SFR", *(name for name in columns if name.startswith(("MAG_", "PROVABGS_"))))
    arrays = {name: pa.array(columns[name].reshape(-1), pa.float32()) for name in kept if columns[name].size == 6}
    arrays["LOG_MSTAR"] = arrays.pop("PROVABGS_LOGMSTAR_BF")
    arrays["object_id"] = pa.array([str(value) for value in columns["object_id"]])
    arrays |= {name: pa.array(columns[name].astype(np.float32).astype(np.float64)) for name in ("ra", "dec")}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays | changes), path)
    return path


def only(reader):
    (path,) = reader.files()
    return reader.index(path)


def test_labels_are_those_of_the_file(tmp_path):
    columns = catalogue()
    index = only(Provabgs(written(tmp_path / "a.provabgs.hdf5", columns)))
    assert len(index) == index.read == 6
    assert index.columns["target_id"].dtype == np.int64
    np.testing.assert_array_equal(index.columns["target_id"], columns["TARGETID"])
    np.testing.assert_array_equal(index.columns["ra"], columns["RA"])
    np.testing.assert_allclose(index.columns["redshift"], columns["Z_HP"], rtol=1e-6)
    np.testing.assert_allclose(index.columns["log_stellar_mass"], columns["PROVABGS_LOGMSTAR_BF"], rtol=1e-6)
    np.testing.assert_allclose(index.columns["log_stellar_mass_samples"], columns["PROVABGS_LOGMSTAR"], rtol=1e-6)
    np.testing.assert_allclose(
        index.columns["log_stellar_mass_std"], columns["PROVABGS_LOGMSTAR"].std(axis=1, ddof=1), rtol=1e-5
    )
    np.testing.assert_array_equal(index.columns["is_bgs_faint"], columns["IS_BGS_FAINT"])


def test_the_index_has_the_columns_declared_in_their_types(tmp_path):
    index = only(Provabgs(written(tmp_path / "a.provabgs.hdf5", catalogue())))
    declared = {column.name: column for column in provabgs_columns()}
    assert {*declared, "row", "target_id", "ra", "dec"} == set(index.columns)
    for name, column in declared.items():
        assert numpy_to_arrow(index.columns[name]).type == column.dtype
    assert "mag_r" not in index.columns, "its magnitudes are corrected for extinction, those of the record are not"


def test_the_mass_formed_is_never_read(tmp_path):
    known = catalogue()
    other = {"PROVABGS_THETA_BF": np.full((6, 13), 7.0), "PROVABGS_MCMC": np.full((6, 100, 13), 7.0)}
    readings = [
        only(Provabgs(written(tmp_path / f"{number}.provabgs.hdf5", {**known, **changes}))).columns
        for number, changes in enumerate(({}, other))
    ]
    for name, values in readings[0].items():
        np.testing.assert_array_equal(values, readings[1][name])
    without = written(tmp_path / "2.provabgs.hdf5", catalogue(PROVABGS_THETA_BF=None, PROVABGS_MCMC=None))
    np.testing.assert_array_equal(only(Provabgs(without)).columns["log_stellar_mass"], readings[0]["log_stellar_mass"])


def test_blocks_join_to_the_whole(tmp_path, monkeypatch):
    path = written(tmp_path / "a.provabgs.hdf5", catalogue())
    whole = only(Provabgs(path))
    monkeypatch.setattr(provabgs, "BLOCK_ROWS", 4)
    for name, values in only(Provabgs(path)).columns.items():
        np.testing.assert_array_equal(values, whole.columns[name])


def test_missing_values_become_nan(tmp_path):
    columns = catalogue()
    for name, row in (("Z_HP", 0), ("PROVABGS_LOGMSTAR_BF", 1), ("PROVABGS_Z_MAX", 2)):
        columns[name][row] = -999
    columns["PROVABGS_LOGMSTAR"][1] = -999
    columns["PROVABGS_LOGMSTAR"][3, 50] = -999
    index = only(Provabgs(written(tmp_path / "a.provabgs.hdf5", columns), cut="none"))
    assert len(index) == 6
    for name, row in (("redshift", 0), ("log_stellar_mass", 1), ("provabgs_z_max", 2)):
        assert np.flatnonzero(np.isnan(index.columns[name])).tolist() == [row]
    samples = index.columns["log_stellar_mass_samples"]
    assert np.isnan(samples[1]).all()
    assert np.isnan(samples).sum() == 101
    assert np.flatnonzero(np.isnan(index.columns["log_stellar_mass_std"])).tolist() == [1, 3]
    assert all(np.nanmin(values) > -99 for values in index.columns.values() if values.dtype.kind == "f")


def test_rows_are_dropped_with_a_counted_reason(tmp_path):
    columns = catalogue(9)
    columns["PROVABGS_LOGMSTAR_BF"][:3] = -999, 12.3, 12.1
    columns["MAG_R"][3] = -999
    columns["TARGETID"][4] = -1
    columns["RA"][5] = np.nan
    path = written(tmp_path / "a.provabgs.hdf5", columns)
    index = only(Provabgs(path))
    assert index.columns["row"].tolist() == [2, 6, 7, 8]
    assert {reason: count for reason, count in index.dropped.items() if count} == {
        "no target identifier": 1,
        "position not finite": 1,
        "log_stellar_mass not positive": 1,
        "mag_r_dereddened not positive": 1,
        "log_stellar_mass above 12.2": 1,
    }
    assert index.read - sum(index.dropped.values()) == len(index)
    assert only(Provabgs(path, max_log_stellar_mass=None)).columns["row"].tolist() == [1, 2, 6, 7, 8]
    assert only(Provabgs(path, cut="none", max_log_stellar_mass=None)).columns["row"].tolist() == [0, 1, 2, 3, 6, 7, 8]
    assert Provabgs(path).options() == {"cut": "astroclip", "max_log_stellar_mass": 12.2}


def test_of_a_repeated_target_the_first_row_with_a_mass_is_kept(tmp_path):
    columns = catalogue(7)
    columns["TARGETID"][[2, 5]] = columns["TARGETID"][0]
    columns["TARGETID"][6] = columns["TARGETID"][1]
    columns["PROVABGS_LOGMSTAR_BF"][0] = -999
    index = only(Provabgs(written(tmp_path / "a.provabgs.hdf5", columns), cut="none"))
    assert index.columns["row"].tolist() == [1, 2, 3, 4]
    assert index.dropped["target repeated"] == 3


def test_an_empty_table_has_no_rows(tmp_path):
    index = only(Provabgs(written(tmp_path / "a.provabgs.hdf5", catalogue(0))))
    assert (len(index), index.read) == (0, 0)
    assert index.columns["log_stellar_mass_samples"].shape == (0, 100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Z_HP": None}, "column Z_HP is missing from __astropy_table__"),
        ({"TARGETID": np.full(6, 39633390185481181.0)}, "TARGETID has type float64; expected integers"),
        ({"PROVABGS_LOGMSTAR": np.zeros((6, 13))}, r"PROVABGS_LOGMSTAR has type .* of shape \(100,\)"),
        ({"MAG_G": np.array(["17.5"] * 6)}, "MAG_G has type .*; expected floating-point numbers"),
    ],
)
def test_a_column_at_fault_is_named(tmp_path, changes, message):
    path = written(tmp_path / "bad.provabgs.hdf5", catalogue(**changes))
    with pytest.raises(DataError, match=message) as caught:
        only(Provabgs(path))
    assert "bad.provabgs.hdf5" in str(caught.value)


def test_a_file_at_fault_is_named(tmp_path):
    elsewhere = written(tmp_path / "elsewhere.hdf5", catalogue(), key="catalogue")
    with pytest.raises(DataError, match=r"elsewhere.hdf5: key '__astropy_table__' is missing; .* among catalogue"):
        only(Provabgs(elsewhere))
    whole = written(tmp_path / "whole.hdf5", catalogue()).read_bytes()
    for length in (40, len(whole) // 2, len(whole) - 3000):
        (tmp_path / "part.hdf5").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"part.hdf5: not a readable HDF5 file"):
            only(Provabgs(tmp_path / "part.hdf5"))
    with pytest.raises(StorageError):
        Provabgs(tmp_path).index(tmp_path / "none.hdf5")
    with pytest.raises(DataError, match="no PROVABGS cut 'bright'; expected one of astroclip, none"):
        Provabgs(elsewhere, cut="bright")
    written(tmp_path / "one.provabgs.hdf5", catalogue())
    assert [path.name for path in Provabgs(tmp_path).files()] == ["one.provabgs.hdf5"]
    written(tmp_path / "two.provabgs.hdf5", catalogue())
    with pytest.raises(DataError, match="2 PROVABGS files; expected one"):
        Provabgs(tmp_path).files()


def test_both_forms_of_the_variant_agree(tmp_path):
    columns = variant()
    one = only(ProvabgsMultimodal(as_hdf5(tmp_path, columns)))
    other = only(ProvabgsMultimodal(as_parquet(tmp_path / "train-00000-of-00001.parquet", columns)))
    assert one.columns.keys() == other.columns.keys()
    for name, values in one.columns.items():
        tolerance = 2e-5 if name in ("ra", "dec") else 0
        np.testing.assert_allclose(other.columns[name], values, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(other.columns["target_id"], columns["TARGETID"])
    np.testing.assert_allclose(one.columns["age"], columns["TAGE_MW"][:, 0], rtol=1e-6)
    np.testing.assert_allclose(one.columns["metallicity"], columns["Z_MW"][:, 0], rtol=1e-6)


def test_specific_rate_divides_by_the_stellar_mass_and_by_nothing_else(tmp_path):
    # A row of the published variant: SFR 0.426873 Msun/yr, mass 10^10.103481 Msun, Z_MW 0.001594.
    real = {"AVG_SFR": np.full(6, 0.426873), "PROVABGS_LOGMSTAR_BF": np.full(6, 10.103481)}
    index = only(ProvabgsMultimodal(as_hdf5(tmp_path, variant(**real))))
    np.testing.assert_allclose(index.columns["log_ssfr"], -10.473182, atol=1e-5)
    heavier = {**real, "PROVABGS_LOGMSTAR_BF": np.full(6, 11.103481)}
    index = only(ProvabgsMultimodal(as_hdf5(tmp_path, variant(**heavier))))
    np.testing.assert_allclose(index.columns["log_ssfr"], -11.473182, atol=1e-5)
    metal_rich = {**real, "Z_MW": np.full(6, 0.03)}
    index = only(ProvabgsMultimodal(as_hdf5(tmp_path, variant(**metal_rich))))
    np.testing.assert_allclose(index.columns["log_ssfr"], -10.473182, atol=1e-5)


def test_missing_values_of_the_variant_become_nan(tmp_path):
    columns = variant()
    columns["TAGE_MW"][0], columns["Z_MW"][1], columns["AVG_SFR"][2] = -999, -99, -99
    columns["AVG_SFR"][3] = 0
    columns["PROVABGS_LOGMSTAR_BF"][4] = -999
    index = only(ProvabgsMultimodal(as_hdf5(tmp_path, columns)))
    expected = {"age": [0], "metallicity": [1], "log_ssfr": [2, 3, 4], "log_stellar_mass": [4]}
    assert {name: np.flatnonzero(np.isnan(index.columns[name])).tolist() for name in expected} == expected


def test_a_logarithmic_rate_is_refused(tmp_path):
    path = as_hdf5(tmp_path, variant(AVG_SFR=np.linspace(-3, 1, 6)))
    with pytest.raises(DataError, match="AVG_SFR down to -3; expected a linear rate"):
        only(ProvabgsMultimodal(path))


@pytest.mark.parametrize(
    "identifiers",
    [
        FIRST_TARGET + 2 * np.arange(3),
        pa.array([str(FIRST_TARGET + 2 * number) for number in range(3)]),
        pa.chunked_array([[str(FIRST_TARGET)], [str(FIRST_TARGET + 2), str(FIRST_TARGET + 4)]], pa.large_string()),
    ],
)
def test_identifiers_keep_every_digit(identifiers):
    assert exact_integers(identifiers, "object_id").tolist() == [FIRST_TARGET, FIRST_TARGET + 2, FIRST_TARGET + 4]


def test_identifiers_that_lost_digits_are_refused(tmp_path):
    assert int(float(FIRST_TARGET)) != FIRST_TARGET
    with pytest.raises(DataError, match=r"001-of-001.hdf5: object_id has type double"):
        only(ProvabgsMultimodal(as_hdf5(tmp_path, variant(object_id=variant()["object_id"].astype(float)))))
    for array, message in (
        (pa.array([3.96e16] * 6), "type double"),
        (pa.array(["3.96e16"] * 6), "Failed to parse string"),
        (pa.array([None, *"12345"]), "missing in 1 rows"),
    ):
        path = as_parquet(tmp_path / "bad.parquet", variant(), object_id=array)
        with pytest.raises(DataError, match=message):
            only(ProvabgsMultimodal(path))


def test_identifiers_as_bytes_in_hdf5(tmp_path):
    digits = np.array([str(value) for value in variant()["object_id"]], "S")
    index = only(ProvabgsMultimodal(as_hdf5(tmp_path, variant(object_id=digits))))
    np.testing.assert_array_equal(index.columns["target_id"], variant()["TARGETID"])


def test_a_hats_catalogue_is_read_without_its_margin(tmp_path):
    columns = variant()
    data = tmp_path / "mmu_desi_provabgs/dataset/Norder=2/Dir=0"
    as_parquet(data / "Npix=62.parquet", columns)
    as_parquet(data.parents[1] / "data_thumbnail.parquet", columns)
    margin = tmp_path / "mmu_desi_provabgs_10arcs"
    as_parquet(margin / "dataset/Norder=2/Dir=0/Npix=63.parquet", columns)
    for folder, kind in ((data.parents[2], "object"), (margin, "margin")):
        (folder / "hats.properties").write_text(f"#HATS catalog\ndataproduct_type={kind}\nhats_nrows=6\n")
    reader = ProvabgsMultimodal(tmp_path)
    assert [path.name for path in reader.files()] == ["Npix=62.parquet"]
    assert len(only(reader)) == 6
    with pytest.raises(DataError, match="no data file"):
        ProvabgsMultimodal(margin).files()


def test_a_damaged_file_of_the_variant_is_named(tmp_path):
    path = as_parquet(tmp_path / "part.parquet", variant())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"part.parquet: not a readable Parquet file"):
        only(ProvabgsMultimodal(path))
    with pytest.raises(DataError, match="column AVG_SFR is missing"):
        only(ProvabgsMultimodal(as_hdf5(tmp_path, variant(AVG_SFR=None))))
    with pytest.raises(DataError, match=r"column TAGE_MW has shape \(5,\); expected \(6,\)"):
        only(ProvabgsMultimodal(as_hdf5(tmp_path, variant(TAGE_MW=np.ones(5)))))
