"""An object depends on the survey's seed and its own number, and on nothing else."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from dataset_builders.mock_survey.random import Stage, stream
from dataset_builders.mock_survey.source import MockSurvey
from dataset_builders.splits import healpix_pixel, split_of_pixel

NUMBERS = list(range(24))
HASH_SCRIPT = """
import sys
from dataset_builders.mock_survey.source import MockSurvey
from tests.dataset_builders.mock_survey.digests import digests
print("\\n".join(digests(MockSurvey(24, seed=11), [int(number) for number in sys.argv[1:]])))
"""


@pytest.fixture(scope="module")
def survey() -> MockSurvey:
    return MockSurvey(24, seed=11)


@pytest.fixture(scope="module")
def rows(survey) -> pa.Table:
    return pa.Table.from_batches(survey.rows(0))


def same(left: pa.Table, right: pa.Table) -> bool:
    """Compare columns; Arrow's `equals` on nested lists is exact, NaN (there is none) aside."""
    return left.schema.equals(right.schema) and all(left[name].equals(right[name]) for name in left.schema.names)


def test_objects_alone_in_reverse_order_equal_the_shard(survey, rows):
    alone = [pa.Table.from_batches(survey.objects([number])) for number in reversed(NUMBERS)]
    assert same(rows, pa.concat_tables(alone[::-1]).combine_chunks())


def test_processes_with_several_blas_threads_equal_the_shard(survey, rows):
    from tests.dataset_builders.mock_survey.digests import digests

    environment = {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    halves = (NUMBERS[1::2], NUMBERS[::2])
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda half: run_script(half, environment), halves))
    here = digests(survey, NUMBERS)
    assert found[0] == here[1::2]
    assert found[1] == here[::2]


def run_script(numbers: list[int], environment: dict[str, str]) -> list[str]:
    import os

    command = [sys.executable, "-c", HASH_SCRIPT, *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return done.stdout.split()


def test_a_larger_survey_of_the_same_seed_begins_with_the_smaller(survey, rows):
    larger = MockSurvey(10_000, seed=11)
    assert [batch["flux_r"].to_pylist() for batch in larger.objects([3])][0] == rows["flux_r"].to_pylist()[3:4]
    other = MockSurvey(24, seed=12)
    assert next(other.objects([3]))["flux_r"].to_pylist() != rows["flux_r"].to_pylist()[3:4]


def test_splits_can_be_made_alone(survey, rows):
    wanted = pa.Table.from_batches(survey.rows(0, splits={"test", "validation"}))
    names = np.array(rows["split"].to_pylist())
    assert wanted["object_id"].to_pylist() == list(np.array(rows["object_id"].to_pylist())[names != "train"])
    assert wanted["image"][0].equals(rows["image"][int(np.flatnonzero(names != "train")[0])])


def test_position_pixel_and_split_agree(rows):
    pixels = healpix_pixel(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    assert np.array_equal(pixels, rows["healpix"].to_numpy())
    assert split_of_pixel(pixels).tolist() == rows["split"].to_pylist()


def test_pixels_hold_several_galaxies():
    from dataset_builders.mock_survey.sky import draw_position

    positions = [draw_position(11, number) for number in range(4000)]
    pixels = healpix_pixel([p.ra for p in positions], [p.dec for p in positions])
    _, counts = np.unique(pixels, return_counts=True)
    assert 150 < len(counts) < 500
    assert np.median(counts) >= 5
    share = np.mean([p.hemisphere == "north" for p in positions])
    assert 0.3 < share < 0.7


def test_streams_do_not_overlap():
    first = [stream(1, stage, number).random() for stage in Stage for number in (0, 1, 2**40)]
    assert len(set(first)) == len(first)


def test_schema_is_that_of_the_rows(survey, rows):
    assert rows.schema.equals(survey.schema, check_metadata=True)
    rows.validate(full=True)
    assert survey.shard_size(0) == rows.num_rows == 24
    assert list(MockSurvey(1001).shards) == [0, 1, 2]
    assert MockSurvey(1001).shard_size(2) == 1
