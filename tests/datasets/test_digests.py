"""The content digest sees values, and nothing of how they are stored."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_source import TinySource

from astroclip_bench.datasets.digests import ContentDigest, type_name
from astroclip_bench.datasets.parquet import scan_rows
from astroclip_bench.records import nested_list, preview_column

TABLE = pa.Table.from_batches(list(TinySource().rows(0)))
PINNED = "eb8784a0ba2177abd853fa3d67f583d1"


def digest_of(*tables: pa.Table) -> str:
    digest = ContentDigest(tables[0].schema)
    for table in tables:
        digest.update(table)
    return digest.hexdigest()


def test_type_names():
    assert type_name(nested_list((3, 2))) == "float[3,2]"
    assert type_name(pa.string()) == "string"


def test_pinned_for_all_versions():
    rows = pa.table(
        {
            "object_id": pa.array(["a", "bc", None]),
            "redshift": pa.array([0.5, None, -1.0], pa.float32()),
            "flux": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], nested_list((2,))),
            "healpix": pa.array([1, 2, 3], pa.int64()),
            "good": pa.array([True, False, None]),
        }
    )
    assert digest_of(rows) == PINNED


@pytest.mark.parametrize("rows", [1, 7, 40])
def test_where_batches_end_does_not_matter(rows):
    parts = [TABLE.slice(start, rows) for start in range(0, TABLE.num_rows, rows)]
    assert digest_of(*parts) == digest_of(TABLE)


@pytest.mark.parametrize("options", [{"compression": "none"}, {"compression": "snappy", "row_group_size": 3}])
def test_storage_does_not_matter(tmp_path, options):
    path = tmp_path / "rows.parquet"
    pq.write_table(TABLE, path, **options)
    assert scan_rows(path).content == digest_of(TABLE)


def changed(name: str, column: pa.Array) -> pa.Table:
    return TABLE.set_column(TABLE.schema.get_field_index(name), TABLE.schema.field(name), column)


def test_values_missing_flags_and_strings_matter():
    redshift = TABLE["redshift"].to_pylist()
    identifiers = TABLE["object_id"].to_pylist()
    filled = [0.0 if value is None else value for value in redshift]
    swapped = [identifiers[0] + identifiers[1][0], identifiers[1][1:], *identifiers[2:]]
    variants = [
        TABLE,
        changed("redshift", pa.array([*redshift[:-1], 0.123], pa.float32())),
        changed("redshift", pa.array(filled, pa.float32())),
        changed("object_id", pa.array(swapped)),
        TABLE.slice(1),
        TABLE.rename_columns(["id", *TABLE.schema.names[1:]]),
    ]
    assert len({digest_of(table) for table in variants}) == len(variants)


def test_value_under_a_null_does_not_matter():
    values = pa.array([1.0, 2.0], pa.float32())
    hidden = pa.Array.from_buffers(pa.float32(), 2, [pa.py_buffer(b"\x01"), values.buffers()[1]])
    assert hidden.to_pylist() == [1.0, None]
    plain = pa.table({"x": pa.array([1.0, None], pa.float32())})
    assert digest_of(pa.table({"x": hidden})) == digest_of(plain)


def test_missing_arrays_enter_the_digest_whatever_lies_under_them():
    schema = pa.schema([pa.field("samples", nested_list((2,)))])
    values = pa.array([1.0, 2.0, 7.0, 8.0], pa.float32())
    hidden = pa.FixedSizeListArray.from_arrays(values, type=nested_list((2,)), mask=pa.array([False, True]))
    plain = pa.array([[1.0, 2.0], None], nested_list((2,)))
    zeros = pa.array([[1.0, 2.0], [0.0, 0.0]], nested_list((2,)))
    digests = []
    for column in (hidden, plain, zeros):
        digest = ContentDigest(schema)
        digest.update(pa.record_batch([column], schema=schema))
        digests.append(digest.hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_previews_are_no_part_of_the_digest():
    fields = [pa.field("n", pa.int64()), preview_column().field()]
    digests = []
    for picture in (b"one", b"another"):
        digest = ContentDigest(pa.schema(fields))
        previews = pa.array([{"bytes": picture, "path": None}], fields[1].type)
        digest.update(pa.record_batch([pa.array([1]), previews], schema=pa.schema(fields)))
        digests.append(digest.hexdigest())
    assert digests[0] == digests[1]
