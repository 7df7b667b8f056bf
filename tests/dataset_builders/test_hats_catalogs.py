"""Catalogues as HATS partitions on a Dask cluster: the same pairs as in memory, across every kind of border."""

from __future__ import annotations

import os
import signal
import sys

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy_healpix import HEALPix
from distributed import LocalCluster
from test_matching import FIELDS, crowded_field

from astroclip_bench.errors import DataError, MissingExtraError
from dataset_builders.dask_run import connect
from dataset_builders.hats_catalogs import Pixel, aligned_pixels, import_catalog, map_partitions, match_catalogs
from dataset_builders.matching import OUTCOMES, Positions, match, reach_arcsec
from dataset_builders.upstream.desi_targets import encode_target_id, has_imaging_key

MARGIN_ARCSEC = reach_arcsec(1.0)
FIRST_ROW = 2**60 + 1
"""Row names that float64 would not keep apart."""
DISAGREE = OUTCOMES.index("left unmatched: same TARGETID, positions disagree")


def corners() -> list[tuple[float, float]]:
    """Return positions at which HEALPix pixels of orders 0 to 6 meet."""
    found = []
    for order, pixel in ((0, 4), (1, 17), (2, 3), (3, 400), (4, 2_000), (5, 31), (6, 30_000)):
        lon, lat = HEALPix(2**order, order="nested").boundaries_lonlat(pixel, 1)
        found.append((float(lon[0, 0].to_value(u.deg)), float(lat[0, 0].to_value(u.deg))))
    return found


def one_sided(sides: list[Positions], at: tuple[float, float]) -> list[Positions]:
    """Keep left rows in one base pixel alone and right rows in the others, so that pairs meet over its border."""
    grid = HEALPix(1, order="nested")
    home = grid.lonlat_to_healpix(at[0] * u.deg, at[1] * u.deg)
    kept = []
    for side, inside in zip(sides, (True, False), strict=True):
        rows = np.flatnonzero((grid.lonlat_to_healpix(side.ra * u.deg, side.dec * u.deg) == home) == inside)
        kept.append(Positions(side.ra[rows], side.dec[rows], side.target_id[rows]))
    return kept


def sky() -> tuple[Positions, Positions]:
    """Return two catalogues: crowded fields on borders, some with one side only, and objects all over the north."""
    generator = np.random.default_rng(7)
    fields = [list(crowded_field(ra, dec, seed, 120)) for seed, (ra, dec) in enumerate((*FIELDS.values(), *corners()))]
    fields[3] = one_sided(fields[3], (30.0, -89.99))
    n = 1_500
    ra, dec = generator.uniform(0, 360, n), np.degrees(np.arcsin(generator.uniform(0, 1, n)))
    moved = ra + generator.normal(0, 0.5 / 3600, n)
    fields.append([Positions(ra, dec, np.full(n, -1)), Positions(moved % 360.0, dec, np.full(n, -1))])
    sides = []
    for side in (0, 1):
        parts = [field[side] for field in fields]
        # The same numbers in every field: a brick each makes the identifiers unique.
        ids = [p.target_id + has_imaging_key(p.target_id) * (brick << 22) for brick, p in enumerate(parts)]
        order = generator.permutation(sum(map(len, parts)))
        columns = [np.concatenate(c)[order] for c in ([p.ra for p in parts], [p.dec for p in parts], ids)]
        sides.append(columns)
    left, right = Positions(*sides[0]), Positions(*sides[1])
    # Whether a TARGETID is found beyond the margin is what partitions cannot tell: none is left but one, 6 arcsec off.
    left.target_id[match(left, right).outcome == DISAGREE] = -1
    left.target_id[5], right.target_id[5] = encode_target_id(9010, 999, [1, 1])
    left.ra[5], left.dec[5], right.ra[5], right.dec[5] = 45.0, 3 / 3600, 45.0, -3 / 3600
    return left, right


def write_files(positions: Positions, folder) -> list:
    table = pa.table(
        {
            "ra": positions.ra,
            "dec": positions.dec,
            "target_id": pa.array(positions.target_id, mask=positions.target_id == -1),
            "row": FIRST_ROW + np.arange(len(positions)),
        }
    )
    folder.mkdir()
    files = []
    for number, start in enumerate(range(0, len(table), 1_500)):
        files.append(folder / f"{number}.parquet")
        pq.write_table(table.slice(start, 1_500), files[-1])
    return files


