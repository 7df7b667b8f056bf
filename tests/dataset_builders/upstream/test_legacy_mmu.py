"""Miniature Multimodal Universe files, in HDF5 and in Parquet, give the same images whatever their layout."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from astroclip_bench.errors import DataError
from dataset_builders.upstream.desi_targets import encode_target_id
from dataset_builders.upstream.legacy_mmu import MmuLegacyImages, band_order

h5py = pytest.importorskip("h5py")

ROWS = 5
DR10_BANDS = ("des-g", "des-r", "des-i", "des-z")


def pixels(bands, size, seed=0):
    """Return images (ROWS, bands, size, size) whose values tell row and band."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (ROWS, len(bands), size, size))
    level = {"g": 1, "r": 2, "i": 3, "z": 4}
    offset = np.array([level[band[-1].lower()] for band in bands])
    return (noise + offset[:, None, None] + 10 * np.arange(ROWS)[:, None, None, None]).astype(np.float32)


def catalogue(capitals=True):
    columns = {
        "ra": np.linspace(10, 11, ROWS), "dec": np.linspace(-5, -4, ROWS), "ebv": np.full(ROWS, 0.05, np.float32),
        "flux_g": np.arange(ROWS, dtype=np.float32), "flux_r": 2 * np.arange(ROWS, dtype=np.float32),
        "flux_z": 3 * np.arange(ROWS, dtype=np.float32),
    }  # fmt: skip
    return {name.upper() if capitals and name not in ("ra", "dec") else name: value for name, value in columns.items()}


