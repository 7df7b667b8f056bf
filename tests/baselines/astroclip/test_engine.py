"""The training loop on a stage of one layer: logs, best weights, accumulation, processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext

import pytest
import tiny_stage
import torch
from tiny_stage import TinyStage, run

from baselines.astroclip.engine import Interrupted
from baselines.astroclip.logs import stop_signal
from baselines.astroclip.meter import Meter


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "data"
    tiny_stage.tiny_data(folder)
    return folder


def log(out) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def losses(out) -> list[float]:
    return [entry["loss"] for entry in log(out) if "loss" in entry]


def test_trains_follows_and_keeps_the_best(data, tmp_path):
    stage = TinyStage()
    seen = []
    position = run(data, tmp_path, stage, progress=lambda done, total: seen.append((done, total)))
    assert losses(tmp_path)[-1] < losses(tmp_path)[0]
    assert stage.after == list(range(12))
    assert seen[-1] == (96, 96)
    assert position.operations > 0
    scores = {entry["step"]: entry["validation_loss"] for entry in log(tmp_path) if "validation_loss" in entry}
    assert list(scores) == [5, 10, 12]
    assert [entry["step"] for entry in log(tmp_path) if "probe" in entry] == [6, 12]
    assert position.best == min(scores.values())
    assert scores[position.best_step] == position.best
    best = torch.load(tmp_path / "best.pt", weights_only=True)["model"]
    assert all(torch.equal(best[name], value) for name, value in stage.model.state_dict().items())
    rates = log(tmp_path)[-2]["rates"]
    assert rates["galaxies_per_second"] > 0
    assert 0 <= rates["share_waiting_for_data"] <= 1
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_reports_what_was_done_and_where_the_time_went(data, tmp_path):
    position = run(data, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["steps"], report["galaxies"], report["processes"]) == (12, 96, 1)
    assert (report["precision"], report["torch"]) == ("float32", torch.__version__)
    assert report["operations_per_step"] == position.operations
    assert report["share_of_matrix_rate"] == pytest.approx(report["tflops"] / report["matrix_tflops"])
    rates = [entry["rates"] for entry in log(tmp_path) if "rates" in entry][1:]
    for name in ("galaxies_per_second", "tflops", "share_waiting_for_data"):
        assert min(rate[name] for rate in rates) <= report[name] <= max(rate[name] for rate in rates)
    seconds = report["seconds"]
    assert {"validation", "zero-shot score", "checkpoints", "waiting for data"} <= seconds.keys()
    assert 0 < seconds["forward and backward"] + seconds["optimiser"] <= seconds["training"]


def test_a_report_covers_the_last_call(data, tmp_path):
    def interrupt(done: int, total: int) -> None:
        if done == 24:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        run(data, tmp_path, progress=interrupt)
    assert not (tmp_path / "report.json").exists()
    run(data, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["steps"], report["galaxies"]) == (9, 72)
    assert report["operations_per_step"] > 0


def test_plain_steps_never_wait_for_the_device(data, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(Meter, "_synchronise", lambda self: waits.append(self))
    counts = []
    for steps in (3, 5):
        waits.clear()
        run(data, tmp_path / str(steps), steps=steps, log_every=0, validate_every=0, checkpoint_every=0)
        counts.append(len(waits))
    assert counts[0] == counts[1] > 0


def test_accumulated_batches_equal_one_large_batch(data, tmp_path):
    changes = {"steps": 4, "validate_every": 0}
    run(data, tmp_path / "large", batch_size=16, **changes)
    run(data, tmp_path / "parts", batch_size=8, accumulate=2, **changes)
    run(data, tmp_path / "backwards", TinyStage(backwards=4), batch_size=16, **changes)
    for name in ("parts", "backwards"):
        torch.testing.assert_close(losses(tmp_path / name), losses(tmp_path / "large"), rtol=1e-5, atol=1e-6)


def test_bfloat16_is_near_float32(data, tmp_path):
    run(data, tmp_path / "whole", steps=6)
    run(data, tmp_path / "half", steps=6, precision="bf16")
    assert losses(tmp_path / "half") != losses(tmp_path / "whole")
    torch.testing.assert_close(losses(tmp_path / "half"), losses(tmp_path / "whole"), rtol=0.05, atol=0.01)


def test_two_processes_give_the_losses_of_one(data, tmp_path):
    script = [tiny_stage.__file__, str(data), str(tmp_path / "two"), "--quiet-stage"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *script]
    subprocess.run(command, check=True, capture_output=True)
    run(data, tmp_path / "one")
    for two, one in zip(log(tmp_path / "two"), log(tmp_path / "one"), strict=True):
        assert two.keys() == one.keys()
        for name in two.keys() - {"rates"}:
            assert two[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name
    for name in ("one", "two"):
        end = torch.load(tmp_path / name / "last.pt", weights_only=True)
        assert torch.equal(end["model"]["idle"], torch.ones(2, 2))  # without a gradient, it does not decay either
        assert "idle" not in end["optimiser"]["state"]


@pytest.mark.parametrize("alone", [True, False])
def test_a_second_signal_interrupts_a_single_process(alone):
    before = signal.getsignal(signal.SIGTERM)
    with stop_signal(alone) as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped()
        with pytest.raises(KeyboardInterrupt) if alone else nullcontext():
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
