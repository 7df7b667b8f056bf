"""Contrastive alignment: symmetric InfoNCE over every pair of modalities, over all processes, in any amount of memory.

Averaging convention. A process's loss is the mean over its own rows, each told from the rows of every process, so the
mean of the processes' losses is the loss of one process that holds the whole batch. The gather's backward adds up the
gradients that all processes send to a row; averaging parameter gradients over processes, which is what
DistributedDataParallel does, then gives the whole batch's gradient exactly: no further factor, neither on the loss nor
on the learning rate. Every process must hold the same number of rows.

Rows that belong together. Where several galaxies share a text, the text of one says nothing against the image of
another: such pairs are neither positives nor negatives, and are left out of the denominators.

The losses of `lightly` do not fit: `NTXentLoss` also takes rows of the same modality as negatives, and its
temperature is no tensor that could be learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import combinations, permutations
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional
from torch.utils.checkpoint import get_device_states, set_device_states


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Return the rows (processes x n, ...) of all processes in the order of their ranks, differentiably.

    A row's gradient is the sum of what every process sends back to it. With one process the tensor itself returns.
    """
    return _Gather.apply(tensor) if _world_size() > 1 else tensor  # type: ignore[no-untyped-call]


def gather(tensor: Tensor) -> Tensor:
    """Return the rows of all processes in the order of their ranks, without gradient."""
    if _world_size() == 1:
        return tensor
    gathered = tensor.new_empty(_world_size() * len(tensor), *tensor.shape[1:])
    distributed.all_gather_into_tensor(gathered, tensor.contiguous())
    return gathered


def info_nce(left: Tensor, right: Tensor, scale: Tensor | float) -> Tensor:
    """Return the symmetric cross entropy of matching rows of two modalities (Oord et al. 2018; Radford et al. 2021).

    Parameters
    ----------
    left, right
        (n, d) embeddings, normalised here; row i of one belongs to row i of the other. Rows of all processes are
        negatives.
    scale
        Multiplier of the cosine.
    """
    return contrastive_loss((left, right), scale)


def contrastive_loss(
    embeddings: Sequence[Tensor], scale: Tensor | float, groups: Sequence[Tensor | None] | None = None
) -> Tensor:
    """Return the mean of `info_nce` over all pairs of two or more modalities, each (n, d).

    Computed in float32 at least, also under autocast.

    Parameters
    ----------
    embeddings
        Of each modality, (n, d); row i is the same galaxy in all.
    scale
        Multiplier of the cosine.
    groups
        Of each modality the numbers (n,) of what its rows stand for, or None where every row stands for itself. Other
        galaxies of the query's number in either modality of a pair are left out of its denominator.
    """
    with torch.autocast(embeddings[0].device.type, enabled=False):
        cosines = _Cosines(embeddings, groups)
        losses = [
            functional.cross_entropy(
                (scale * cosines.of(query, key)).masked_fill(cosines.left_out(query, key), -torch.inf), cosines.target
            )
            for query, key in permutations(range(len(embeddings)), 2)
        ]
        return torch.stack(losses).mean()


def sigmoid_loss(
    embeddings: Sequence[Tensor],
    scale: Tensor | float,
    bias: Tensor | float,
    groups: Sequence[Tensor | None] | None = None,
) -> Tensor:
    """Return the mean over all pairs of modalities of the sigmoid loss (Zhai et al. 2023, eq. 1).

    Every pair of rows is a yes-or-no question of its own: does the one belong to the other? The sum over the answers
    is divided by the number of rows.

    Parameters
    ----------
    embeddings, scale, groups
        As in `contrastive_loss`.
    bias
        Added to the scaled cosine; negative, since most pairs do not belong together.
    """
    with torch.autocast(embeddings[0].device.type, enabled=False):
        cosines = _Cosines(embeddings, groups)
        losses = []
        for query, key in combinations(range(len(embeddings)), 2):
            logits = scale * cosines.of(query, key) + bias
            answers = functional.logsigmoid(torch.where(cosines.matching, logits, -logits))
            losses.append(-answers.masked_fill(cosines.left_out(query, key), 0.0).sum(1).mean())
        return torch.stack(losses).mean()