@pytest.fixture(scope="module")
def scheduler():
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def positions():
    return sky()


@pytest.fixture(scope="module")
def files(positions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return tuple(write_files(side, folder / name) for name, side in zip(("left", "right"), positions, strict=True))


@pytest.fixture(scope="module")
def catalogs(files, scheduler, tmp_path_factory):
    """Return the two catalogues; the right one in smaller partitions."""
    folder = tmp_path_factory.mktemp("catalogs")
    return tuple(
        import_catalog(
            paths,
            folder / name,
            scheduler=scheduler,
            margin_arcsec=MARGIN_ARCSEC,
            pixel_threshold=threshold,
            highest_order=order,
        )
        for name, paths, threshold, order in zip(("left", "right"), files, (400, 200), (5, 6), strict=True)
    )


def describe(left: pa.Table, right: pa.Table, pixel: Pixel) -> tuple[Pixel, list[int], list[int], int]:
    core = left.filter(left["core"])
    return pixel, core["row"].to_pylist(), left["target_id"].to_pylist(), len(right)


def kill_a_worker(scheduler: str) -> None:
    with connect(scheduler) as client:
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)


def test_every_left_row_is_core_once_and_integers_are_exact(catalogs, positions, scheduler):
    pieces = list(map_partitions(describe, *catalogs, scheduler=scheduler, margin_arcsec=MARGIN_ARCSEC))
    left = positions[0]
    assert sorted(row for _, rows, _, _ in pieces for row in rows) == list(range(FIRST_ROW, FIRST_ROW + len(left)))
    assert {i for _, _, ids, _ in pieces for i in ids if i is not None} == set(left.target_id.tolist()) - {-1}
    pixels = [pixel for pixel, *_ in pieces]
    assert sorted(pixels) == sorted(aligned_pixels(*catalogs, MARGIN_ARCSEC))
    assert len({pixel.order for pixel in pixels}) > 2
    assert min(len(ids) - len(rows) for _, rows, ids, _ in pieces) >= 0 < max(len(i) - len(r) for _, r, i, _ in pieces)
    assert max(right for *_, right in pieces) < 600, "a task holds no more than a partition and its margin"
    rest = map_partitions(
        describe, *catalogs, scheduler=scheduler, margin_arcsec=MARGIN_ARCSEC, skip=set(sorted(pixels)[2:])
    )
    assert {pixel for pixel, *_ in rest} == set(sorted(pixels)[:2])


def test_the_same_pairs_as_in_memory_though_a_worker_dies(catalogs, positions, scheduler, tmp_path):
    finished: list[Pixel] = []

    def on_done(pixel: Pixel) -> None:
        finished.append(pixel)
        if len(finished) == 3:
            kill_a_worker(scheduler)

    counts = match_catalogs(*catalogs, tmp_path / "pairs", scheduler=scheduler, on_done=on_done)
    whole = match(*positions)
    assert counts == whole.counts
    assert counts["left unmatched: same TARGETID, positions disagree"] == 1
    files = sorted((tmp_path / "pairs").glob("pairs-*.parquet"))
    pairs = pa.concat_tables([pq.read_table(file) for file in files]).sort_by("left_row")
    assert (pairs["left_row"].to_numpy() - FIRST_ROW).tolist() == whole.left.tolist()
    assert (pairs["right_row"].to_numpy() - FIRST_ROW).tolist() == whole.right.tolist()
    assert pairs["method"].to_pylist() == whole.method.tolist()
    assert pairs["ambiguous"].to_pylist() == whole.ambiguous.tolist()
    np.testing.assert_allclose(pairs["separation_arcsec"].to_numpy(), whole.separation_arcsec, rtol=0, atol=1e-9)
    assert {"left_ra", "left_target_id", "right_dec"} <= set(pairs.column_names)

    before = {file: file.read_bytes() for file in files}
    for file in files[:3]:
        file.unlink()
    again: list[Pixel] = []
    assert match_catalogs(*catalogs, tmp_path / "pairs", scheduler=scheduler, on_done=again.append) == counts
    assert len(again) == 3
    assert {file: file.read_bytes() for file in files} == before
    with pytest.raises(DataError, match="holds the pairs of another match"):
        match_catalogs(*catalogs, tmp_path / "pairs", scheduler=scheduler, radius_arcsec=0.5)


