"""AstroCLIP's few-shot probe: a small network trained on frozen embeddings (Parker et al. 2024, section 5.2).

Two hidden layers of 64, ReLU, dropout 0.1, Adam at 1e-3, ten epochs in batches of 64, mean squared error of standardised
targets. The authors take a single layer of 32 for redshift from images; here every modality gets the same network, so
that their scores differ by what the embeddings hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from astroclip_bench.tasks.protocols import ROWS_AT_ONCE, moments
from astroclip_bench.tasks.workers import workers

if TYPE_CHECKING:
    from torch import Generator, Tensor

Vectors = NDArray[np.floating]
Float64 = NDArray[np.float64]

Layer = tuple["Tensor", "Tensor"]
"""Weights (t, in, out) and biases (t, 1, out) of t networks."""

HIDDEN = (64, 64)
DROPOUT = 0.1
LEARNING_RATE = 1e-3
EPOCHS = 10
BATCH_ROWS = 64


def fit_mlp(
    vectors: Vectors, targets: Float64, seeds: Sequence[int], advance: Callable[[int], None] = lambda rows: None
) -> Callable[[Vectors], Float64]:
    """Train a network for each target and seed.

    A seed draws the initial weights, the order of the objects and what is dropped out, the same for every target: a
    network does not depend on which others are trained beside it. Arithmetic is float64 and each network's is done by
    one thread, so that the number of threads changes nothing.

    Parameters
    ----------
    vectors, targets
        Reference embeddings (n, d) and their labels (n, t), finite.
    advance
        Called with the number of objects that a seed's networks have been shown since.

    Returns
    -------
    Callable
        From embeddings (m, d) to predictions (seeds, m, t).
    """
    centre, spread = moments(vectors)
    target_centre, target_spread = moments(targets)
    standardised = (targets - target_centre) / target_spread

    def block(rows: Vectors) -> Tensor:
        import torch

        return torch.from_numpy((rows.astype(np.float64) - centre) / spread)

    def train(seed: int) -> list[Layer]:
        return _train(lambda rows: block(vectors[rows]), standardised, vectors.shape[1], seed, advance)

    with workers() as threads:
        networks = list(threads.pool.map(train, seeds))

    def predict(query: Vectors) -> Float64:
        parts = [slice(start, start + ROWS_AT_ONCE) for start in range(0, len(query), ROWS_AT_ONCE)]
        found = [
            np.concatenate([_forward(layers, block(query[part])).detach().numpy() for part in parts], axis=1).T
            for layers in networks
        ]
        return np.stack(found) * target_spread + target_centre

    return predict


def _train(
    inputs: Callable[[NDArray[np.int64]], Tensor],
    targets: Float64,
    dimension: int,
    seed: int,
    advance: Callable[[int], None],
) -> list[Layer]:
    """Train one network for each column of `targets` (n, t), on the rows that `inputs` gives."""
    import torch

    draws = torch.Generator().manual_seed(seed)
    labels = torch.from_numpy(np.ascontiguousarray(targets.T))
    count = len(targets)
    layers = _initial_layers([dimension, *HIDDEN, 1], len(labels), draws)
    optimizer = torch.optim.Adam([tensor for layer in layers for tensor in layer], lr=LEARNING_RATE)
    for _ in range(EPOCHS):
        order = torch.randperm(count, generator=draws)
        for start in range(0, count, BATCH_ROWS):
            rows = order[start : start + BATCH_ROWS]
            optimizer.zero_grad()
            prediction = _forward(layers, inputs(rows.numpy()), draws)
            # Summed over the networks: each has the gradient of its own mean squared error.
            torch.autograd.backward((prediction - labels[:, rows]).square().mean(dim=1).sum())
            optimizer.step()
        advance(count)
    return layers


def _initial_layers(widths: Sequence[int], networks: int, draws: Generator) -> list[Layer]:
    """Return layers as torch initialises linear ones: uniform within 1 / sqrt(inputs), the same for each network."""
    import torch

    layers = []
    for inputs, outputs in pairwise(widths):
        drawn = torch.rand(inputs + 1, outputs, generator=draws, dtype=torch.float64)
        both = ((2 * drawn - 1) / inputs**0.5).repeat(networks, 1, 1)
        layers.append((both[:, :-1].clone().requires_grad_(), both[:, -1:].clone().requires_grad_()))
    return layers


def _forward(layers: Sequence[Layer], rows: Tensor, draws: Generator | None = None) -> Tensor:
    """Return the predictions (t, b) of t networks for rows (b, d); with `draws`, hidden values are dropped out."""
    import torch

    values = rows
    for weight, bias in layers[:-1]:
        values = torch.relu(values @ weight + bias)
        if draws is not None:
            kept = torch.rand(values.shape[-2:], generator=draws, dtype=torch.float64) >= DROPOUT
            values = values * kept / (1 - DROPOUT)
    weight, bias = layers[-1]
    return (values @ weight + bias)[..., 0]
