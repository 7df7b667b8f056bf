"""Reading batches through Arrow without copies, against the `torch` formatter of `datasets` on the same file."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from astroclip_bench.datasets import batches_from_hf, numpy_to_arrow
from astroclip_bench.records import COLUMNS

ROWS = 500
IMAGE_ROWS = 125
"""The formatter takes some 3 ms an image: a quarter of the rows tells its rate."""
BATCH_ROWS = 125
CHUNK_ROWS = 250
MINIMUM_RATIO = 5.0
REPEATS = 5
SHAPES = {"image": (3, 152, 152), "flux": (7781,), "ivar": (7781,)}
PAGE_VALUES = 1024
"""float32 values in a page of memory."""

Use = Callable[[np.ndarray], float]


def touch(array: np.ndarray) -> float:
    """Read one value of each page: all of the mapped file is fetched, and arithmetic hides nothing."""
    return float(array.reshape(-1)[::PAGE_VALUES].sum(dtype=np.float64))


def add_up(array: np.ndarray) -> float:
    """Read every value."""
    return float(array.sum(dtype=np.float64))


CASES = {
    "images, touched": (["image"], touch),
    "spectra, touched": (["flux"], touch),
    "whole records, every value added up": (["image", "flux", "ivar"], add_up),
}


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Return 500 galaxies (170 MB) as a memory-mapped `datasets.Dataset`."""
    import datasets

    path = tmp_path_factory.mktemp("arrow") / "galaxies.arrow"
    schema = pa.schema([COLUMNS[name].field() for name in ("object_id", *SHAPES)])
    random = np.random.default_rng(0)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, ROWS, CHUNK_ROWS):
            names = pa.array([str(start + row) for row in range(CHUNK_ROWS)])
            values = [random.standard_normal((CHUNK_ROWS, *shape), dtype=np.float32) for shape in SHAPES.values()]
            arrays = [names, *(numpy_to_arrow(array) for array in values)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    return datasets.Dataset.from_file(str(path))


def through_arrow(dataset, columns: list[str], use: Use) -> float:
    batches = batches_from_hf(dataset, columns, BATCH_ROWS)
    return sum(use(batch.arrays[column]) for batch in batches for column in columns)


def through_torch_format(dataset, columns: list[str], use: Use) -> float:
    batches = dataset.select_columns(columns).with_format("torch").iter(batch_size=BATCH_ROWS)
    return sum(use(batch[column].numpy()) for batch in batches for column in columns)


def cpu_seconds(read: Callable[[], float]) -> float:
    """Return the least CPU time of a few runs; wall time says little on a shared machine."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        read()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("case", CASES)
def test_reading_beats_the_torch_format(mapped, benchmark, case):
    columns, use = CASES[case]
    dataset = mapped.select(range(IMAGE_ROWS)) if "image" in columns else mapped
    assert through_arrow(dataset, columns, use) == pytest.approx(through_torch_format(dataset, columns, use), rel=1e-6)
    theirs = cpu_seconds(lambda: through_torch_format(dataset, columns, use))
    ours = cpu_seconds(lambda: through_arrow(dataset, columns, use))
    benchmark(through_arrow, dataset, columns, use)
    benchmark.extra_info.update(
        rows_a_second_arrow=round(len(dataset) / ours),
        rows_a_second_torch_format=round(len(dataset) / theirs),
        ratio_of_cpu_times=round(theirs / ours, 1),
    )
    assert theirs / ours >= MINIMUM_RATIO
