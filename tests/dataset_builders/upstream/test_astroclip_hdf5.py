"""The original AstroCLIP file and its Parquet copies are read as they are, and faults are named."""

from __future__ import annotations

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astroclip_files import SIZES, make_pairs, variable_lists, write_hdf5, write_parquet

from astroclip_bench.errors import DataError, StorageError
from dataset_builders.upstream.astroclip_hdf5 import AstroClipHdf5
from dataset_builders.upstream.astroclip_parquet import AstroClipParquet, split_of_file


@pytest.fixture(scope="module")
def pairs():
    return make_pairs()


@pytest.fixture(scope="module", params=[False, True], ids=["(n, 7781)", "(n, 7781, 1)"])
def original(request, pairs, tmp_path_factory):
    return write_hdf5(tmp_path_factory.mktemp("astroclip") / "astroclip_desi.1.1.5.h5", pairs, request.param)


def test_index_of_the_original(original, pairs):
    reader = AstroClipHdf5(original)
    assert reader.files() == [original]
    index = reader.index(original)
    assert (index.read, len(index)) == (26, 26)
    np.testing.assert_array_equal(index.columns["target_id"], pairs.target_id)
    np.testing.assert_array_equal(index.columns["redshift"], pairs.redshift)
    np.testing.assert_array_equal(index.columns["row"], np.arange(26))
    groups, counts = np.unique(index.columns["group"], return_counts=True)
    assert dict(zip(groups.tolist(), counts.tolist(), strict=True)) == {int(name): n for name, n in SIZES.items()}
    assert index.columns["group"].tolist() == sorted(index.columns["group"])


def test_the_first_eight_tenths_of_each_group_train(original):
    columns = AstroClipHdf5(original).index(original).columns
    for name, size in SIZES.items():
        split = columns["original_split"][columns["group"] == int(name)]
        train = int(0.8 * size)
        assert split.tolist() == ["train"] * train + ["test"] * (size - train)


@pytest.mark.parametrize("rows", [np.arange(5, 20), np.array([25, 3, 3, 12, 0]), np.array([], int)])
def test_payload_of_the_original(original, pairs, rows):
    payload = AstroClipHdf5(original).load(original, rows)
    np.testing.assert_array_equal(payload.columns["image"], pairs.image[rows])
    np.testing.assert_array_equal(payload.columns["flux"], pairs.flux[rows])
    assert payload.columns["image"].dtype == payload.columns["flux"].dtype == np.float32
    assert payload.faults.tolist() == [""] * len(rows)


def test_faults_are_named(tmp_path):
    pairs = make_pairs({"0": 6})
    pairs.flux[0] = 0
    pairs.image[1, 2] = 0
    pairs.flux[2, 7] = np.nan
    pairs.image[3, 0, 5, 5] = np.inf
    pairs.redshift[4] = np.nan
    path = write_hdf5(tmp_path / "pairs.h5", pairs)
    reader = AstroClipHdf5(path)
    assert reader.load(path, np.arange(6)).faults.tolist() == [
        "flux all zero",
        "band missing (all zero)",
        "flux not finite",
        "image not finite",
        "",
        "",
    ]
    index = reader.index(path)
    assert dict(index.dropped) == {"redshift not finite": 1}
    assert index.columns["row"].tolist() == [0, 1, 2, 3, 5]


def change(path, key, values):
    with h5py.File(path, "a") as file:
        del file[key]
        if values is not None:
            file[key] = values


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("0/spectra", None, "key '0/spectra' is missing"),
        ("0/targetids", np.ones(6), "'0/targetids' has type float64"),
        ("0/targetids", np.ones(5, int), "group '0' has rows .*'targetids': 5"),
        ("0/images", np.zeros((6, 152, 3, 152), np.float32), r"images of shape \(152, 3, 152\)"),
        ("0/spectra", np.zeros((6, 7780), np.float32), r"'0/spectra' has shape \(6, 7780\)"),
        ("0", None, "groups none"),
    ],
)
def test_another_layout_is_refused(tmp_path, key, values, message):
    path = write_hdf5(tmp_path / "pairs.h5", make_pairs({"0": 6}))
    change(path, key, values)
    with pytest.raises(DataError, match=f"{path}.*{message}"):
        AstroClipHdf5(path).index(path)


def test_images_with_planes_first_are_taken_as_they_are(tmp_path):
    pairs = make_pairs({"0": 3})
    path = write_hdf5(tmp_path / "pairs.h5", pairs)
    change(path, "0/images", pairs.image)
    np.testing.assert_array_equal(AstroClipHdf5(path).load(path, np.arange(3)).columns["image"], pairs.image)


def test_a_group_that_is_no_number_is_refused(tmp_path):
    path = write_hdf5(tmp_path / "pairs.h5", make_pairs({"0": 2}))
    with h5py.File(path, "a") as file:
        file.create_group("train")
    with pytest.raises(DataError, match="groups 0, train; expected groups '0', '1'"):
        AstroClipHdf5(path).index(path)


