"""Matching in memory beside the bare k-d tree query; what partitions on Dask and written pairs cost."""

from __future__ import annotations

import resource
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.spatial import KDTree

from astroclip_bench.datasets.arrays import numpy_to_arrow
from astroclip_bench.files import sha256_file
from astroclip_bench.records import COLUMNS, image_column
from dataset_builders.dask_run import connect
from dataset_builders.hats_catalogs import import_catalog, match_catalogs
from dataset_builders.matching import Matches, Positions, match, reach_arcsec
from dataset_builders.shards import SplitFile

ROWS = 1_000_000
RADIUS_ARCSEC = 1.0


def survey(rows: int) -> tuple[Positions, Positions]:
    """Return so many objects on 500 square degrees and the same, 0.2 arcsec off, in another order; none with a key."""
    generator = np.random.default_rng(0)
    ra, dec = generator.uniform(0, 45, rows), np.degrees(np.arcsin(generator.uniform(0.4, 0.6, rows)))
    order = generator.permutation(rows)
    no_key = np.full(rows, -1)
    offset = generator.normal(0, 0.2 / 3600, (2, rows))
    return Positions(ra, dec, no_key), Positions((ra + offset[0])[order], (dec + offset[1])[order], no_key)


def vectors(positions: Positions) -> np.ndarray:
    ra, dec = np.radians(positions.ra), np.radians(positions.dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def bare_query(left: Positions, right: Positions) -> None:
    """Find each row's nearest within the radius on the other side, both ways, and nothing else."""
    trees = KDTree(vectors(left)), KDTree(vectors(right))
    chord = 2 * np.sin(np.radians(RADIUS_ARCSEC / 3600) / 2)
    for tree, other in (trees, trees[::-1]):
        tree.query(other.data, distance_upper_bound=chord)


def cpu_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def test_a_million_by_a_million(benchmark):
    left, right = survey(ROWS)
    bare: list[float] = []
    ours: list[float] = []
    found: list[Matches] = []

    def run() -> None:
        found[:] = [match(left, right, RADIUS_ARCSEC)]

    benchmark.pedantic(
        lambda: ours.append(cpu_seconds(run)),
        setup=lambda: bare.append(cpu_seconds(lambda: bare_query(left, right))),
        rounds=1,
    )
    ratio = ours[0] / bare[0]
    benchmark.extra_info.update(cpu_seconds=round(ours[0], 2), cpu_ratio_to_bare_query=round(ratio, 2))
    counts = found[0].counts
    assert counts["matched on the sky"] > 0.999 * ROWS
    assert counts["matched on the sky, ambiguous"] < 0.01 * ROWS
    assert ours[0] < 15
    assert ratio < 3


def test_memory_of_a_match():
    rows = 200_000
    left, right = survey(rows)
    tracemalloc.start()
    match(left, right, RADIUS_ARCSEC)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 275 bytes a row, and some 10 more for the nodes of the two trees, which are not seen here.
    assert peak < 400 * rows


def test_cost_of_writing_a_pair(benchmark, tmp_path):
    """Encode, compress and digest pairs as a data set's shard is written: noise, as the sky's, hardly compresses."""
    rows = 190
    generator = np.random.default_rng(0)
    values = {
        image_column(): generator.normal(0, 0.01, (rows, 3, 152, 152)),
        COLUMNS["flux"]: generator.normal(1, 0.3, (rows, 7781)),
        COLUMNS["ivar"]: 10 * generator.normal(1, 0.02, (rows, 7781)) ** 2,
    }
    schema = pa.schema([column.field() for column in values])
    arrays = [numpy_to_arrow(array.astype(np.float32), column.field().type) for column, array in values.items()]
    batch = pa.record_batch(arrays, schema=schema)
    path = tmp_path / "pairs.parquet"

    def write() -> None:
        with SplitFile(path, schema) as file:
            file.write(batch)
        sha256_file(path)

    times: list[float] = []
    benchmark.pedantic(lambda: times.append(cpu_seconds(write)), rounds=3)
    benchmark.extra_info.update(
        cpu_milliseconds_a_pair=round(1e3 * min(times) / rows, 2),
        kilobytes_a_pair=round(path.stat().st_size / rows / 1e3),
    )
    assert min(times) / rows < 0.01


SOURCES, SOURCES_PER_SQUARE_DEGREE, SPECTRA_PER_SQUARE_DEGREE = 4_000_000, 140_000, 2_000
"""A part of DR1 x DR10: 2.8e9 sources on 20,000 square degrees, 18.7e6 spectra on 9,500."""


def light_table(ra: np.ndarray, dec: np.ndarray, seed: int) -> pa.Table:
    generator = np.random.default_rng(seed)
    fluxes = {f"flux_{band}": generator.lognormal(0, 1, len(ra)).astype(np.float32) for band in "grz"}
    row = np.arange(len(ra))
    return pa.table(
        {"ra": ra, "dec": dec, "target_id": np.full(len(ra), -1), "file": row // 500_000, "row": row, **fluxes}
    )


def write_files(table: pa.Table, folder: Path) -> list[Path]:
    folder.mkdir()
    files = []
    for number, start in enumerate(range(0, len(table), 500_000)):
        files.append(folder / f"{number}.parquet")
        pq.write_table(table.slice(start, 500_000), files[-1])
    return files


def worker_cpu_seconds(scheduler: str) -> float:
    with connect(scheduler) as client:
        return sum(client.run(time.process_time).values())


def worker_peak_gb(scheduler: str) -> float:
    with connect(scheduler) as client:
        return max(client.run(lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss).values()) / 1e6


@pytest.mark.slow
def test_cost_of_partitions(benchmark, tmp_path):
    """Import four million sources and their share of spectra, and match them, on two workers of one thread."""
    from distributed import LocalCluster

    generator = np.random.default_rng(0)
    width = (SOURCES / SOURCES_PER_SQUARE_DEGREE) ** 0.5
    ra, dec = generator.uniform(180, 180 + width, SOURCES), generator.uniform(0, width, SOURCES)
    observed = generator.permutation(SOURCES)[: SOURCES * SPECTRA_PER_SQUARE_DEGREE // SOURCES_PER_SQUARE_DEGREE]
    offset = generator.normal(0, 0.1 / 3600, len(observed))
    sides = {"left": light_table(ra[observed] + offset, dec[observed], 1), "right": light_table(ra, dec, 2)}
    files = {name: write_files(table, tmp_path / f"{name}-files") for name, table in sides.items()}
    small = write_files(sides["left"].slice(0, 1_000), tmp_path / "small-files")
    costs: dict[str, dict[str, float]] = {}

    def measure(what: str, scheduler: str, rows: int, function: Callable[[], object]) -> None:
        cpu, here, wall = worker_cpu_seconds(scheduler), time.process_time(), time.perf_counter()
        function()
        costs[what] = {
            "rows": rows,
            "seconds": round(time.perf_counter() - wall, 2),
            "worker_cpu_seconds": round(worker_cpu_seconds(scheduler) - cpu, 2),
            "own_cpu_seconds": round(time.process_time() - here, 2),
            "worker_peak_gb": round(worker_peak_gb(scheduler), 2),
        }

    def bring(name: str, paths: list[Path], scheduler: str) -> Path:
        return import_catalog(
            paths, tmp_path / name, scheduler=scheduler, margin_arcsec=reach_arcsec(1.0), highest_order=7
        )

    def run() -> None:
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            scheduler = cluster.scheduler_address
            bring("small", small, scheduler)  # the workers have imported what they need
            for name in sides:
                measure(f"import {name}", scheduler, len(sides[name]), partial(bring, name, files[name], scheduler))
            catalogs = tmp_path / "left", tmp_path / "right"
            measure(
                "match",
                scheduler,
                len(sides["right"]),
                lambda: costs.update(counts=match_catalogs(*catalogs, tmp_path / "pairs", scheduler=scheduler)),
            )

    benchmark.pedantic(run, rounds=1)
    pieces = list((tmp_path / "pairs").glob("pairs-*.parquet"))
    size = sum(path.stat().st_size for path in (tmp_path / "right").rglob("*.parquet"))
    benchmark.extra_info.update(costs=costs, pieces=len(pieces), bytes_per_source=round(size / SOURCES, 1))
    assert costs["counts"]["matched on the sky"] > 0.9 * len(observed)
    assert costs["import right"]["worker_cpu_seconds"] < 30 * SOURCES / 1e6
    assert costs["match"]["worker_cpu_seconds"] < 10 * SOURCES / 1e6
    assert costs["match"]["worker_peak_gb"] < 2
