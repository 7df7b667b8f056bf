"""Arrow columns become numpy arrays without copies, whatever slice or chunk they are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from astroclip_bench.datasets.arrays import arrow_to_numpy, numpy_to_arrow, select_rows, select_table_rows
from astroclip_bench.errors import DataError
from astroclip_bench.records import nested_list

CUBE = np.arange(5 * 2 * 3 * 4, dtype=np.float32).reshape(5, 2, 3, 4)


def test_round_trip_shares_memory():
    column = numpy_to_arrow(CUBE)
    assert column.type == nested_list((2, 3, 4))
    back = arrow_to_numpy(column)
    np.testing.assert_array_equal(back, CUBE)
    assert np.shares_memory(back, CUBE)
    assert not back.flags.writeable


@pytest.mark.parametrize(("start", "length"), [(0, 5), (1, 3), (4, 1), (2, 0)])
def test_slices_keep_their_offset(start, length):
    part = numpy_to_arrow(CUBE).slice(start, length)
    found = arrow_to_numpy(part)
    np.testing.assert_array_equal(found, CUBE[start : start + length])
    assert found.shape == (length, 2, 3, 4)
    assert length == 0 or np.shares_memory(found, CUBE)


def test_a_slice_of_a_slice():
    part = numpy_to_arrow(CUBE).slice(1).slice(1, 2)
    np.testing.assert_array_equal(arrow_to_numpy(part), CUBE[2:4])


def test_chunks_are_joined():
    column = pa.chunked_array([numpy_to_arrow(CUBE[:2]), numpy_to_arrow(CUBE).slice(2)])
    np.testing.assert_array_equal(arrow_to_numpy(column), CUBE)
    empty = arrow_to_numpy(pa.chunked_array([], nested_list((2, 3))))
    assert empty.shape == (0, 2, 3)
    assert empty.dtype == np.float32


def test_scalars():
    values = pa.array([1.5, None, 3.0], pa.float32()).slice(1)
    found = arrow_to_numpy(values)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [np.nan, 3.0])
    np.testing.assert_array_equal(arrow_to_numpy(pa.array([1, None, 3])), [1, np.nan, 3])
    np.testing.assert_array_equal(arrow_to_numpy(pa.array([True, None])), [1, np.nan])
    assert arrow_to_numpy(pa.array(["a", None])).tolist() == ["a", None]
    assert np.shares_memory(arrow_to_numpy(pa.array(CUBE[0, 0, 0])), CUBE)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1.0, None]], nested_list((2,))),
        pa.array([[[1.0, 2.0], None]], nested_list((2, 2))),
    ],
)
def test_arrays_with_missing_parts_are_refused(column):
    with pytest.raises(DataError, match="1 null values"):
        arrow_to_numpy(column)


@pytest.mark.parametrize("offset", [0, 1])
def test_a_missing_array_becomes_nan(offset):
    column = pa.array([[9.0, 9.0], [1.0, 2.0], None, [3.0, 4.0]], nested_list((2,))).slice(offset)
    expected = np.array([[9, 9], [1, 2], [np.nan, np.nan], [3, 4]], np.float32)[offset:]
    np.testing.assert_array_equal(arrow_to_numpy(column), expected)


def test_wrong_shape_is_refused():
    with pytest.raises(DataError, match=r"\(2, 3, 4\).*expected shape \(2, 3\)"):
        numpy_to_arrow(CUBE, nested_list((2, 3)))


def test_values_are_converted_to_the_type_asked_for():
    assert numpy_to_arrow(np.zeros((2, 3)), nested_list((3,))).type == nested_list((3,))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("offset", [0, 7])
def test_rows_of_a_slice_of_arrays_can_be_selected(share, offset):
    # Arrow's own filter ends the process here.
    values = np.random.default_rng(0).normal(size=(60, 3, 20, 20)).astype(np.float32)
    batch = pa.record_batch({"image": numpy_to_arrow(values), "n": pa.array(range(60))}).slice(offset)
    mask = np.random.default_rng(1).random(60 - offset) < share
    chosen = select_rows(batch, mask)
    np.testing.assert_array_equal(arrow_to_numpy(chosen["image"]), values[offset:][mask])
    table = select_table_rows(pa.Table.from_batches([batch]), mask)
    np.testing.assert_array_equal(arrow_to_numpy(table["image"]), values[offset:][mask])
    assert table["n"].to_pylist() == chosen["n"].to_pylist() == (np.arange(offset, 60)[mask]).tolist()
