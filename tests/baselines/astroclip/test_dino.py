"""Self-distillation: what learns, what is hidden, and its schedules."""

from __future__ import annotations

import copy

import pytest
import torch
from small_students import DINO, PATCH, VIT, N, galaxies, seeded, stage, train

from baselines.astroclip.dino import patch_mask

pytestmark = pytest.mark.usefixtures("one_thread")


def test_some_steps_bring_the_student_to_the_teacher():
    made = stage("dino", DINO)
    views = made._views(galaxies(), seeded())
    with torch.no_grad():
        for _ in range(20):  # until the centres are those of these views: they raise the loss as they come in
            made.model(*views, 0.04)
    optimiser = torch.optim.AdamW(made.model.student.parameters(), lr=3e-4)
    found = []
    for _ in range(15):
        values = made.model(*views, 0.04, copy.deepcopy(made.model.losses))
        optimiser.zero_grad()
        values["loss"].backward()
        optimiser.step()
        found.append({name: float(value.detach()) for name, value in values.items()})
    assert all(found[-1][name] < 0.97 * found[0][name] for name in ("loss", "dino", "ibot", "koleo"))


def test_masked_patches_alone_enter_ibot():
    made = stage("dino", DINO)
    made.model.train()
    seen = {}
    student, whole_tokens = made.model.student, made.model.student.tokens

    def record(image, mask=None):
        token, patches = whole_tokens(image, mask)
        if mask is not None:
            patches.retain_grad()
            seen["patches"], seen["mask"] = patches, mask
        return token, patches

    student.tokens = record
    views = made._views(galaxies(), seeded())
    values = made.model(*views, 0.04)
    values["ibot"].backward(retain_graph=True)
    hidden = seen["mask"].flatten()
    reached = seen["patches"].grad.abs().sum(1) > 0
    assert hidden.any()
    assert torch.equal(reached, hidden)
    assert seen["mask"].flatten(1).any(1).sum() == N  # half of the two global views of each galaxy
    seen["patches"].grad = None
    values["dino"].backward()
    assert seen["patches"].grad is None or seen["patches"].grad.eq(0).all()


def test_masks_hide_what_is_under_them():
    made = stage("dino", DINO)
    image = galaxies()["image"][..., 2:26, 2:26]
    mask = torch.zeros(N, 4, 4, dtype=torch.bool)
    mask[:, 1, 2] = True
    changed = image.clone()
    changed[..., PATCH : 2 * PATCH, 2 * PATCH : 3 * PATCH] = 5.0
    tokens = made.model.student.tokens
    assert torch.equal(tokens(image, mask)[1], tokens(changed, mask)[1])
    assert not torch.equal(tokens(image)[1], tokens(changed)[1])


def test_patch_masks_have_the_share_and_ratio_asked_for():
    mask = patch_mask(400, 12, seeded(), 0.5, (0.1, 0.5))
    count = mask.flatten(1).sum(1)
    assert (count > 0).sum() == 200
    assert count[count > 0].min() >= round(0.1 * 144)
    assert count.max() <= 72
    assert float(count[count > 0].float().mean()) == pytest.approx(0.3 * 144, rel=0.06)
    many = patch_mask(400, 12, seeded(), 1.0, (0.3, 0.3))
    neighbours = (many[:, 1:] & many[:, :-1]).sum() / many[:, 1:].sum()
    assert neighbours > 0.6  # blobs: 0.3 if places were independent
    assert not patch_mask(10, 12, seeded(), 0.0, (0.1, 0.5)).any()


def test_without_masks_there_is_no_ibot():
    made = stage("dino", DINO, masked_views=0.0, koleo_weight=0.0)
    values = made.step(galaxies(), lambda loss: None, 0, seeded())
    assert "ibot" not in values
    assert torch.equal(values["loss"], values["dino"])


def test_schedules_of_momentum_and_temperature():
    made = stage("dino", DINO)
    temperatures = [made._temperature(step) for step in (0, 6, 12, 39)]
    assert temperatures == pytest.approx([0.04, 0.055, 0.07, 0.07])


def test_prototypes_wait_at_the_start():
    made = stage("dino", DINO, frozen_prototypes=0.05, patch_head=True)  # two of 40 steps
    last = [made.model.student.head.last_layer.weight_v, made.model.student.own_patch_head.last_layer.weight_v]
    before = [value.clone() for value in last]
    train(made, 2)
    assert all(torch.equal(a, b) for a, b in zip(last, before, strict=True))
    train(made, 3)
    assert not any(torch.equal(a, b) for a, b in zip(last, before, strict=True))


def test_the_teacher_drops_no_path():
    made = stage("dino", DINO, encoder={**VIT, "drop_path": 0.5})
    made.model.train()
    assert made.model.student.training
    assert not made.model.teacher.training
    image = galaxies()["image"][..., :24, :24]
    with torch.no_grad():
        assert torch.equal(made.model.teacher.tokens(image)[0], made.model.teacher.tokens(image)[0])
        assert not torch.equal(made.model.student.tokens(image)[0], made.model.student.tokens(image)[0])
