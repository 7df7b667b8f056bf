"""Miniature files in the layout of Stein et al. are read as they are, and refused by name where they are not so."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.errors import DataError
from dataset_builders.upstream.desi_targets import decode_target_id
from dataset_builders.upstream.legacy_stein import SteinImages

h5py = pytest.importorskip("h5py")

ROWS = 6


def write_shard(folder, rows=ROWS, start=0, **changes):
    """Write a shard with all of its keys; one given as None is left out."""
    random = np.random.default_rng(start)
    band_columns = ("flux", "fiberflux", "psfsize", "psfdepth", "nobs", "fracin", "transmission")
    columns = {
        "images": random.normal(0.01, 0.1, (rows, 3, 152, 152)).astype(np.float32),
        "ra": random.uniform(0, 360, rows).astype(np.float32),
        "dec": random.uniform(-20, 80, rows).astype(np.float32),
        "release": np.full(rows, 9010, np.int16),
        "brickid": np.arange(600_000, 600_000 + rows, dtype=np.int32),
        "objid": np.arange(rows, dtype=np.int32),
        "inds": np.arange(start, start + rows),
        "ebv": random.uniform(0, 0.1, rows).astype(np.float32),
        **{key: random.uniform(1, 9, (rows, 3)).astype(np.float32) for key in band_columns},
        "maskbits": np.zeros(rows, np.int16),
        "source_type": np.full(rows, b"SER"),
        "z_spec": np.full(rows, -99, np.float32),
        "z_training": np.zeros(rows, bool),
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"images_npix152_{start:09d}_{start + rows:09d}.h5"
    with h5py.File(path, "w") as file:
        for key, values in columns.items():
            if values is not None:
                file[key] = values
    return path


def test_files_of_both_hemispheres(tmp_path):
    paths = [write_shard(tmp_path / "images" / name) for name in ("north", "south")]
    repeated = write_shard(tmp_path / "images/south-train")
    (tmp_path / "images/south/notes.txt").write_text("no images")
    assert SteinImages(tmp_path).files() == paths
    assert SteinImages(tmp_path / "images/south").files() == paths[1:]
    assert SteinImages(paths[0]).files() == paths[:1]
    assert SteinImages(repeated.parent).files() == [repeated]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no file images_npix152_\*\.h5"):
        SteinImages(tmp_path / "empty").files()


def test_index(tmp_path):
    flux = np.arange(3 * ROWS, dtype=np.float32).reshape(ROWS, 3)
    path = write_shard(tmp_path / "images/south", start=20, flux=flux)
    index = SteinImages(tmp_path).index(path)
    assert (index.read, len(index)) == (ROWS, ROWS)
    assert index.dropped == {"position not on the sky": 0}
    key = decode_target_id(index.columns["target_id"])
    assert key.release.tolist() == [9010] * ROWS
    assert key.brick_id.tolist() == list(range(600_000, 600_000 + ROWS))
    assert key.brick_object_id.tolist() == list(range(ROWS))
    with h5py.File(path) as file:
        for name in ("ra", "dec", "ebv"):
            np.testing.assert_array_equal(index.columns[name], file[name][:])
    assert index.columns["ra"].dtype == np.float64
    assert index.columns["inds"].tolist() == list(range(20, 20 + ROWS))
    np.testing.assert_array_equal(np.stack([index.columns[f"flux_{band}"] for band in "grz"], axis=1), flux)


def test_the_known_object(tmp_path):
    """The check value of the identifier: release 9011, brick 618237, object 989."""
    parts = {"release": [9011, 9011], "brickid": [618237, 618237], "objid": [989, 990]}
    path = write_shard(tmp_path / "north", 2, **{key: np.array(value, np.int32) for key, value in parts.items()})
    assert SteinImages(tmp_path).index(path).columns["target_id"][0] == 39633390185481181


def test_parts_that_make_no_identifier(tmp_path):
    release = np.array([9010, 0, -1, 9010, 9010, 9010], np.int32)
    brick = np.array([1, 1, 1, -5, 1 << 20, 1], np.int32)
    number = np.array([1, 1, 1, 1, 1, 1 << 22], np.int32)
    path = write_shard(tmp_path / "south", release=release, brickid=brick, objid=number)
    index = SteinImages(tmp_path).index(path)
    assert (index.columns["target_id"] == -1).tolist() == [False, True, True, True, True, True]


def test_hemisphere_is_the_releases_then_the_folders(tmp_path):
    release = np.array([9010, 9011, 9012, 9999, 4321, 0], np.int16)
    for folder, otherwise in (("south", "south"), ("north", "north"), ("mine", None)):
        index = SteinImages(tmp_path).index(write_shard(tmp_path / folder, release=release))
        found = index.columns["hemisphere"].tolist()
        assert found == ["south", "north", "south", "south", otherwise, otherwise]


def test_positions_off_the_sky_are_dropped(tmp_path):
    ra = np.array([0, 360, 361, np.nan, 10, 10], np.float64)
    dec = np.array([0, 90, 0, 0, -91, np.inf], np.float64)
    index = SteinImages(tmp_path).index(write_shard(tmp_path / "south", ra=ra, dec=dec))
    assert index.columns["row"].tolist() == [0, 1]
    assert index.dropped == {"position not on the sky": 4}


@pytest.mark.parametrize("rows", [[5, 0, 3], [0, 1, 2], [2, 2, 4], [1]])
def test_images_of_rows_in_any_order(tmp_path, rows):
    path = write_shard(tmp_path / "south")
    payload = SteinImages(tmp_path).load(path, np.array(rows))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(payload.columns["image"], file["images"][:][rows])
    assert payload.columns["image"].dtype == np.float32
    assert payload.faults.tolist() == [""] * len(rows)


def test_faults(tmp_path):
    image = np.random.default_rng(1).normal(0, 1, (ROWS, 3, 152, 152)).astype(np.float32)
    image[1, 2, :77] = 0  # 51 %
    image[2, 0, :75] = 0  # 49 %
    image[3, 1, 3, 3] = np.inf
    image[4] = 0
    image[5, 2], image[5, 0, 0, 0] = 0, np.nan
    path = write_shard(tmp_path / "south", images=image)
    assert SteinImages(tmp_path).load(path, np.arange(ROWS)).faults.tolist() == [
        "",
        "z band missing (mostly exactly zero)",
        "",
        "image not finite",
        "g band missing (mostly exactly zero)",
        "image not finite",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({key: None}, f"key '{key}' is missing") for key in ("images", "ra", "objid", "ebv", "flux", "inds")),
        ({"images": np.zeros((ROWS, 152, 152, 3), np.float32)}, r"'images' has shape .*expected \(any, 3, 152, 152\)"),
        ({"images": np.zeros((ROWS, 3, 152, 152), np.uint8)}, "'images' has type uint8; expected numpy kind f"),
        ({"flux": np.zeros(ROWS, np.float32)}, r"'flux' has shape \(6,\); expected \(any, 3\)"),
        ({"release": np.zeros(ROWS, np.float32)}, "'release' has type float32"),
        ({"dec": np.zeros(ROWS - 1)}, "'dec' has 5 rows; expected 6, as 'images' has"),
    ],
)
def test_files_are_checked(tmp_path, changes, message):
    path = write_shard(tmp_path / "south", **changes)
    with pytest.raises(DataError, match=rf"images_npix152_000000000_000000006\.h5: {message}"):
        SteinImages(tmp_path).index(path)


def test_a_truncated_file(tmp_path):
    path = write_shard(tmp_path / "south")
    path.write_bytes(path.read_bytes()[: ROWS * 100_000])
    reader = SteinImages(tmp_path)
    for attempt in (lambda: reader.index(path), lambda: reader.load(path, np.array([0]))):
        with pytest.raises(DataError, match=r"000000006\.h5: not a readable HDF5 file"):
            attempt()


def test_memory_is_that_of_the_rows(tmp_path):
    """Of a file of 300 images (83 MB), twenty are loaded in little more than their own 5.5 MB."""
    import tracemalloc

    image = np.ones((300, 3, 152, 152), np.float32)
    path = write_shard(tmp_path / "south", 300, images=image)
    del image
    tracemalloc.start()
    try:
        SteinImages(tmp_path).load(path, np.arange(0, 300, 15))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * 20 * 3 * 152 * 152 * 4
