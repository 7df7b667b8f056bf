"""Self-supervised stages: what learns, what follows, what is kept, and that processes add up."""

from __future__ import annotations

import copy
import math
import subprocess
import sys

import pytest
import torch
from torch import distributed

from astroclip_bench.errors import MissingExtraError
from baselines.astroclip import teacher
from baselines.astroclip.architecture import build
from baselines.astroclip.augment_image import ImageAugmentation, MultiCrop
from baselines.astroclip.config import RecipeError, settings_from
from baselines.astroclip.dino import DinoSettings, DinoStage, patch_mask
from baselines.astroclip.moco import MocoSettings, MocoStage

N, SIZE, PATCH = 8, 28, 6
VIT = {
    "name": "vit",
    "backbone": "vit_tiny_patch16_224",
    "patch": PATCH,
    "crop": 24,
    "width": 24,
    "depth": 2,
    "heads": 2,
    "layer_scale": None,
}
RESNET = {"name": "timm", "backbone": "resnet10t", "crop": 24, "options": {"channels": [8, 8, 16, 16], "stem_width": 8}}
DINO = DinoSettings(
    encoder=VIT,
    views=MultiCrop(global_size=24, local_size=12, local_views=2),
    prototypes=32,
    hidden=24,
    bottleneck=8,
    frozen_prototypes=0.0,
)
MOCO = MocoSettings(encoder=VIT, augmentation=ImageAugmentation(size=24, jitter=2), hidden=32, dimension=8, queue=24)


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks this small only wait for each other's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def galaxies(n=N):
    """Return blobs of random place, width and colour, in nanomaggies."""
    generator = seeded(5)
    axis = torch.arange(SIZE) - SIZE / 2
    x, y, width = 12 * torch.rand(3, n, 1, 1, generator=generator) + torch.tensor([-6, -6, 2])[:, None, None, None]
    blob = torch.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * width**2))
    return {"image": blob[:, None] * torch.rand(n, 3, 1, 1, generator=generator)}


def stage(kind, settings, **changes):
    torch.manual_seed(0)
    settings = type(settings)(**{**vars(settings), **changes})
    return DinoStage(settings, 40) if kind == "dino" else MocoStage(settings)


def train(made, steps, rate=2e-3, same_views=False):
    optimiser = torch.optim.AdamW([value for value in made.model.parameters() if value.requires_grad], lr=rate)
    made.model.train()
    losses = []
    for step in range(steps):
        optimiser.zero_grad()
        losses.append(
            float(made.step(galaxies(), lambda loss: loss.backward(), step, seeded(0 if same_views else step))["loss"])
        )
        optimiser.step()
        made.after_step(step)
    return losses


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


def test_some_steps_tell_galaxies_apart():
    made = stage("moco", MOCO, encoder=RESNET)
    losses = train(made, 25, same_views=True)
    assert losses[-1] < 0.9 * losses[4]  # three steps fill the queue with galaxies, which raises the loss


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
