"""Tasks on a Dask cluster of two processes: workers that die, and everything that cannot work said in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from distributed import LocalCluster

from astroclip_bench.errors import DataError, MissingExtraError, UserError
from dataset_builders import dask_run
from dataset_builders.dask_run import connect, run_on_dask

TWO_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")


@pytest.fixture(scope="module")
def scheduler():
    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, env=TWO_THREADS
    ) as cluster:
        yield cluster.scheduler_address


def slow_square(number: int) -> tuple[int, int]:
    time.sleep(0.02)
    return number**2, os.getpid()


def fails_on_three(number: int) -> int:
    if number == 3:
        raise DataError("row 3 is bad", "a good row", "drop it")
    return number


def die(_: int) -> None:
    os._exit(1)


def blas_threads(_: int) -> list[int]:
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    return [pool["num_threads"] for pool in threadpool_info()]


def test_all_results_though_a_worker_is_killed(scheduler):
    done: list[int] = []
    results = []
    for result in run_on_dask(slow_square, range(80), scheduler, done.append):
        results.append(result)
        if len(results) == 10:
            os.kill(result[1], signal.SIGKILL)
    assert sorted(square for square, _ in results) == [number**2 for number in range(80)]
    assert sorted(done) == list(range(80))
    assert len({process for _, process in results}) >= 2


def test_an_error_raised_in_a_worker_arrives_whole(scheduler):
    with pytest.raises(DataError, match="row 3 is bad") as caught:
        list(run_on_dask(fails_on_three, range(6), scheduler))
    assert (caught.value.expected, caught.value.todo) == ("a good row", "drop it")


def test_a_task_that_kills_every_worker(scheduler):
    with pytest.raises(UserError, match="ended 4 workers one after the other") as caught:
        list(run_on_dask(die, [0], scheduler))
    assert "\n" not in str(caught.value)


def test_linear_algebra_runs_on_one_thread(scheduler):
    assert {n for threads in run_on_dask(blas_threads, range(8), scheduler) for n in threads} == {1}


def test_stopping_takes_the_waiting_tasks_back(scheduler):
    running = run_on_dask(slow_square, range(2_000), scheduler)
    next(running)
    running.close()
    with connect(scheduler) as client:
        tasks = [1]
        for _ in range(50):
            tasks = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))
            if not tasks:
                break
            time.sleep(0.1)
        assert tasks == []


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:1", "foo://x:3", "tcp://127.0.0.1", "tcp://127.0.0.1:1"])
def test_no_scheduler(address, monkeypatch):
    monkeypatch.setattr(dask_run, "CONNECT_SECONDS", 0.5)
    with pytest.raises(UserError, match=f"no Dask scheduler answers at '{address}'") as caught:
        list(run_on_dask(slow_square, [1], address))
    assert caught.value.todo is not None
    assert "--scheduler" in caught.value.todo


def test_no_workers(monkeypatch):
    monkeypatch.setattr(dask_run, "WORKERS_SECONDS", 0.3)
    with (
        LocalCluster(n_workers=0, processes=True, dashboard_address=None) as cluster,
        pytest.raises(UserError, match="has no workers; start some: dask worker"),
    ):
        list(run_on_dask(slow_square, [1], cluster.scheduler_address))


def test_a_scheduler_that_goes_away(monkeypatch):
    monkeypatch.setattr(dask_run, "CONNECT_SECONDS", 5)
    code = (
        "import time; from distributed import LocalCluster\n"
        "cluster = LocalCluster(n_workers=1, processes=False, protocol='tcp', dashboard_address=None)\n"
        "print(cluster.scheduler_address, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        running = run_on_dask(time.sleep, [0.05] * 1_000, address)
        next(running)
        process.kill()
        with pytest.raises(UserError, match="was lost") as caught:
            list(running)
    assert "\n" not in str(caught.value)


def test_dask_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"astroclip-bench\[dask\]"):
        list(run_on_dask(slow_square, [1], "tcp://127.0.0.1:8786"))