def write_hdf5(path, image, bands, changes=None, capitals=True, **catalogue_columns):
    """Write a partition as `legacysurvey` does (in capitals) or `ssl_legacysurvey`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "object_id": np.array([f"0101m050-{i}".encode() for i in range(ROWS)]),
        "image_array": image,
        "image_band": np.array([[band.encode() for band in bands]] * ROWS, "S5"),
        "image_scale": np.full((ROWS, len(bands)), 0.262, np.float32),
        "image_psf_fwhm": np.ones((ROWS, len(bands)), np.float32),
        **catalogue(capitals),
        **catalogue_columns,
        **(changes or {}),
    }
    with h5py.File(path, "w") as file:
        for key, values in columns.items():
            if values is not None:
                options = {"compression": "gzip", "chunks": True, "maxshape": (None, *values.shape[1:])}
                file.create_dataset(key, data=values, **options)
    return path


def keys(release):
    return {
        "RELEASE": np.full(ROWS, release, np.int16),
        "BRICKID": np.arange(300_000, 300_000 + ROWS, dtype=np.int32),
        "OBJID": np.arange(ROWS, dtype=np.int32),
    }


def test_dr10_partitions(tmp_path):
    image = pixels(DR10_BANDS, 160)
    path = write_hdf5(tmp_path / "dr10_south_21/healpix=1/001-of-001.hdf5", image, DR10_BANDS, **keys(10000))
    reader = MmuLegacyImages(tmp_path)
    assert reader.files() == [path]
    index = reader.index(path)
    assert (len(index), index.read) == (ROWS, ROWS)
    assert index.columns["target_id"].tolist() == [int(encode_target_id(10000, 300_000 + i, i)) for i in range(ROWS)]
    assert index.columns["hemisphere"].tolist() == ["south"] * ROWS
    np.testing.assert_array_equal(index.columns["ra"], np.linspace(10, 11, ROWS))
    np.testing.assert_array_equal(index.columns["flux_z"], 3 * np.arange(ROWS))
    assert index.columns["ebv"].dtype == np.float32
    payload = reader.load(path, np.array([3, 0, 4]))
    np.testing.assert_array_equal(payload.columns["image"], image[[3, 0, 4]][:, [0, 1, 3], 4:156, 4:156])
    assert payload.faults.tolist() == ["", "", ""]


def test_dr9_partitions_and_bands_in_any_order(tmp_path):
    bands = ("DES-Z", "DES-G", "DES-R")
    image = pixels(bands, 152)
    lower = {key.lower(): value for key, value in keys(9011).items()}
    path = write_hdf5(tmp_path / "north/healpix=1/001-of-001.hdf5", image, bands, capitals=False, **lower)
    reader = MmuLegacyImages(tmp_path)
    index = reader.index(path)
    assert index.columns["hemisphere"].tolist() == ["north"] * ROWS
    assert index.columns["target_id"][0] == encode_target_id(9011, 300_000, 0)
    np.testing.assert_array_equal(reader.load(path, np.arange(ROWS)).columns["image"], image[:, [1, 2, 0]])


def test_rows_that_cannot_be_used_are_counted(tmp_path):
    bands = np.array([[b.encode() for b in DR10_BANDS]] * ROWS, "S5")
    bands[1, 3] = b"des-y"
    scale = np.full((ROWS, 4), 0.262, np.float32)
    scale[2, 0] = 0.524
    scale[3, 2] = 0.524  # the i band is not read
    dec = np.linspace(-5, -4, ROWS)
    dec[4] = np.nan
    changes = {"image_band": bands, "image_scale": scale, "dec": dec}
    path = write_hdf5(tmp_path / "healpix=1/001-of-001.hdf5", pixels(DR10_BANDS, 160), DR10_BANDS, changes)
    index = MmuLegacyImages(tmp_path).index(path)
    assert index.columns["row"].tolist() == [0, 3]
    assert index.dropped == {
        "position not on the sky": 1,
        "bands g, r, z not all in the file": 1,
        "pixel scale not native": 1,
    }
    # Neither key nor release: matched on the sky, hemisphere not known.
    assert index.columns["target_id"].tolist() == [-1, -1]
    assert index.columns["hemisphere"].tolist() == [None, None]


def test_faults_of_pixels(tmp_path):
    image = pixels(DR10_BANDS, 160)
    image[1, 0] = 0
    image[2, 3, 80, 80] = np.nan
    image[3, 2] = 0  # the i band is not read
    path = write_hdf5(tmp_path / "healpix=1/001-of-001.hdf5", image, DR10_BANDS)
    faults = MmuLegacyImages(tmp_path).load(path, np.arange(ROWS)).faults
    assert faults.tolist() == ["", "g band missing (mostly exactly zero)", "image not finite", "", ""]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_array": None}, "key 'image_array' is missing"),
        ({"image_band": None}, "key 'image_band' is missing"),
        ({"ra": None}, "key 'ra' is missing"),
        ({"image_array": np.zeros((ROWS, 160, 160), np.float32)}, r"'image_array' has shape \(5, 160, 160\)"),
        ({"dec": np.zeros(3)}, "'dec' has 3 rows; expected 5, as 'image_array' has"),
    ],
)
def test_partitions_are_checked(tmp_path, changes, message):
    path = write_hdf5(tmp_path / "healpix=1/odd.hdf5", pixels(DR10_BANDS, 160), DR10_BANDS, changes)
    with pytest.raises(DataError, match=rf"odd\.hdf5: {message}"):
        MmuLegacyImages(tmp_path).index(path)


def test_small_images_are_refused(tmp_path):
    path = write_hdf5(tmp_path / "healpix=1/odd.hdf5", pixels(DR10_BANDS, 150), DR10_BANDS)
    with pytest.raises(DataError, match=r"odd\.hdf5: images of 150 by 150 pixels; expected at least 152"):
        MmuLegacyImages(tmp_path).load(path, np.array([0]))


def test_a_truncated_partition(tmp_path):
    path = write_hdf5(tmp_path / "healpix=1/short.hdf5", pixels(DR10_BANDS, 160), DR10_BANDS)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match=r"short\.hdf5: not a readable HDF5 file"):
        MmuLegacyImages(tmp_path).index(path)


def image_column(image, bands, layout):
    """Return the `image` column as a struct of lists, or a list of structs."""
    rows = [
        {"band": list(bands), "flux": image[i].tolist(), "scale": [0.262] * len(bands), "mask": [True] * len(bands)}
        for i in range(ROWS)
    ]
    field_types = {
        "band": pa.string(),
        "flux": pa.list_(pa.list_(pa.float32())),
        "scale": pa.float32(),
        "mask": pa.bool_(),
    }
    if layout == "struct of lists":
        dtype = pa.struct({name: pa.list_(value) for name, value in field_types.items()})
        return pa.array(rows, dtype)
    turned = [[dict(zip(row, values, strict=True)) for values in zip(*row.values(), strict=True)] for row in rows]
    return pa.array(turned, pa.list_(pa.struct(field_types)))


@pytest.fixture(scope="module")
def parquet_image():
    return pixels(DR10_BANDS, 160)


@pytest.mark.parametrize("layout", ["struct of lists", "list of structs"])
def test_parquet_copies(tmp_path, parquet_image, layout):
    columns = {"image": image_column(parquet_image, DR10_BANDS, layout), **catalogue(), "object_id": ["b'1-1'"] * ROWS}
    path = tmp_path / "mmu_dr10_south_21/dataset/Norder=4/Dir=0/Npix=7.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), path, row_group_size=2)
    reader = MmuLegacyImages(tmp_path)
    index = reader.index(path)
    assert index.columns["row"].tolist() == list(range(ROWS))
    assert index.columns["target_id"].tolist() == [-1] * ROWS
    assert index.columns["hemisphere"].tolist() == ["south"] * ROWS
    np.testing.assert_array_equal(index.columns["flux_r"], 2 * np.arange(ROWS))
    payload = reader.load(path, np.array([4, 1, 1, 0]))
    np.testing.assert_array_equal(payload.columns["image"], parquet_image[[4, 1, 1, 0]][:, [0, 1, 3], 4:156, 4:156])


def test_parquet_written_by_the_hubs_library(tmp_path):
    datasets = pytest.importorskip("datasets")
    image = pixels(("des-g", "des-r", "des-z"), 152)
    features = datasets.Features(
        {
            "image": {
                "band": datasets.List(datasets.Value("string")),
                "flux": datasets.List(datasets.Array2D((152, 152), "float32")),
                "scale": datasets.List(datasets.Value("float32")),
            },
            "ra": datasets.Value("float64"),
            "dec": datasets.Value("float64"),
        }
    )
    rows = [
        {
            "image": {"band": ["des-g", "des-r", "des-z"], "flux": image[i], "scale": [0.262] * 3},
            "ra": 10.0 + i,
            "dec": 1.0,
        }
        for i in range(ROWS)
    ]
    path = tmp_path / "train-00000-of-00001.parquet"
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(path))
    reader = MmuLegacyImages(tmp_path)
    index = reader.index(path)
    assert len(index) == ROWS
    assert np.isnan(index.columns["ebv"]).all()
    np.testing.assert_array_equal(reader.load(path, np.array([2, 0])).columns["image"], image[[2, 0]])


def test_margins_and_thumbnails_are_passed_over(tmp_path):
    for name, kind in (("one", "object"), ("one_10arcs", "margin")):
        folder = tmp_path / name / "dataset" / "Norder=0"
        folder.mkdir(parents=True)
        (tmp_path / name / "hats.properties").write_text(f"dataproduct_type = {kind}\n")
        (folder / "Npix=1.parquet").touch()
        (folder.parent / "data_thumbnail.parquet").touch()
    assert MmuLegacyImages(tmp_path).files() == [tmp_path / "one/dataset/Norder=0/Npix=1.parquet"]
    with pytest.raises(DataError, match="margins and thumbnails alone"):
        MmuLegacyImages(tmp_path / "one_10arcs").files()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": pa.array([1.0])}, "column 'image' has type double; expected a struct of lists"),
        ({"image": pa.array([{"band": ["g"]}])}, "column 'image' has no field 'scale'"),
        ({"flux": pa.array([1.0])}, "column 'image' has type null"),
    ],
)
def test_parquet_columns_are_checked(tmp_path, columns, message):
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.table({**columns, "ra": [1.0], "dec": [1.0]}), path)
    with pytest.raises(DataError, match=rf"odd\.parquet: {message}"):
        MmuLegacyImages(tmp_path).index(path)
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match="column 'ra' is missing"):
        MmuLegacyImages(tmp_path).index(path)


def test_a_truncated_parquet_file(tmp_path, parquet_image):
    path = tmp_path / "short.parquet"
    pq.write_table(pa.table({"image": image_column(parquet_image, DR10_BANDS, "struct of lists"), **catalogue()}), path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match=r"short\.parquet: not a readable Parquet file"):
        MmuLegacyImages(tmp_path).index(path)


def test_band_order():
    names = np.array([["DES-G", "DES-R", "DES-I", "DES-Z"], ["z", "r", "g", "w"], ["des-g", "des-r", "des-y", "des-w"]])
    assert band_order(names).tolist() == [[0, 1, 3], [2, 1, 0], [0, 1, -1]]
