"""Momentum contrast: its queue and its loss."""

from __future__ import annotations

import pytest
import torch
from small_students import MOCO, RESNET, N, galaxies, seeded, stage, train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_some_steps_tell_galaxies_apart():
    made = stage("moco", MOCO, encoder=RESNET)
    losses = train(made, 25, same_views=True)
    assert losses[-1] < 0.9 * losses[4]  # three steps fill the queue with galaxies, which raises the loss


def test_queue_holds_the_teachers_projections_in_order():
    made = stage("moco", MOCO)
    made.model.train()
    bank = made.model.criterion.memory_bank
    keys = []
    made.model.teacher.register_forward_hook(lambda module, inputs, output: keys.append(output.detach()))
    for step in range(4):  # 24 places, 8 a step: the fourth overwrites the first
        made.step(galaxies(), lambda loss: loss.backward(), step, seeded(step))
    expected = torch.nn.functional.normalize(torch.cat([keys[3], keys[1], keys[2]]), dim=1)
    torch.testing.assert_close(bank.bank, expected)
    assert int(bank.bank_ptr) == 8


def test_moco_loss_is_that_of_the_formula():
    made = stage("moco", MOCO)
    query, key = galaxies()["image"], galaxies()["image"].flip(-1)
    normalise = torch.nn.functional.normalize
    queue = made.model.criterion.memory_bank.bank.clone()
    q, k = (
        normalise(branch({"image": view}), dim=1)
        for branch, view in zip(made.model.children(), (query, key), strict=False)
    )
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / 0.2
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(N, dtype=torch.long))
    torch.testing.assert_close(made.model(query, key), expected)
