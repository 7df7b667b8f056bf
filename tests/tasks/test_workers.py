"""The settings of torch inside and after a block of worker threads."""

from __future__ import annotations

import threading

import pytest
import torch

from astroclip_bench.tasks.workers import workers


def settings() -> tuple[str, int]:
    return torch.get_float32_matmul_precision(), torch.get_num_threads()


def test_each_worker_computes_alone_in_full_precision() -> None:
    before = settings()
    torch.set_float32_matmul_precision("medium")
    try:
        with workers() as threads:
            seen = list(threads.pool.map(lambda _: settings(), range(8)))
        assert settings() == ("medium", before[1])
    finally:
        torch.set_float32_matmul_precision(before[0])
    assert seen == [("highest", 1)] * 8
    assert threads.count == before[1]


def test_settings_are_restored_after_an_error() -> None:
    before = settings()

    def fail() -> None:
        with workers():
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert settings() == before


def test_two_users_wait_for_each_other() -> None:
    before = settings()
    counts: list[int] = []

    def use() -> None:
        for _ in range(20):
            with workers() as threads:
                counts.append(threads.count)

    users = [threading.Thread(target=use) for _ in range(2)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert counts == [before[1]] * 40
    assert settings() == before
