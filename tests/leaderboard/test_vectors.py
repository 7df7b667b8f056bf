"""Files of embeddings: what is written comes back, and what claims or unpacks to more than it may is refused."""

from __future__ import annotations

import resource
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboard.errors import SubmissionError
from leaderboard.vectors import (
    ID_BYTES,
    Layout,
    common_exponent,
    memory_bound,
    read_vectors,
    to_float16,
    write_vectors,
)

ROWS, DIMENSION = 50, 6
LAYOUT = Layout(("image", "spectrum"), DIMENSION, ("predicted_redshift_from_image",))
IDS = [str(1000 + row) for row in range(ROWS)]


def arrays(scale=1.0):
    random = np.random.default_rng(0)
    vectors = {name: (scale * random.normal(size=(ROWS, DIMENSION))).astype(np.float32) for name in LAYOUT.modalities}
    return {**vectors, LAYOUT.predictions[0]: random.uniform(size=ROWS).astype(np.float32)}


def written(path, **columns):
    """Write a table that is right but for the columns given."""
    content = {
        "object_id": pa.array(IDS),
        **{name: pa.array(list(np.ones((ROWS, DIMENSION), np.float16)), LAYOUT.schema().field(name).type) for name in LAYOUT.modalities},
        LAYOUT.predictions[0]: pa.array(np.ones(ROWS, np.float32)),
        **columns,
    }  # fmt: skip
    pq.write_table(pa.table(content), path)
    return path


def test_vectors_come_back_to_float16(tmp_path):
    found = arrays()
    exponent = common_exponent([found], LAYOUT.modalities)
    write_vectors(tmp_path / "test.parquet", LAYOUT, IDS, to_float16(found, LAYOUT.modalities, exponent))
    ids, back = read_vectors(tmp_path / "test.parquet", LAYOUT, IDS)
    assert ids == IDS
    for name in LAYOUT.modalities:
        assert back[name].dtype == np.float16
        assert np.allclose(back[name].astype(float) / 2.0**exponent, found[name], rtol=2**-10, atol=1e-6)
    assert np.array_equal(back[LAYOUT.predictions[0]], found[LAYOUT.predictions[0]])


@given(st.floats(1e-30, 1e30), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_vectors_of_any_size_fit_into_float16(scale, power):
    found = arrays(scale * 10.0**power if scale < 1e27 else scale)
    exponent = common_exponent([found], LAYOUT.modalities)
    rounded = to_float16(found, LAYOUT.modalities, exponent)
    for name in LAYOUT.modalities:
        assert np.isfinite(rounded[name]).all()
        largest = np.abs(found[name]).max()
        assert np.allclose(
            np.ldexp(rounded[name].astype(float), -exponent), found[name], rtol=2**-10, atol=1e-9 * largest
        )


def test_zeros_stay_zeros():
    zeros = {"image": np.zeros((3, 2), np.float32)}
    assert not to_float16(zeros, ("image",), common_exponent([zeros], ("image",)))["image"].any()


def test_other_writers_and_types_of_lists_are_told_apart(tmp_path):
    read_vectors(written(tmp_path / "good.parquet"), LAYOUT, IDS)
    ragged = pa.array([[1.0] * (1 + row % 3) for row in range(ROWS)], pa.list_(pa.float16()))
    nested = pa.array([[[1.0]] * DIMENSION] * ROWS, pa.list_(pa.list_(pa.float32())))
    for column in (
        ragged,
        nested,
        pa.array(["a"] * ROWS),
        pa.array([None] * ROWS, LAYOUT.schema().field("image").type),
    ):
        with pytest.raises(SubmissionError, match=r"image|values"):
            read_vectors(written(tmp_path / "bad.parquet", image=column), LAYOUT, IDS)


def test_what_is_no_parquet_is_refused(tmp_path):
    whole = written(tmp_path / "whole.parquet").read_bytes()
    for content in (b"", b"PAR1", b"PAR1PAR1", whole[:-20], whole[: len(whole) // 2], b"PK\x03\x04" + b"\0" * 100):
        (tmp_path / "bad.parquet").write_bytes(content)
        with pytest.raises(SubmissionError, match="Parquet"):
            read_vectors(tmp_path / "bad.parquet", LAYOUT, IDS)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_file_with_any_byte_changed_is_read_or_refused_in_words(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes") / "test.parquet"
    content = bytearray(written(path).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        ids, _ = read_vectors(path, LAYOUT, IDS)
    except SubmissionError:
        return
    assert len(ids) == ROWS


def test_links_are_not_followed(tmp_path):
    (tmp_path / "link.parquet").symlink_to(written(tmp_path / "good.parquet"))
    with pytest.raises(SubmissionError, match="plain"):
        read_vectors(tmp_path / "link.parquet", LAYOUT, IDS)


def refused_at_once(path):
    """Return why a file is refused; it takes neither time nor memory."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(SubmissionError) as refused:
        read_vectors(path, LAYOUT, IDS)
    assert time.perf_counter() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB"
    return str(refused.value)


def test_many_rows_in_few_bytes(tmp_path):
    """Ten million rows of zeros take 100 kB on disk."""
    path, part = tmp_path / "bomb.parquet", 2**20
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(DIMENSION * part, np.float16)), DIMENSION)
    table = pa.table(
        {
            "object_id": pa.array(["0"] * part),
            "image": column,
            "spectrum": column,
            LAYOUT.predictions[0]: pa.array(np.zeros(part, np.float32)),
        }
    )
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(table)
    del table, column
    assert path.stat().st_size < 1e6
    assert "10,485,760 rows" in refused_at_once(path)


def test_long_lists_in_few_bytes(tmp_path):
    longest = 2**20
    kind = pa.list_(pa.float16(), longest)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(ROWS * longest, np.float16)), longest)
    path = written(tmp_path / "bomb.parquet", image=pa.chunked_array([vectors], kind))
    del vectors
    assert "image" in refused_at_once(path)


def test_one_long_id_for_all_rows(tmp_path):
    """A dictionary holds the id once; written out, it would be there for every row."""
    path = written(tmp_path / "bomb.parquet", object_id=pa.array(["x" * 2**18] * ROWS))
    assert "id" in refused_at_once(path)
    path = written(tmp_path / "long.parquet", object_id=pa.array(["x" * (ID_BYTES + 1)] * ROWS))
    assert f"an id of {ID_BYTES + 1} bytes" in refused_at_once(path)


def test_many_columns(tmp_path):
    more = {f"column {place}": pa.array(np.zeros(ROWS, np.float32)) for place in range(2000)}
    message = refused_at_once(written(tmp_path / "bomb.parquet", **more))
    assert "bytes" in message or "column" in message


def test_memory_is_bounded_while_a_file_is_read():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(MemoryError), memory_bound(50 * 2**20):
        np.ones(2**27)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(np.ones(2**24)) == 2**24
