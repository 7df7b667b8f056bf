"""Learning rate, decay and momentum."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from tiny_stage import TinyStage

from baselines.astroclip.config import RecipeError, TrainSettings
from baselines.astroclip.optimiser import decayed_groups, learning_rate, make_optimiser


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


def test_sgd_takes_its_momentum_from_the_first_beta():
    layer = torch.nn.Linear(2, 1, bias=False)
    before = layer.weight.detach().clone()
    settings = TrainSettings(steps=1, optimiser="sgd", betas=(0.5,), learning_rate=0.1, weight_decay=0.0)
    optimiser = make_optimiser(layer, settings, fused=False)
    for _ in range(2):
        layer.weight.grad = torch.ones_like(layer.weight)
        optimiser.step()
    torch.testing.assert_close(layer.weight.detach(), before - 0.1 * (1 + 1.5))


@pytest.mark.parametrize(("name", "moved"), [("adam", 0.1), ("adamw", 0.1 + 0.1 * 0.5 * 4.0)])
def test_adam_takes_decay_as_part_of_the_gradient(name, moved):
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 4.0)
    settings = TrainSettings(steps=1, optimiser=name, learning_rate=0.1, weight_decay=0.5)
    optimiser = make_optimiser(layer, settings, fused=False)
    layer.weight.grad = torch.ones_like(layer.weight)
    optimiser.step()
    assert 4.0 - float(layer.weight.detach()) == pytest.approx(moved, rel=1e-5)


def test_a_plateau_needs_validations():
    with pytest.raises(RecipeError, match="validate_every"):
        TrainSettings(steps=1, schedule="plateau")
