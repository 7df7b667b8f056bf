"""The plan: duplicates, labels of several catalogues, votes, order, and the same for pieces of the sky."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_builders.pairs.build import PLAN_RECORD, _write_plan
from dataset_builders.pairs.labels import LabelTables
from dataset_builders.pairs.plan import CONFLICT, CORE_COLUMN, Planner, merge_plans
from dataset_builders.splits import healpix_pixel, split_of_pixel
from dataset_builders.upstream.desi_targets import encode_target_id

COLUMNS = (
    "label_catalogues",
    "object_id",
    "ra",
    "dec",
    "healpix",
    "split",
    "flux_r",
    "redshift",
    "log_stellar_mass",
    "age",
    "mag_r",
)
N = 40
ARCSEC = 1 / 3600


def target_ids(count: int = N) -> np.ndarray:
    return encode_target_id(np.full(count, 9010), 1000 + np.arange(count), 7 + np.arange(count))


def spectra(**changes) -> pa.Table:
    random = np.random.default_rng(3)
    columns = {
        "row": np.arange(N),
        "file": np.zeros(N, np.int32),
        "target_id": target_ids(),
        "ra": np.linspace(150, 170, N),
        "dec": random.uniform(-2, 2, N),
        "redshift": random.uniform(0, 0.5, N),
        "deltachi2": np.full(N, 100.0),
        "flux_r": np.full(N, 5.0, np.float32),
    }
    return pa.table({**columns, **changes})


def images(of: pa.Table) -> pa.Table:
    order = np.random.default_rng(4).permutation(of.num_rows)
    columns = {
        "row": np.arange(of.num_rows),
        "file": np.full(of.num_rows, 2, np.int32),
        "target_id": of["target_id"].to_numpy()[order],
        "ra": of["ra"].to_numpy()[order],
        "dec": of["dec"].to_numpy()[order] + 0.1 * ARCSEC,
        "flux_r": np.full(of.num_rows, 10.0, np.float32),
    }
    return pa.table(columns)


def catalogue(tmp_path, name: str, **columns) -> LabelTables:
    path = tmp_path / f"{name}.parquet"
    pq.write_table(pa.table(columns), path)
    return LabelTables(name, (path,))


def test_order_position_and_photometry():
    given = spectra()
    plan = Planner(COLUMNS)(given, images(given))
    table = plan.table
    healpix = healpix_pixel(given["ra"].to_numpy(), given["dec"].to_numpy())
    order = np.lexsort([given["target_id"].to_numpy(), healpix])
    assert table["object_id"].to_pylist() == [str(value) for value in given["target_id"].to_numpy()[order]]
    np.testing.assert_array_equal(table["ra"], given["ra"].to_numpy()[order])
    np.testing.assert_array_equal(table["healpix"], healpix[order])
    assert table["split"].to_pylist() == split_of_pixel(healpix[order]).tolist()
    # The image's own flux comes before what the spectrum's file says of it.
    np.testing.assert_allclose(table["mag_r"], 22.5 - 2.5 * np.log10(10.0))
    assert plan.matched == {"matched by TARGETID": N, "matched on the sky": 0, "matched on the sky, ambiguous": 0}


def test_of_a_target_observed_twice_the_clearer_redshift_is_kept():
    given = spectra()
    again = spectra(
        file=np.ones(N, np.int32),
        deltachi2=np.where(np.arange(N) % 2, 200.0, np.nan),
        redshift=np.full(N, 0.9),
    )
    plan = Planner(COLUMNS)(pa.concat_tables([given, again]), images(given))
    kept = dict(zip(plan.table["object_id"].to_pylist(), plan.table["redshift"].to_pylist(), strict=True))
    for number, target in enumerate(target_ids()):
        assert kept[str(target)] == (0.9 if number % 2 else given["redshift"][number].as_py())
    assert plan.steps[0] == {
        "step": "one spectrum a target",
        "read": 80,
        "kept": 40,
        "dropped": {"duplicate TARGETID": 40},
    }


def test_of_a_target_observed_twice_desi_s_primary_spectrum_is_kept():
    """No redshift warning, then the largest TSNR2_LRG, as in desispec.zcatalog.find_primary_spectra."""
    given = spectra(zwarn=np.zeros(N, int), tsnr2_lrg=np.full(N, 50.0, np.float32))
    again = spectra(
        file=np.ones(N, np.int32),
        redshift=np.full(N, 0.9),
        deltachi2=np.full(N, 1e4),
        zwarn=np.where(np.arange(N) % 3 == 0, 4, 0),
        tsnr2_lrg=np.where(np.arange(N) % 2 == 0, 60, 40).astype(np.float32),
    )
    plan = Planner(COLUMNS)(pa.concat_tables([given, again]), images(given))
    kept = dict(zip(plan.table["object_id"].to_pylist(), plan.table["redshift"].to_pylist(), strict=True))
    for number, target in enumerate(target_ids()):
        deeper_and_good = number % 2 == 0 and number % 3 != 0
        assert (kept[str(target)] == 0.9) == deeper_and_good


def test_labels_of_two_catalogues_fill_each_other_unless_they_disagree(tmp_path):
    given, ids = spectra(), target_ids()
    first = catalogue(tmp_path, "first", target_id=ids[:20], log_stellar_mass=np.where(np.arange(20) < 5, np.nan, 10.0))
    second = catalogue(
        tmp_path,
        "second",
        target_id=ids[[*range(10), 30]],
        log_stellar_mass=[10.0] * 8 + [10.005, 10.00005, 11.0],
        age=np.arange(11.0),
        redshift=given["redshift"].to_numpy()[[*range(10), 30]] + 0.001,
    )
    plan = Planner(COLUMNS, labels=(first, second))(given, images(given))
    rows = {row["object_id"]: row for row in plan.table.to_pylist()}
    by_number = [rows[str(target)] for target in ids]
    expected_mass = [*[10.0] * 20, *[None] * 10, 11.0, *[None] * 9]
    assert [row["log_stellar_mass"] for row in by_number] == expected_mass
    expected_age = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, None, 9.0]
    assert [row["age"] for row in by_number[:10]] == expected_age
    assert by_number[30]["age"] == 10.0
    assert [by_number[i]["label_catalogues"] for i in (0, 8, 15, 25, 30)] == [
        "first; second",
        "first",
        "first",
        None,
        "second",
    ]
    assert [row["redshift"] for row in by_number] == given["redshift"].to_pylist()
    assert plan.joined == {"first": 20, f"first, {CONFLICT}": 0, "second": 10, f"second, {CONFLICT}": 1}


def test_labels_fitted_at_another_redshift_are_left_out(tmp_path):
    given = spectra(redshift=np.full(N, 0.2))
    # 1,000 km/s are 0.00396 here; what the catalogue does not know cannot contradict.
    redshift = [0.2039, 0.2041, 0.1961, 0.1959, np.nan]
    labels = catalogue(tmp_path, "fits", target_id=target_ids()[:5], age=np.arange(5.0), redshift=redshift)
    plan = Planner(COLUMNS, labels=(labels,))(given, images(given))
    age = dict(zip(plan.table["object_id"].to_pylist(), plan.table["age"].to_pylist(), strict=True))
    assert [age[str(target)] for target in target_ids()[:6]] == [0.0, None, 2.0, None, 4.0, None]
    assert plan.joined == {"fits": 3, f"fits, {CONFLICT}": 2}


def test_of_several_fits_that_of_the_same_spectrum_is_taken(tmp_path):
    given = spectra(survey=["sv1"] * N, program=[*["bright"] * 38, "other", None])
    labels = catalogue(
        tmp_path,
        "fits",
        target_id=target_ids()[[0, 0, 0, 1, 1, 38, 39, 39]],
        survey=["sv3", "sv1", "sv1", "sv1", "sv3", "sv3", "sv1", "sv3"],
        program=["bright", "dark", "bright", "bright", "bright", "other", "bright", "dark"],
        age=np.arange(8.0),
    )
    plan = Planner((*COLUMNS, "survey", "program"), labels=(labels,))(given, images(given))
    rows = {row["object_id"]: row for row in plan.table.to_pylist()}
    chosen = [rows[str(target_ids()[number])] for number in (0, 1, 2, 38, 39)]
    # Of a spectrum that has no fit of its own, or whose programme is unknown, the target's first.
    assert [row["age"] for row in chosen] == [2.0, 3.0, None, 5.0, 6.0]
    assert [row["survey"] for row in chosen] == ["sv1"] * 5
    assert chosen[-1]["program"] is None


def test_a_fit_does_not_tell_the_survey_of_a_spectrum(tmp_path):
    labels = catalogue(tmp_path, "fits", target_id=target_ids(), survey=["sv3"] * N, age=np.arange(float(N)))
    plan = Planner((*COLUMNS, "survey"), labels=(labels,))(spectra(), images(spectra()))
    assert "survey" not in plan.table.schema.names
    assert plan.joined["fits"] == N


def test_votes_are_joined_on_the_sky_one_to_one(tmp_path):
    given = spectra()
    ra, dec = (given[name].to_numpy() for name in ("ra", "dec"))
    votes = catalogue(
        tmp_path,
        "votes",
        ra=np.array([ra[0], ra[1], ra[1], ra[2]]),
        dec=np.array([dec[0], dec[1] + 0.3 * ARCSEC, dec[1], dec[2] + 0.6 * ARCSEC]),
        age=np.array([1.0, 2.0, 3.0, 4.0]),
    )
    plan = Planner(COLUMNS, votes=(votes,))(given, images(given))
    age = dict(zip(plan.table["object_id"].to_pylist(), plan.table["age"].to_pylist(), strict=True))
    assert [age[str(target)] for target in target_ids()[:4]] == [1.0, 3.0, None, None]
    assert plan.joined == {"votes": 2}


@pytest.mark.parametrize("border", [155.0, 160.01, 169.0])
def test_pieces_of_the_sky_make_the_same_plan(border):
    given = spectra()
    shown = images(given)
    whole = Planner(COLUMNS)(given, shown)
    left = given["ra"].to_numpy() < border
    pieces = [
        Planner(COLUMNS)(
            given.append_column(CORE_COLUMN, pa.array(core)), shown.append_column(CORE_COLUMN, pa.array(of))
        )
        for core, of in ((left, shown["ra"].to_numpy() < border), (~left, shown["ra"].to_numpy() >= border))
    ]
    merged = merge_plans([piece.table for piece in pieces], [piece.record() for piece in pieces])
    assert merged.table.equals(whole.table)
    assert merged.record() == whole.record()


def test_a_band_that_some_pairs_lack_is_left_out_and_told(tmp_path):
    given = spectra(flux_g=np.where(np.arange(N) < 3, np.nan, 1.0).astype(np.float32))
    plan = Planner((*COLUMNS, "flux_g"))(given, images(given))
    _write_plan(plan, tmp_path, shard_rows=100)
    content = json.loads((tmp_path / PLAN_RECORD).read_text())
    assert content["bands"] == ["r"]
    assert content["record"]["bands_left_out"] == {"g": 3}
