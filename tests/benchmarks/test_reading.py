"""Reading batches through Arrow without copies, against the `torch` formatter of `datasets` on the same file."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from astroclip_bench.datasets import batches_from_hf, numpy_to_arrow
from astroclip_bench.records import COLUMNS

ROWS = 1_000
FORMATTED_ROWS = {"image": 125, "flux": 1_000}
"""The formatter takes some 10 ms an image: an eighth of the rows tells its rate."""
PAGE_VALUES = 1024
"""float32 values in a page of memory: one of each is added up, so that all of the mapped file is really read, while
the arithmetic, which is the same for both, does not hide the difference."""
BATCH_ROWS = 125
CHUNK_ROWS = 250
MINIMUM_RATIO = 5.0
REPEATS = 3
SHAPES = {"image": (3, 152, 152), "flux": (7781,)}


@pytest.fixture(scope="module", params=SHAPES)
def mapped(tmp_path_factory, request):
    """Return the column's name and 1,000 rows of it (277 or 31 MB) as a memory-mapped `datasets.Dataset`."""
    import datasets

    column = request.param
    path = tmp_path_factory.mktemp("arrow") / f"{column}.arrow"
    schema = pa.schema([COLUMNS["object_id"].field(), COLUMNS[column].field()])
    random = np.random.default_rng(0)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, ROWS, CHUNK_ROWS):
            values = random.standard_normal((CHUNK_ROWS, *SHAPES[column]), dtype=np.float32)
            names = pa.array([str(start + row) for row in range(CHUNK_ROWS)])
            writer.write_batch(pa.record_batch([names, numpy_to_arrow(values)], schema=schema))
    return column, datasets.Dataset.from_file(str(path))


def through_arrow(dataset, column) -> float:
    batches = batches_from_hf(dataset, [column], BATCH_ROWS)
    return sum(float(batch.arrays[column].reshape(-1)[::PAGE_VALUES].sum(dtype=np.float64)) for batch in batches)


def through_torch_format(dataset, column) -> float:
    batches = dataset.select_columns([column]).with_format("torch").iter(batch_size=BATCH_ROWS)
    return sum(float(batch[column].reshape(-1)[::PAGE_VALUES].double().sum()) for batch in batches)


def cpu_seconds(read: Callable[[], float], repeats: int) -> float:
    """Return the least CPU time of a few runs; wall time says little on a shared machine."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        read()
        times.append(time.process_time() - start)
    return min(times)


def test_reading_beats_the_torch_format(mapped, benchmark):
    column, dataset = mapped
    few = dataset.select(range(FORMATTED_ROWS[column]))
    assert through_arrow(few, column) == pytest.approx(through_torch_format(few, column), rel=1e-6)
    formatted = FORMATTED_ROWS[column] / cpu_seconds(lambda: through_torch_format(few, column), REPEATS)
    arrow = ROWS / cpu_seconds(lambda: through_arrow(dataset, column), REPEATS)
    benchmark(through_arrow, dataset, column)
    benchmark.extra_info.update(
        rows_a_second_arrow=round(arrow),
        rows_a_second_torch_format=round(formatted),
        ratio_of_cpu_times=round(arrow / formatted, 1),
    )
    assert arrow / formatted >= MINIMUM_RATIO
