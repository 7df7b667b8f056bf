"""FastSpecFit catalogues in the layouts of EDR and DR1."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from astroclip_bench.errors import DataError
from dataset_builders.upstream.fastspecfit import FastSpecFit

fits = pytest.importorskip("astropy.io.fits")

TARGETS = 39633345008634465 + np.arange(4)
MASS = np.array([10.5, 9.0, 0.0, 11.0], np.float32)
RATE = np.array([2.0, 0.0, 1.0, -1.0], np.float32)


def write_catalogue(folder, hdus):
    path = folder / "fastspec-iron-sv3-bright.fits"
    tables = [fits.BinTableHDU(table, name=name) for name, table in hdus.items()]
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(path)
    return path


def metadata():
    return Table(
        {
            "TARGETID": TARGETS,
            "SURVEY": ["sv3"] * 4,
            "PROGRAM": ["bright"] * 4,
            "RA": [10.0, 20.0, 30.0, 40.0],
            "DEC": [-1.0, 0.0, 1.0, 2.0],
            "Z": [0.1, 0.2, 0.3, 0.4],
        }
    )


def fitted(**columns):
    return Table({"TARGETID": TARGETS, "LOGMSTAR": MASS, "SFR": RATE, "AGE": np.ones(4), **columns})


def test_third_version(tmp_path):
    specphot = fitted(LOGMSTAR_IVAR=np.array([100.0, 0.0, 25.0, 4.0], np.float32))
    lines = Table({"TARGETID": TARGETS, "HALPHA_FLUX": np.ones(4)})
    write_catalogue(tmp_path, {"METADATA": metadata(), "SPECPHOT": specphot, "FASTSPEC": lines})
    reader = FastSpecFit(tmp_path)
    (path,) = reader.files()
    index = reader.index(path)
    columns = index.columns
    assert (index.read, index.dropped) == (4, {"negative TARGETID": 0, "position not finite": 0})
    assert columns["target_id"].tolist() == TARGETS.tolist()
    assert columns["row"].tolist() == [0, 1, 2, 3]
    assert (columns["survey"][0], columns["program"][0]) == ("sv3", "bright")
    np.testing.assert_allclose(columns["redshift"], [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(columns["log_stellar_mass"], [10.5, 9.0, np.nan, 11.0])
    np.testing.assert_allclose(columns["log_stellar_mass_std"], [0.1, np.nan, np.nan, 0.5])
    np.testing.assert_allclose(columns["log_ssfr"], [np.log10(2.0) - 10.5, np.nan, np.nan, np.nan], rtol=1e-6)
    assert "age" not in columns
    assert "metallicity" not in columns


def test_earlier_versions_have_one_table_and_no_uncertainty(tmp_path):
    path = write_catalogue(tmp_path, {"FASTSPEC": fitted(), "METADATA": metadata()})
    columns = FastSpecFit(path).index(path).columns
    np.testing.assert_allclose(columns["log_stellar_mass"], [10.5, 9.0, np.nan, 11.0])
    assert "log_stellar_mass_std" not in columns


def test_masses_for_another_hubble_constant(tmp_path):
    path = write_catalogue(tmp_path, {"SPECPHOT": fitted(), "METADATA": metadata()})
    as_published, ours = (FastSpecFit(path, hubble).index(path).columns for hubble in (1.0, 0.7))
    shift = ours["log_stellar_mass"] - as_published["log_stellar_mass"]
    np.testing.assert_allclose(shift, [0.3098, 0.3098, np.nan, 0.3098], atol=1e-4)
    np.testing.assert_array_equal(ours["log_ssfr"], as_published["log_ssfr"])
    assert FastSpecFit(path, 0.7).options()["hubble"] == 0.7


def test_rows_that_cannot_be_matched_are_counted(tmp_path):
    table, quantities = metadata(), fitted()
    table["TARGETID"][1] = quantities["TARGETID"][1] = -3
    table["RA"][2] = np.nan
    table.remove_columns(["SURVEY", "PROGRAM"])
    path = write_catalogue(tmp_path, {"SPECPHOT": quantities, "METADATA": table})
    index = FastSpecFit(path).index(path)
    assert index.dropped == {"negative TARGETID": 1, "position not finite": 1}
    assert index.columns["row"].tolist() == [0, 3]
    assert index.columns["program"].tolist() == ["unknown", "unknown"]


def test_tables_of_different_targets_are_refused(tmp_path):
    quantities = fitted()
    quantities["TARGETID"] = quantities["TARGETID"][::-1].copy()
    path = write_catalogue(tmp_path, {"SPECPHOT": quantities, "METADATA": metadata()})
    with pytest.raises(DataError, match="METADATA and SPECPHOT list different targets"):
        FastSpecFit(path).index(path)


@pytest.mark.parametrize(
    ("hdus", "message"),
    [
        ({"SPECPHOT": fitted()}, "HDU METADATA is missing"),
        ({"METADATA": metadata()}, "HDU SPECPHOT is missing; expected it among PRIMARY, METADATA"),
        ({"METADATA": metadata(), "SPECPHOT": metadata()}, "column LOGMSTAR is missing from HDU SPECPHOT"),
    ],
)
def test_missing_parts_are_named(tmp_path, hdus, message):
    path = write_catalogue(tmp_path, hdus)
    with pytest.raises(DataError, match=rf"fastspec-iron-sv3-bright.fits: {message}"):
        FastSpecFit(path).index(path)
