"""Symmetric InfoNCE: against the formula, over two processes, and with cached gradients."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from baselines.astroclip.contrastive import (
    cached_contrastive_step,
    cached_step,
    contrastive_loss,
    gather_with_gradient,
    info_nce,
)

ROWS = 12


class Pair(nn.Module):
    """Two small encoders with dropout and a learned scale, in float64."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(5, 9), nn.GELU(), nn.Dropout(dropout), nn.Linear(9, 4))
        self.right = nn.Sequential(nn.Linear(3, 9), nn.GELU(), nn.Dropout(dropout), nn.Linear(9, 4))
        self.log_scale = nn.Parameter(torch.tensor(math.log(15.5)))
        self.double()

    def scale(self):
        """Multiplier of the cosine."""
        return self.log_scale.exp()

    def forward(self, batch):
        """Return both embeddings."""
        return self.left(batch["a"]), self.right(batch["b"])


def make(dropout=0.0):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    columns = {"a": (ROWS, 5), "b": (ROWS, 3)}
    batch = {name: torch.randn(shape, generator=generator).double() for name, shape in columns.items()}
    return Pair(dropout), batch


def gradients(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def whole_batch(model, batch):
    loss = info_nce(*model(batch), model.scale())
    loss.backward()
    return loss.detach(), gradients(model)


def test_against_the_formula():
    generator = torch.Generator().manual_seed(3)
    left, right = (torch.randn(ROWS, 4, generator=generator).double() for _ in range(2))
    cosine = torch.nn.functional.cosine_similarity(left[:, None], right[None], dim=2)
    expected = 0.0
    for i in range(ROWS):
        for row in (cosine[i], cosine[:, i]):
            expected -= math.log(math.exp(7 * row[i]) / sum(math.exp(7 * value) for value in row)) / (2 * ROWS)
    assert float(info_nce(left, right, 7.0)) == pytest.approx(expected, rel=1e-12)


def test_aligned_modalities_have_no_loss_and_shuffled_ones_do():
    rows = torch.eye(ROWS)
    assert float(info_nce(rows, 3 * rows, 50.0)) < 1e-6
    assert float(info_nce(rows, rows.roll(1, 0), 50.0)) > 40


def test_several_modalities_are_the_mean_over_pairs():
    rows = [torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    expected = torch.stack([info_nce(a, b, 5.0) for a, b in combinations(rows, 2)]).mean()
    torch.testing.assert_close(contrastive_loss(rows, 5.0), expected)


def test_low_precision_embeddings_are_compared_in_float32():
    rows = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = info_nce(rows, rows.flip(0), 15.5)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, info_nce(rows.float(), rows.float().flip(0), 15.5))


def test_gather_of_one_process_is_the_tensor_itself():
    rows = torch.ones(2, 3)
    assert gather_with_gradient(rows) is rows


@pytest.mark.parametrize("chunk", [1, 5, ROWS, 100])
def test_cached_step_gives_the_gradients_of_the_whole_batch(chunk):
    model, batch = make()
    loss, expected = whole_batch(model, batch)
    model.zero_grad()
    cached = cached_contrastive_step(
        lambda part: model.left(part["a"]), lambda part: model.right(part["b"]), batch, chunk, model.scale(), backward
    )
    torch.testing.assert_close(cached, loss, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients(model), expected, rtol=0, atol=1e-6)


def backward(loss):
    loss.backward()


def test_cached_step_repeats_the_dropout_of_its_first_pass():
    model, batch = make(dropout=0.4)
    torch.manual_seed(7)
    parts = [model({name: column[start : start + 5] for name, column in batch.items()}) for start in (0, 5, 10)]
    after = torch.rand(1)
    loss = info_nce(*(torch.cat(rows) for rows in zip(*parts, strict=True)), model.scale())
    loss.backward()
    expected = gradients(model)
    model.zero_grad()
    torch.manual_seed(7)
    torch.testing.assert_close(cached_step(model, batch, 5, model.scale(), backward), loss.detach())
    torch.testing.assert_close(gradients(model), expected, rtol=0, atol=1e-6)
    assert torch.equal(torch.rand(1), after)  # the random stream goes on as if each chunk had been seen once


def test_cached_step_under_autocast_reaches_every_weight():
    model, batch = make()
    model.float()
    batch = {name: column.float() for name, column in batch.items()}
    with torch.autocast("cpu", torch.bfloat16):
        whole_batch(model, batch)
    expected = gradients(model)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        cached_step(model, batch, 5, model.scale(), backward)
    assert torch.nn.functional.cosine_similarity(gradients(model), expected, dim=0) > 0.999


def test_cached_step_scales_with_what_backward_does():
    model, batch = make()
    _, expected = whole_batch(model, batch)
    model.zero_grad()
    cached_step(model, batch, 5, model.scale(), lambda loss: (loss / 4).backward())
    torch.testing.assert_close(4 * gradients(model), expected, rtol=0, atol=1e-6)


def two_processes(rank, store):
    """Train one step on half of the batch, plainly and with cached gradients, under DDP; compare with one process."""
    model, batch = make()
    loss, expected = whole_batch(model, batch)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    half = {name: column[rank * 6 : rank * 6 + 6] for name, column in batch.items()}
    try:
        for cached in (False, True):
            model.zero_grad()
            replica = DistributedDataParallel(model)
            if cached:
                own = cached_step(replica, half, 4, model.scale(), backward, replica.no_sync)
            else:
                own = info_nce(*replica(half), model.scale())
                own.backward()
                own = own.detach()
            torch.testing.assert_close(gradients(model), expected, rtol=0, atol=1e-6)
            distributed.all_reduce(own)
            torch.testing.assert_close(own / 2, loss, rtol=0, atol=1e-12)
        rows = half["a"].clone().requires_grad_()
        everyone = gather_with_gradient(rows)
        assert torch.equal(everyone, batch["a"])
        ((rank + 1) * everyone).sum().backward()
        assert torch.equal(rows.grad, torch.full_like(rows, 3.0))  # 1 from the first process, 2 from the second
    finally:
        distributed.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path):
    torch.multiprocessing.spawn(two_processes, (str(tmp_path / "store"),), nprocs=2)
