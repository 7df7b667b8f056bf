"""Checkpoints: a killed, an interrupted and an uninterrupted run leave the same log and the same weights, bit by bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import tiny_stage
import torch
from tiny_stage import TinyStage, noisy_stage, run

from astroclip_bench.errors import DataError
from baselines.astroclip.checkpoint import random_state, read_tensors, seed_everything, set_random_state, write_tensors
from baselines.astroclip.engine import Interrupted


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "data"
    tiny_stage.tiny_data(folder)
    return folder


def log(out) -> list[dict]:
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in entry.items() if name != "rates"} for entry in entries]


def test_killed_and_interrupted_runs_end_like_an_uninterrupted_one(data, tmp_path, one_thread):
    """Noise, dropout and shuffling included; killed at a step drawn anew each time, interrupted after it."""
    killed_at = int(np.random.default_rng(os.getpid()).integers(5, 11))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = [sys.executable, tiny_stage.__file__, str(data), str(parts), "--kill-at", str(killed_at)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL

    def interrupt(done: int, total: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        run(data, parts, noisy_stage(), progress=interrupt)
    stopped = torch.load(parts / "last.pt", weights_only=True)["position"]
    assert stopped["step"] == 1 + killed_at // 4 * 4
    run(data, parts, noisy_stage())
    run(data, whole, noisy_stage())
    assert log(parts) == log(whole), f"killed at step {killed_at}"
    ends = [torch.load(folder / "last.pt", weights_only=True) for folder in (whole, parts)]
    for name, value in ends[0]["model"].items():
        assert torch.equal(value, ends[1]["model"][name])
    assert ends[0]["position"] == ends[1]["position"]


def test_a_finished_run_is_not_run_again(data, tmp_path):
    run(data, tmp_path, steps=3)
    stage = TinyStage()
    assert run(data, tmp_path, stage, steps=3).step == 3
    assert not stage.after


@pytest.mark.parametrize("what", ["recipe", "data set"])
def test_a_checkpoint_of_another_run_is_refused(data, tmp_path, what):
    run(data, tmp_path, steps=2)
    if what == "data set":
        content = torch.load(tmp_path / "last.pt", weights_only=True)
        content["position"]["identity"][what] = "another"
        torch.save(content, tmp_path / "last.pt")
    with pytest.raises(DataError, match=f"written with another {what}"):
        run(data, tmp_path, recipe="another" if what == "recipe" else "recipe", steps=2)


def test_damaged_checkpoints_are_one_line(tmp_path):
    path = tmp_path / "last.pt"
    write_tensors(path, {"model": {"x": torch.arange(1000)}})
    whole = path.read_bytes()
    assert torch.equal(read_tensors(path)["model"]["x"], torch.arange(1000))
    for content in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="no readable checkpoint"):
            read_tensors(path)
    torch.save({"format_version": 99}, path)
    with pytest.raises(DataError, match="version 99"):
        read_tensors(path)


class LateStage(TinyStage):
    """Has a matrix that gets a gradient from a step on."""

    def __init__(self, since: int) -> None:
        super().__init__()
        self.since = since
        self.model.register_parameter("late", torch.nn.Parameter(torch.ones(2, 2)))

    def step(self, batch, backward, step, generator):
        """Take the step, the late gradient with it."""
        if step >= self.since:
            backward(self.model.late.square().sum())
        return super().step(batch, backward, step, generator)


def test_what_has_had_no_gradient_goes_on_without(data, tmp_path, one_thread):
    """As a reconstruction head in alignment, or prototypes that wait."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    def interrupt(done: int, total: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        run(data, parts, LateStage(3), progress=interrupt, weight_decay=0.5)
    run(data, parts, LateStage(3), weight_decay=0.5)
    run(data, whole, LateStage(3), weight_decay=0.5)
    ends = [torch.load(folder / "last.pt", weights_only=True) for folder in (whole, parts)]
    for name, value in ends[0]["model"].items():
        assert torch.equal(value, ends[1]["model"][name]), name
    assert [float(end["optimiser"]["state"]["late"]["step"]) for end in ends] == [9, 9]
    for end in ends:
        assert "idle" not in end["optimiser"]["state"]
        assert torch.equal(end["model"]["idle"], torch.ones(2, 2))
        assert (end["model"]["late"] < 1).all()


def draws() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]  # noqa: NPY002


def test_random_states_come_back(tmp_path):
    seed_everything(1, 2, 3)
    draws()
    write_tensors(tmp_path / "state.pt", random_state())
    wanted = draws()
    seed_everything(0, 0, 0)
    set_random_state(read_tensors(tmp_path / "state.pt"))
    assert draws() == wanted


def test_seeds_differ_by_step_and_process():
    def numbers(*key):
        generator = seed_everything(*key)
        return [*draws(), float(torch.rand((), generator=generator))]

    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    drawn = [numbers(*key) for key in keys]
    assert drawn[0] == numbers(*keys[0])
    for column in zip(*drawn, strict=True):
        assert len(set(column)) == len(keys)


def test_a_plateau_goes_on_with_the_same_learning_rates(data, tmp_path, one_thread):
    """Stopped between a validation that brought nothing and the next, at which the rate falls."""
    changes = {"schedule": "plateau", "plateau_patience": 1, "learning_rate": 0.5, "validate_every": 1}

    def interrupt(done: int, total: int) -> None:
        if done == 40:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        run(data, tmp_path / "parts", progress=interrupt, **changes)
    run(data, tmp_path / "parts", **changes)
    run(data, tmp_path / "whole", **changes)
    assert log(tmp_path / "parts") == log(tmp_path / "whole")
    rates = [entry["learning_rate"] for entry in log(tmp_path / "parts") if "learning_rate" in entry]
    assert rates == [0.5] * 3 + [0.25] * 2 + [0.125] * 7
