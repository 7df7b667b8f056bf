"""HDF5 files are opened and their arrays checked, with errors that name file and key."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.errors import DataError, StorageError
from dataset_builders.hdf5 import hdf5_dataset, open_hdf5, read_rows

h5py = pytest.importorskip("h5py")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.h5"
    with h5py.File(path, "w") as file:
        file["cube"] = np.arange(5 * 2 * 4 * 4, dtype=np.float32).reshape(5, 2, 4, 4)
        file.create_dataset("rows", data=file["cube"][:], chunks=(1, 2, 4, 4), compression="gzip")
        file["number"] = 7
        file["part/inner"] = np.arange(5)
    return path


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [4, 0, 0, 2], [3], []])
@pytest.mark.parametrize("key", ["cube", "rows"])
def test_rows_in_any_order(path, key, rows):
    with open_hdf5(path) as file:
        cube = hdf5_dataset(file, key, (None, 4, 4))
        whole = cube[:]
        np.testing.assert_array_equal(read_rows(cube, np.array(rows, np.int64)), whole[rows])
        part = read_rows(cube, np.array(rows, np.int64), slice(None), slice(1, 3), slice(1, 3))
        np.testing.assert_array_equal(part, whole[rows][:, :, 1:3, 1:3])


@pytest.mark.parametrize(
    ("key", "options", "message"),
    [
        ("flux", {}, "key 'flux' is missing; expected it among cube, number, part, rows"),
        ("part", {}, "key 'part' is a group; expected an array"),
        ("number", {"kinds": "iu"}, r"'number' has shape \(\); expected \(any\)"),
        ("cube", {"row_shape": (2, 4)}, r"'cube' has shape \(5, 2, 4, 4\); expected \(any, 2, 4\)"),
        ("cube", {"row_shape": (3, None, None)}, r"'cube' has shape .*expected \(any, 3, any, any\)"),
        ("part/inner", {}, "'part/inner' has type int64; expected numpy kind f"),
    ],
)
def test_arrays_are_checked(path, key, options, message):
    with open_hdf5(path) as file, pytest.raises(DataError, match=rf"some\.h5: {message}"):
        hdf5_dataset(file, key, **options)


def test_a_damaged_file_is_named(path, tmp_path):
    whole = path.read_bytes()
    (tmp_path / "short.h5").write_bytes(whole[: len(whole) - 600])
    with (
        pytest.raises(DataError, match=r"short\.h5: not a readable HDF5 file \(.*truncated.*download"),
        open_hdf5(tmp_path / "short.h5"),
    ):
        pytest.fail("opened")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(DataError, match=r"text\.h5: not a readable HDF5 file"), open_hdf5(tmp_path / "text.h5"):
        pytest.fail("opened")
    with pytest.raises(StorageError, match="missing"), open_hdf5(tmp_path / "missing.h5"):
        pytest.fail("opened")
