"""The AstroCLIP pairs become a data set: the published split, the one by sky, and what is wrong with the rows."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astroclip_files import make_pairs, write_hdf5, write_parquet
from typer.testing import CliRunner

from astroclip_bench.datasets import check_dataset, open_dataset
from astroclip_bench.embedders import load_embedder
from astroclip_bench.errors import DataError, EmbedderError
from astroclip_bench.evaluation import evaluate
from dataset_builders.astroclip_v1.command import build
from dataset_builders.astroclip_v1.places import target_pixel
from dataset_builders.astroclip_v1.source import AstroClipV1
from dataset_builders.parquet import build_dataset
from dataset_builders.splits import healpix_pixel, split_of_pixel
from dataset_builders.upstream.bricks import brick_centre
from dataset_builders.upstream.desi_targets import encode_target_id

SIZES = {"0": 61, "1": 37, "10": 4}
N_ROWS = 102
N_UNUSABLE = 5
GAIA_TARGET = (2 << 60) + (8_191 << 22) + 5
SKY_POSITION = (1 << 59) + int(encode_target_id(9011, 349_955, 7))
MOCK = (1 << 58) + int(encode_target_id(9011, 349_955, 8))


@pytest.fixture(scope="module")
def pairs():
    """Return pairs with one of each trap, in known rows."""
    pairs = make_pairs(SIZES)
    pairs.target_id[2] = GAIA_TARGET
    pairs.target_id[3] = -39_633
    pairs.target_id[4] = MOCK
    pairs.target_id[12] = encode_target_id(
        9012, 300_000 + 1_700 * 12, 9
    )  # a brick of the south that was processed again
    pairs.redshift[5] = -0.0002
    pairs.redshift[6] = 1.2
    pairs.redshift[7] = np.nan
    pairs.flux[8] = 0
    pairs.flux[9, 100] = np.nan
    pairs.image[10, 1] = 0
    pairs.target_id[90] = pairs.target_id[1]  # the first is in train, this one in test
    return pairs


@pytest.fixture(scope="module")
def original(pairs, tmp_path_factory):
    return write_hdf5(tmp_path_factory.mktemp("original") / "astroclip_desi.1.1.5.h5", pairs)


@pytest.fixture(scope="module")
def folder(original, tmp_path_factory):
    return build_dataset(AstroClipV1(original), tmp_path_factory.mktemp("built") / "out")


@pytest.fixture(scope="module")
def by_sky(original, tmp_path_factory):
    return build_dataset(AstroClipV1(original, "healpix"), tmp_path_factory.mktemp("by-sky") / "out")


def rows_of(split, target_ids):
    """Return the row in `target_ids` of each row of a split; of a repeated one the first."""
    ids = target_ids.tolist()
    return np.array([ids.index(int(value)) for value in split.object_ids], int)


def test_published_split(folder, pairs):
    dataset = open_dataset(folder)
    assert (dataset.info.name, dataset.info.split_rule) == ("astroclip-v1", "astroclip-v1")
    place_in_group = np.concatenate([np.arange(n) for n in SIZES.values()])
    train = place_in_group < np.concatenate([np.full(n, int(0.8 * n)) for n in SIZES.values()])
    lost = [3, 4, 7, 9, 90]
    expected = {"train": train, "validation": np.zeros(len(train), bool), "test": ~train}
    for name, wanted in expected.items():
        found = rows_of(dataset.splits[name], pairs.target_id)
        assert found.tolist() == [row for row in np.flatnonzero(wanted).tolist() if row not in lost]


def test_values_are_those_of_the_file(folder, pairs):
    for split in open_dataset(folder).splits.values():
        rows = rows_of(split, pairs.target_id)
        np.testing.assert_array_equal(split.column("image"), pairs.image[rows])
        np.testing.assert_array_equal(split.column("flux"), pairs.flux[rows])
        np.testing.assert_array_equal(split.column("redshift"), pairs.redshift[rows])
        hemisphere = [{0: "south", 1: "north"}[row % 2] if row != 2 else None for row in rows.tolist()]
        assert split.column("hemisphere").tolist() == hemisphere


def test_left_out_rows_are_counted(folder):
    manifest = json.loads((folder / "manifest.json").read_text())["build"]
    assert manifest["steps"][0] == {
        "step": "redshift read",
        "read": N_ROWS,
        "kept": N_ROWS - 1,
        "dropped": {"redshift not finite": 1},
    }
    assert manifest["steps"][1]["dropped"] == {"TARGETID names no place on the sky": 2, "TARGETID seen before": 1}
    assert manifest["dropped_while_loading"] == {"flux not finite": 1}
    assert [entry["path"] for entry in manifest["inputs"]] == ["astroclip_desi.1.1.5.h5"]
    card = (folder / "README.md").read_text()
    assert "Ordered by brightness" in card
    assert "the first int(0.8 n) are train" in card


def test_published_split_shares_sky_and_passes_its_check(folder):
    report = check_dataset(folder)
    assert report.rows == N_ROWS - N_UNUSABLE
    assert report.straddling_pixels > 0


def test_split_by_sky(by_sky, pairs):
    dataset = open_dataset(by_sky)
    assert dataset.info.name == "astroclip-v1-healpix"
    report = check_dataset(by_sky)
    assert (report.rows, report.straddling_pixels) == (N_ROWS - N_UNUSABLE, 0)
    for name, split in dataset.splits.items():
        rows = rows_of(split, pairs.target_id)
        on_brick = rows != 2
        brick = 300_000 + 1_700 * (rows[on_brick] % 40)
        pixel = healpix_pixel(*brick_centre(brick))
        np.testing.assert_array_equal(split.column("healpix")[on_brick], pixel)
        assert set(split_of_pixel(split.column("healpix")).tolist()) == {name}


def test_cleaned(original, tmp_path):
    source = AstroClipV1(original, clean=True)
    folder = build_dataset(source, tmp_path / "out")
    manifest = json.loads((folder / "manifest.json").read_text())["build"]
    assert manifest["steps"][1]["dropped"]["redshift outside 0 to 0.8"] == 2
    assert manifest["dropped_while_loading"] == {
        "band missing (all zero)": 1,
        "flux all zero": 1,
        "flux not finite": 1,
    }
    assert "published scores are of more rows" in (folder / "README.md").read_text()
    assert (source.info.name, check_dataset(folder).rows) == ("astroclip-v1-clean", N_ROWS - N_UNUSABLE - 4)


def test_load_dataset_reads_it(folder, pairs):
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset(str(folder), split="test", streaming=True)
    first = next(iter(rows))
    row = pairs.target_id.tolist().index(int(first["object_id"]))
    assert row == 48
    np.testing.assert_array_equal(np.array(first["image"], np.float32), pairs.image[row])
    np.testing.assert_array_equal(np.array(first["flux"], np.float32), pairs.flux[row])
    assert first["preview"].size == (152, 152)


def test_a_floor_is_scored_on_it(folder):
    dataset = open_dataset(folder)
    result = evaluate(load_embedder("random-projection"), dataset, tasks=["redshift"], floors=())
    assert {score.query for score in result.scores} == {"image", "spectrum"}


def test_a_model_that_needs_variances_is_told_in_one_line(folder):
    dataset = open_dataset(folder)
    assert dataset.modalities["spectrum"].columns == ("flux",)
    with pytest.raises(EmbedderError, match="ivar") as failure:
        evaluate(load_embedder("astroclip-mini"), dataset, tasks=["redshift"], floors=())
    assert "\n" not in str(failure.value)


def test_shards_and_workers_do_not_matter(original, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("dataset_builders.astroclip_v1.source.SHARD_ROWS", 10)
    monkeypatch.setattr("dataset_builders.astroclip_v1.source.BATCH_ROWS", 4)
    source = AstroClipV1(original)
    assert [source.shard_size(shard) for shard in source.shards] == [10] * 9 + [8]
    small = build_dataset(source, tmp_path / "out", workers=2)
    for name, split in open_dataset(small).splits.items():
        whole = open_dataset(folder).splits[name]
        assert split.object_ids == whole.object_ids
        np.testing.assert_array_equal(split.column("image"), whole.column("image"))


def test_one_split_alone(original):
    source = AstroClipV1(original)
    batches = list(source.rows(0, splits=["test"]))
    assert (
        sum(batch.num_rows for batch in batches) == 13 + 7 + 1
    )  # of the groups; one of the second group is a repetition
    assert {value for batch in batches for value in batch.column("split").to_pylist()} == {"test"}


def test_a_copy_keeps_its_own_split(pairs, tmp_path):
    write_parquet(tmp_path / "data/train-0.parquet", pairs, slice(11, 20))
    write_parquet(tmp_path / "data/val-0.parquet", pairs, slice(20, 25))
    write_parquet(tmp_path / "data/test-0.parquet", pairs, slice(85, 93))
    with pytest.raises(DataError, match=r"split 'original' cannot be had .*; expected as-in-files or healpix"):
        AstroClipV1(tmp_path)
    folder = build_dataset(AstroClipV1(tmp_path, "as-in-files"), tmp_path / "out")
    dataset = open_dataset(folder)
    assert dataset.info.name == "astroclip-v1-copy"
    rows = {name: rows_of(split, pairs.target_id).tolist() for name, split in dataset.splits.items()}
    assert rows["train"] == list(range(11, 20))
    assert rows["validation"] == list(range(20, 25))
    # Row 1 is not in the copy, so row 90, which has the same TARGETID, is no repetition here.
    assert rows["test"] == [85, 86, 87, 88, 89, 1, 91, 92]
    assert "Nobody has verified" in (folder / "README.md").read_text()
    check_dataset(folder)


def write_masses(path, target_id, mass):
    """Write a catalogue in the layout of PROVABGS."""
    n = len(target_id)
    floats = ("RA", "DEC", "Z_HP", "MAG_G", "MAG_R", "MAG_Z", "PROVABGS_LOGMSTAR_BF", "PROVABGS_Z_MAX")
    floats += ("PROVABGS_W_ZFAIL", "PROVABGS_W_FIBASSIGN")
    dtype = [("TARGETID", "i8"), *((name, "f8") for name in floats), ("PROVABGS_LOGMSTAR", "f8", 100)]
    table = np.ones(n, [*dtype, ("IS_BGS_BRIGHT", "?"), ("IS_BGS_FAINT", "?")])
    table["TARGETID"], table["PROVABGS_LOGMSTAR_BF"] = target_id, mass
    table["PROVABGS_LOGMSTAR"] = np.asarray(mass)[:, None] + np.linspace(-0.1, 0.1, 100)
    with h5py.File(path, "w") as file:
        file["__astropy_table__"] = table


def labels_by_row(folder, name, pairs):
    labels = {}
    for split in open_dataset(folder).splits.values():
        labels |= dict(zip(rows_of(split, pairs.target_id).tolist(), split.column(name), strict=True))
    return {row: round(float(value), 3) for row, value in labels.items() if np.isfinite(value)}


def test_stellar_masses_by_target(original, pairs, tmp_path):
    catalogue = tmp_path / "BGS_ANY_full.provabgs.sv3.v0.hdf5"
    ids = [*pairs.target_id[[0, 12, 50, 55]], 39_633_000_000_000_000]
    write_masses(catalogue, ids, [10.5, -999.0, 12.5, 9.5, 11.0])
    folder = build_dataset(AstroClipV1(original, labels=catalogue), tmp_path / "out")
    assert labels_by_row(folder, "log_stellar_mass", pairs) == {0: 10.5, 50: 12.5, 55: 9.5}
    assert "from PROVABGS, joined by TARGETID" in (folder / "README.md").read_text()
    manifest = json.loads((folder / "manifest.json").read_text())["build"]
    assert manifest["inputs"][1]["path"] == catalogue.name
    clean = AstroClipV1(original, clean=True, labels=catalogue)
    known = [batch.num_rows - batch.column("log_stellar_mass").null_count for batch in clean.rows(0)]
    assert sum(known) == 2


def test_labels_of_the_multimodal_universe(original, pairs, tmp_path):
    rows = [0, 50]
    names = ("ra", "dec", "Z_HP", "MAG_G", "MAG_R", "MAG_Z")
    names += ("PROVABGS_Z_MAX", "PROVABGS_W_ZFAIL", "PROVABGS_W_FIBASSIGN")
    values = {"LOG_MSTAR": [10.0, 11.0], "TAGE_MW": [5.0, 8.0], "Z_MW": [0.01, 0.02], "AVG_SFR": [1.0, 0.1]}
    columns = {"object_id": pairs.target_id[rows].astype(str), **{name: np.ones(2) for name in names}, **values}
    path = tmp_path / "labels/Npix=1.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table(columns), path)
    folder = build_dataset(AstroClipV1(original, labels=path.parent), tmp_path / "out")
    assert labels_by_row(folder, "age", pairs) == {0: 5.0, 50: 8.0}
    assert labels_by_row(folder, "log_ssfr", pairs) == {0: -10.0, 50: -12.0}


def test_place_of_a_target():
    tertiary = int(encode_target_id(8888, 15, 989))
    ids = [int(encode_target_id(9011, 618_237, 989)), SKY_POSITION, GAIA_TARGET, MOCK, -1, 989, tertiary]
    pixels = target_pixel(ids)
    assert pixels[0] == healpix_pixel(191.2813, 60.25)
    assert pixels[1] == healpix_pixel(*brick_centre(349_955))
    assert pixels[2] == 8_191 * 4
    assert pixels[3:].tolist() == [-1, -1, -1, -1]


def test_nothing_usable(tmp_path):
    pairs = make_pairs({"0": 2})
    pairs.target_id[:] = -5
    path = write_hdf5(tmp_path / "pairs.h5", pairs)
    with pytest.raises(DataError, match=r"none of the 2 rows can be used .*2 TARGETID names no place"):
        AstroClipV1(path)


def test_command(original, tmp_path):
    import typer

    app = typer.Typer()
    app.command()(build)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["--pairs", str(original), "--out", str(out), "--split", "healpix"])
    assert result.exit_code == 0, result.output
    assert "98 of 101 rows; left out: 2 TARGETID names no place on the sky; 1 TARGETID seen before" in result.output
    assert open_dataset(out).info.split_rule == "healpix"
