"""What self-distillation and momentum contrast share: what follows, what is kept, and that processes add up."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from small_students import DINO, MOCO, RESNET, VIT, N, galaxies, seeded, stage, train
from torch import distributed

from astroclip_bench.errors import MissingExtraError
from baselines.astroclip import teacher
from baselines.astroclip.architecture import build
from baselines.astroclip.config import RecipeError, settings_from
from baselines.astroclip.dino import DinoSettings, patch_mask
from baselines.astroclip.moco import MocoSettings

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("kind", "settings"), [("dino", DINO), ("moco", MOCO)])
def test_teacher_is_the_moving_average_of_the_student(kind, settings):
    made = stage(kind, settings)
    teacher, student = made.model.teacher, made.model.student
    before = [value.clone() for value in teacher.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))
    train(made, 3)  # momentum: half a cosine over 40 steps
    momenta = [1 - 0.008 * (1 + math.cos(math.pi * step / 39)) / 2 for step in range(3)] if kind == "dino" else [0.996]
    expected = [value.clone() for value in teacher.parameters()]
    with torch.no_grad():
        for value in student.parameters():
            value.add_(1.0)
    made.after_step(2)
    for value, old, target in zip(teacher.parameters(), expected, student.parameters(), strict=True):
        torch.testing.assert_close(value, momenta[-1] * old + (1 - momenta[-1]) * target, rtol=0, atol=1e-6)
    assert not torch.equal(before[0], expected[0])


@pytest.mark.parametrize(("kind", "settings"), [("dino", DINO), ("moco", MOCO)])
def test_no_gradient_reaches_the_teacher(kind, settings):
    made = stage(kind, settings)
    made.model.train()
    made.step(galaxies(), lambda loss: loss.backward(), 0, seeded())
    assert all(value.grad is None and not value.requires_grad for value in made.model.teacher.parameters())
    missing = [name for name, value in made.model.student.named_parameters() if value.grad is None]
    assert missing == []


@pytest.mark.parametrize(("kind", "settings"), [("dino", DINO), ("moco", MOCO)])
def test_validation_repeats_itself_and_moves_nothing(kind, settings):
    made = stage(kind, settings)
    train(made, 2)
    made.model.eval()
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    first = made.validation_loss(galaxies(), seeded(3))
    assert not first.requires_grad
    assert torch.equal(first, made.validation_loss(galaxies(), seeded(3)))
    assert all(torch.equal(value, before[name]) for name, value in made.model.state_dict().items())


@pytest.mark.parametrize(("kind", "settings"), [("dino", DINO), ("moco", MOCO)])
def test_a_state_dict_is_all_that_a_resumed_run_needs(kind, settings):
    made = stage(kind, settings)
    train(made, 2)
    again = stage(kind, settings)
    torch.manual_seed(99)
    again.model.load_state_dict(made.model.state_dict())
    losses = [float(one.step(galaxies(), lambda loss: None, 2, seeded(2))["loss"]) for one in (made, again)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("kind", "settings", "branch"), [("dino", DINO, "teacher.encoder"), ("moco", MOCO, "student.0")]
)
def test_export_rebuilds_the_encoder(kind, settings, branch):
    made = stage(kind, settings)
    train(made, 2)
    made.model.eval()
    name, version, config, weights = made.export()
    module = build(config).eval()
    module.load_state_dict(weights)
    assert (name, version) == ("astroclip-encoder", module.version)
    with torch.no_grad():
        vectors = module.embed(galaxies(), "image")
        assert torch.equal(vectors, made.embedder().embed(galaxies(), "image"))
    source = made.model.get_submodule(branch)
    assert torch.equal(next(source.parameters()), next(module.parameters()))


def test_settings_are_read_from_plain_tables():
    table = {"encoder": VIT, "views": {"local_views": 4, "degraded": [1.0, 0.1, 0.5]}, "momentum": [0.99, 1.0]}
    settings = settings_from(DinoSettings, table, "stages.image")
    assert settings.views.local_views == 4
    assert settings.momentum == (0.99, 1.0)
    assert settings_from(MocoSettings, {"encoder": RESNET, "augmentation": {"rotation": "quarter"}}, "x").queue == 65536
    with pytest.raises(RecipeError, match="local_views"):
        settings_from(DinoSettings, {"encoder": VIT, "views": {"local_view": 4}}, "stages.image")


def test_lightly_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightly", None)
    monkeypatch.setitem(sys.modules, "lightly.loss", None)
    with pytest.raises(MissingExtraError, match="lightly"):
        teacher.lightly("loss")


def test_lightly_comes_in_only_when_a_stage_is_made():
    code = "import sys, baselines.astroclip.dino, baselines.astroclip.moco, baselines.astroclip.teacher as t; assert 'lightly' not in sys.modules; t.lightly('loss')"
    subprocess.run([sys.executable, "-c", code], check=True)


def two_processes(rank, store, expected):
    """Run both models on half of the batch; the mean over processes must be what one process finds."""
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        half = slice(rank * N // 2, (rank + 1) * N // 2)
        for kind, (loss, gradient, state) in expected.items():
            made, views = inputs(kind)
            own = [view[half] for view in views[0]], [view[half] for view in views[1]]
            found = compute(made, kind, own, views[2].unflatten(0, (2, N))[:, half].flatten(0, 1))
            for value, target in zip(found, (loss, gradient), strict=True):
                distributed.all_reduce(value)
                torch.testing.assert_close(value / 2, target, rtol=1e-5, atol=1e-6)
            assert made.model.state_dict().keys() == state.keys()
            for name, value in made.model.state_dict().items():
                if name != "losses.ibot.center.center":  # a mean over masked patches, of which halves differ in number
                    torch.testing.assert_close(value, state[name], rtol=0, atol=1e-6, msg=name)
    finally:
        distributed.destroy_process_group()


def inputs(kind):
    made = stage(kind, DINO if kind == "dino" else MOCO)
    image = galaxies()["image"][..., 2:26, 2:26]
    mask = patch_mask(2 * N, 4, seeded(), 0.5, (0.2, 0.4))
    return made, ([image, image.flip(-1)], [image[..., :12, :12], image[..., 12:, 12:]], mask)


def compute(made, kind, views, mask):
    """Return the loss, without KoLeo (which knows only its process's galaxies), and all gradients."""
    made.model.train()
    if kind == "dino":
        values = made.model(*views, mask, 0.05)
        loss = values["dino"] + values["ibot"]
    else:
        loss = made.model(*views[0])
    loss.backward()
    return loss.detach(), torch.cat([value.grad.flatten() for value in made.model.student.parameters()])


def test_two_processes_compute_what_one_does(tmp_path):
    expected = {}
    for kind in ("dino", "moco"):
        made, (whole, parts, mask) = inputs(kind)
        loss, gradient = compute(made, kind, (whole, parts), mask)
        expected[kind] = (loss, gradient, made.model.state_dict())
    torch.multiprocessing.spawn(two_processes, (str(tmp_path / "store"), expected), nprocs=2)
