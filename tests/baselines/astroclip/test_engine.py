"""The training loop on a stage of one layer: schedule, logs, best weights, accumulation, processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from itertools import pairwise

import pytest
import tiny_stage
import torch
from tiny_stage import TinyStage, run

from baselines.astroclip.config import TrainSettings
from baselines.astroclip.engine import decayed_groups, learning_rate, make_optimiser
from baselines.astroclip.logs import stop_signal


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
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["steps"], report["galaxies"], report["processes"]) == (12, 96, 1)
    assert report["operations_per_step"] == position.operations
    assert report["share_of_matrix_rate"] == pytest.approx(report["tflops"] / report["matrix_tflops"])
    assert {"training", "validation", "zero-shot score", "checkpoints", "optimiser"} <= report["seconds"].keys()
    assert report["seconds"]["forward and backward"] + report["seconds"]["optimiser"] <= report["seconds"]["training"]


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


def test_learning_rate_rises_falls_and_stays():
    settings = TrainSettings(steps=100, warm_up=10, cosine=0.6, learning_rate=2.0, final_rate=0.1)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert rates[10] == 2.0
    assert rates[35] == pytest.approx(1.1)
    assert rates[60:] == pytest.approx([0.2] * 40)
    assert all(after <= before for before, after in pairwise(rates[10:]))


def test_norms_and_biases_do_not_decay():
    decayed, plain = decayed_groups(TinyStage().model, 0.1)
    assert {parameter.ndim for parameter in decayed["params"]} == {2}
    assert {parameter.ndim for parameter in plain["params"]} == {1}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


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


def test_sgd_takes_its_momentum_from_the_first_beta():
    layer = torch.nn.Linear(2, 1, bias=False)
    before = layer.weight.detach().clone()
    settings = TrainSettings(steps=1, optimiser="sgd", betas=(0.5,), learning_rate=0.1, weight_decay=0.0)
    optimiser = make_optimiser(layer, settings, fused=False)
    for _ in range(2):
        layer.weight.grad = torch.ones_like(layer.weight)
        optimiser.step()
    torch.testing.assert_close(layer.weight.detach(), before - 0.1 * (1 + 1.5))