class _Cosines:
    """Cosines of a process's own rows with those of every process, and which pairs are to be left out.

    Attributes
    ----------
    target
        (n,) place of each own row among everyone's.
    matching
        (n, everyone) bool, true for a row and itself.
    """

    def __init__(self, embeddings: Sequence[Tensor], groups: Sequence[Tensor | None] | None) -> None:
        self._own = [functional.normalize(_at_least_float32(rows), dim=1) for rows in embeddings]
        self._everyone = [gather_with_gradient(rows) for rows in self._own]
        rows, device = len(self._own[0]), self._own[0].device
        self.target = torch.arange(rows, device=device) + _rank() * rows
        self.matching = torch.arange(len(self._everyone[0]), device=device) == self.target[:, None]
        none = torch.zeros_like(self.matching)
        self._together = [none if ids is None else self._others(ids) for ids in groups or [None] * len(embeddings)]

    def _others(self, ids: Tensor) -> Tensor:
        """Return (n, everyone) bool: another galaxy of the same number."""
        return (ids[:, None] == gather(ids)) & ~self.matching

    def of(self, query: int, key: int) -> Tensor:
        """Return cosines (n, everyone) of two modalities."""
        return self._own[query] @ self._everyone[key].T

    def left_out(self, query: int, key: int) -> Tensor:
        """Return (n, everyone) bool: pairs that are neither positive nor negative."""
        return self._together[query] | self._together[key]


def cached_contrastive_step(
    encode_left: Callable[[Mapping[str, Tensor]], Tensor],
    encode_right: Callable[[Mapping[str, Tensor]], Tensor],
    batch: Mapping[str, Tensor],
    chunk: int,
    scale: Tensor | float,
    backward: Callable[[Tensor], None],
    no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """Do `cached_step` with one encoder a modality."""
    return cached_step(lambda part: (encode_left(part), encode_right(part)), batch, chunk, scale, backward, no_sync)


def cached_step(
    encode: Callable[[Mapping[str, Tensor]], Sequence[Tensor]],
    batch: Mapping[str, Tensor],
    chunk: int,
    scale: Tensor | float,
    backward: Callable[[Tensor], None],
    no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """Add the gradients of `contrastive_loss` over a whole batch, with the memory of one chunk (Gao et al. 2021).

    The batch is embedded in chunks without gradients; the loss gives each embedding its gradient; every chunk is
    embedded again, with the random numbers of the first time, and that gradient is sent through it. The cost is one
    more forward pass. Layers that look across the batch (batch normalisation) see chunks.

    Parameters
    ----------
    encode
        From columns to the embeddings (n, d) of each modality.
    batch
        Columns (n, ...) on the device of the encoders.
    chunk
        Rows at a time; the last chunk may be smaller.
    scale
        Multiplier of the cosine; a tensor that requires a gradient gets one.
    backward
        Called once a chunk with a scalar whose backward pass adds the gradients.
    no_sync
        Context for all chunks but the last, where gradients are shared between processes once a backward pass
        (`DistributedDataParallel.no_sync`).

    Returns
    -------
    Tensor
        The loss, without gradient.
    """
    chunks = _split(batch, chunk)
    states, parts = [], []
    with torch.no_grad():
        for rows in chunks:
            states.append(_random_state(batch))
            parts.append(encode(rows))
        end = _random_state(batch)
    torch.clear_autocast_cache()  # it holds low-precision weights that were made without gradients
    leaves = [torch.cat(list(modality)).requires_grad_() for modality in zip(*parts, strict=True)]
    learned = [scale] if isinstance(scale, Tensor) and scale.requires_grad else []
    loss = contrastive_loss(leaves, scale)
    gradients = torch.autograd.grad(loss, [*leaves, *learned])
    by_chunk = zip(*(torch.split(gradient, chunk) for gradient in gradients[: len(leaves)]), strict=True)
    last = len(chunks) - 1
    for position, (rows, state, sent) in enumerate(zip(chunks, states, by_chunk, strict=True)):
        _set_random_state(state)
        with nullcontext() if position == last else no_sync():
            terms = [_send(rows, gradient) for rows, gradient in zip(encode(rows), sent, strict=True)]
            if position == last:
                terms += [
                    _send(value, gradient) for value, gradient in zip(learned, gradients[len(leaves) :], strict=True)
                ]
            backward(torch.stack(terms).sum())
    _set_random_state(end)
    return loss.detach()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return gather(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        own = gradient.new_empty(len(gradient) // _world_size(), *gradient.shape[1:])
        distributed.reduce_scatter_tensor(own, gradient.contiguous())
        return own


def _send(value: Tensor, gradient: Tensor) -> Tensor:
    """Return a scalar whose gradient with respect to `value` is `gradient`."""
    return (_at_least_float32(value) * gradient).sum()


def _split(batch: Mapping[str, Tensor], chunk: int) -> list[dict[str, Tensor]]:
    columns = [torch.split(column, chunk) for column in batch.values()]
    return [dict(zip(batch, parts, strict=True)) for parts in zip(*columns, strict=True)]


def _random_state(batch: Mapping[str, Tensor]) -> tuple[Tensor, list[int], list[Tensor]]:
    return torch.get_rng_state(), *get_device_states(next(iter(batch.values())))


def _set_random_state(state: tuple[Tensor, list[int], list[Tensor]]) -> None:
    host, devices, states = state
    torch.set_rng_state(host)
    set_device_states(devices, states)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _world_size() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0
