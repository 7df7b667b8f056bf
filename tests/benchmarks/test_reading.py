"""Reading batches of images: Arrow without copies against the `torch` formatter of `datasets`."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from astroclip_bench.datasets import batches_from_hf, numpy_to_arrow
from astroclip_bench.records import COLUMNS, nested_list

ROWS = 1_000
BATCH_ROWS = 256
CHUNK_ROWS = 250
MINIMUM_RATIO = 5.0
REPEATS = 3


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Return 1,000 images (277 MB) as a memory-mapped `datasets.Dataset`."""
    import datasets

    path = tmp_path_factory.mktemp("arrow") / "images.arrow"
    shape = (3, 152, 152)
    schema = pa.schema([COLUMNS["object_id"].field(), pa.field("image", nested_list(shape))])
    random = np.random.default_rng(0)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, ROWS, CHUNK_ROWS):
            images = random.standard_normal((CHUNK_ROWS, *shape), dtype=np.float32)
            names = pa.array([str(start + row) for row in range(CHUNK_ROWS)])
            writer.write_batch(pa.record_batch([names, numpy_to_arrow(images)], schema=schema))
    return datasets.Dataset.from_file(str(path))


def through_arrow(dataset) -> float:
    return sum(
        float(batch.arrays["image"][:, 0, 0, 0].sum()) for batch in batches_from_hf(dataset, ["image"], BATCH_ROWS)
    )


def through_torch_format(dataset) -> float:
    batches = dataset.with_format("torch").iter(batch_size=BATCH_ROWS)
    return sum(float(batch["image"][:, 0, 0, 0].sum()) for batch in batches)


def cpu_seconds(read: Callable[[], float]) -> float:
    """Return the least CPU time of a few runs; wall time says little on a shared machine."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        read()
        times.append(time.process_time() - start)
    return min(times)


def test_reading_beats_the_torch_format(mapped, benchmark):
    assert through_arrow(mapped) == pytest.approx(through_torch_format(mapped), rel=1e-3)
    formatted = cpu_seconds(lambda: through_torch_format(mapped))
    arrow = cpu_seconds(lambda: through_arrow(mapped))
    benchmark(through_arrow, mapped)
    benchmark.extra_info.update(
        rows=ROWS,
        rows_a_second_arrow=round(ROWS / arrow),
        rows_a_second_torch_format=round(ROWS / formatted),
        ratio_of_cpu_times=round(formatted / arrow, 1),
    )
    assert formatted / arrow >= MINIMUM_RATIO