def test_lsdb_reads_the_catalogue_and_finds_the_same_neighbours(catalogs, positions):
    import lsdb

    left, right = (lsdb.open_catalog(path) for path in catalogs)
    assert (len(left), len(right)) == (len(positions[0]), len(positions[1]))
    assert right.margin is not None
    nearest = left.crossmatch(right, radius_arcsec=1, suffixes=("_l", "_r"), suffix_method="all_columns").compute()
    theirs = dict(zip(nearest["row_l"] - FIRST_ROW, nearest["row_r"] - FIRST_ROW, strict=True))
    whole = match(*positions)
    alone = (whole.method == "sky") & ~whole.ambiguous
    assert alone.sum() > 1_000
    # LSDB knows no identifiers, so a pair of ours may have a rival there that is another object here.
    same = [theirs[i] == j for i, j in zip(whole.left[alone].tolist(), whole.right[alone].tolist(), strict=True)]
    assert np.mean(same) > 0.98


def test_a_finished_catalogue_is_left_alone(catalogs, files, scheduler):
    before = {path: path.stat().st_mtime_ns for path in catalogs[0].rglob("*")}
    again = import_catalog(files[0], catalogs[0], scheduler=scheduler, margin_arcsec=MARGIN_ARCSEC)
    assert again == catalogs[0]
    assert {path: path.stat().st_mtime_ns for path in catalogs[0].rglob("*")} == before
    with pytest.raises(DataError, match=f"holds .* rows, the files {1_500}"):
        import_catalog(files[0][:1], catalogs[0], scheduler=scheduler, margin_arcsec=MARGIN_ARCSEC)


def test_what_is_no_catalogue(catalogs, files, scheduler, tmp_path):
    with pytest.raises(DataError, match="no HATS catalogue with a margin"):
        aligned_pixels(tmp_path, catalogs[1], 1.0)
    with pytest.raises(DataError, match=r"a margin of 30.* arcsec; expected at least 31"):
        aligned_pixels(*catalogs, 31.0)
    pq.write_table(pa.table({"ra": [1.0], "x": [2.0]}), tmp_path / "no_dec.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    for name, words in (("no_dec", "no column dec"), ("text", "is no Parquet file"), ("none", "No such file")):
        with pytest.raises(Exception, match=words) as caught:
            import_catalog(
                [tmp_path / f"{name}.parquet"], tmp_path / "out", scheduler=scheduler, margin_arcsec=MARGIN_ARCSEC
            )
        assert getattr(caught.value, "exit_code", None) == 2
    crowded = {"pixel_threshold": 2, "highest_order": 3}
    with pytest.raises(DataError, match="the catalogue could not be made"):
        import_catalog(files[0], tmp_path / "out", scheduler=scheduler, margin_arcsec=MARGIN_ARCSEC, **crowded)


def test_an_interrupted_import_goes_on(files, scheduler, tmp_path, monkeypatch, capsys, caplog):
    import hats_import.margin_cache.margin_cache as margin_cache

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(margin_cache, "generate_margin_cache", interrupt)
        with pytest.raises(KeyboardInterrupt):
            import_catalog(files[0][:1], tmp_path / "out", scheduler=scheduler, margin_arcsec=MARGIN_ARCSEC)
    main = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "out").rglob("*.parquet")}
    with pytest.raises(DataError, match="no HATS catalogue"):
        aligned_pixels(tmp_path / "out", tmp_path / "out", 7.0)
    out = import_catalog(files[0][:1], tmp_path / "out", scheduler=scheduler, margin_arcsec=MARGIN_ARCSEC)
    assert main
    assert {path: path.stat().st_mtime_ns for path in (out / "out").rglob("*.parquet")} == main
    assert aligned_pixels(out, out, 7.0)
    assert capsys.readouterr().out == ""
    assert "found collection" not in caplog.text


def test_hats_is_an_extra(files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hats_import", None)
    with pytest.raises(MissingExtraError, match=r"astroclip-bench\[dask\]"):
        import_catalog(files[0], tmp_path / "out", scheduler="tcp://127.0.0.1:1", margin_arcsec=MARGIN_ARCSEC)