def test_a_truncated_file_is_named(tmp_path):
    path = write_hdf5(tmp_path / "pairs.h5", make_pairs({"0": 6}))
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(DataError, match=f"{path}.*not a readable HDF5 file"):
        AstroClipHdf5(path).index(path)


@pytest.fixture(scope="module")
def copy(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    write_parquet(folder / "data/train-00000-of-00002.parquet", pairs, slice(0, 10))
    write_parquet(folder / "data/train-00001-of-00002.parquet", pairs, slice(10, 18))
    write_parquet(folder / "data/val-00000-of-00001.parquet", pairs, slice(18, 22))
    write_parquet(folder / "test/0000.parquet", pairs, slice(22, 26), spectrum="spectra", targetid="TARGETID")
    return folder


def test_parquet_copies(copy, pairs):
    reader = AstroClipParquet(copy)
    paths = reader.files()
    indices = [reader.index(path) for path in paths]
    splits = np.concatenate([index.columns["file_split"] for index in indices])
    assert splits.tolist() == ["train"] * 18 + ["validation"] * 4 + ["test"] * 4
    np.testing.assert_array_equal(np.concatenate([index.columns["target_id"] for index in indices]), pairs.target_id)
    np.testing.assert_array_equal(np.concatenate([index.columns["redshift"] for index in indices]), pairs.redshift)
    rows = np.array([7, 0, 9, 7])
    payload = reader.load(paths[0], rows)
    np.testing.assert_array_equal(payload.columns["image"], pairs.image[rows])
    np.testing.assert_array_equal(payload.columns["flux"], pairs.flux[rows])
    assert payload.faults.tolist() == [""] * 4


def test_parquet_written_by_the_datasets_library(pairs, tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Array3D((152, 152, 3), "float32"),
            "spectrum": datasets.Array2D((7781, 1), "float32"),
            "redshift": datasets.Value("float32"),
            "targetid": datasets.Value("int64"),
        }
    )
    rows = slice(0, 4)
    written = datasets.Dataset.from_dict(
        {
            "image": list(np.moveaxis(pairs.image[rows], 1, -1)),
            "spectrum": list(pairs.flux[rows][..., None]),
            "redshift": pairs.redshift[rows],
            "targetid": pairs.target_id[rows],
        },
        features=features,
    )
    path = tmp_path / "train-00000-of-00001.parquet"
    written.to_parquet(path)
    reader = AstroClipParquet(tmp_path)
    np.testing.assert_array_equal(reader.index(path).columns["target_id"], pairs.target_id[rows])
    payload = reader.load(path, np.array([2, 1]))
    np.testing.assert_array_equal(payload.columns["image"], pairs.image[[2, 1]])
    np.testing.assert_array_equal(payload.columns["flux"], pairs.flux[[2, 1]])


def test_identifiers_as_text(pairs, tmp_path):
    path = write_parquet(tmp_path / "test.parquet", pairs, slice(0, 3))
    table = pq.read_table(path)
    text = table.set_column(3, "object_id", table["targetid"].cast(pa.string()))
    pq.write_table(text, path)
    np.testing.assert_array_equal(AstroClipParquet(path).index(path).columns["target_id"], pairs.target_id[:3])


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("redshift", None, "no column redshift or redshifts or z among image, spectrum, targetid"),
        ("targetid", pa.array([1.0, 2.0, 3.0]), "column 'targetid' has type double"),
        ("spectrum", variable_lists(np.zeros((3, 100), np.float32)), r"spectra of shape \(100,\)"),
        ("image", pa.array([[1.0], [1.0, 2.0], [3.0]]), "rows of different shapes"),
    ],
)
def test_another_parquet_layout_is_refused(pairs, tmp_path, name, column, message):
    path = write_parquet(tmp_path / "test.parquet", pairs, slice(0, 3))
    table = pq.read_table(path)
    place = table.schema.get_field_index(name)
    table = table.remove_column(place) if column is None else table.set_column(place, name, column)
    pq.write_table(table, path)
    reader = AstroClipParquet(path)
    with pytest.raises(DataError, match=f"{path}.*{message}"):
        reader.load(path, reader.index(path).columns["row"])


def test_parquet_that_cannot_be_read(tmp_path):
    path = tmp_path / "test.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        AstroClipParquet(path).index(path)
    with pytest.raises(StorageError):
        AstroClipParquet(path).index(tmp_path / "train.parquet")


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/validation-00000-of-00003.parquet", "validation"),
        ("valid/part.parquet", "validation"),
        ("train/test-like.parquet", "test"),
        ("Test_0.parquet", "test"),
    ],
)
def test_split_of_a_file(tmp_path, path, split):
    assert split_of_file(tmp_path / path) == split


def test_a_file_without_a_split_is_refused(tmp_path):
    with pytest.raises(DataError, match="tells its split"):
        split_of_file(tmp_path / "data/0000.parquet")
