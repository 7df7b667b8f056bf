"""Progress in words, where there is no terminal."""

from __future__ import annotations

import pytest

from astroclip_bench import progress


@pytest.mark.parametrize(
    ("done", "said"),
    [(1_600, "1,600 of 3,200 galaxies, 100/s, 16 s left"), (4, "4 of 3,200 galaxies, 15.0/min, 12,784 s left")],
)
def test_rates_fast_and_slow(capsys, monkeypatch, done, said):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.progress_bar("scoring") as report:
        clock[0] = 10.0
        report(done // 2, 3_200)
        assert capsys.readouterr().err == ""
        clock[0] = 16.0
        report(done, 3_200)
    assert capsys.readouterr().err == f"scoring: {said}\n"


def test_quiet(capsys):
    with progress.progress_bar("scoring", quiet=True) as report:
        report(1, 1)
    assert capsys.readouterr().err == ""
