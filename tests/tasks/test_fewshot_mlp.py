"""The network probe against the same written in plain torch: step for step, and as torch's own layers score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from astroclip_bench.tasks.mlp import EPOCHS, fit_mlp


def galaxies(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings (n, 10) and two targets that are no linear functions of them."""
    random = np.random.default_rng(seed)
    vectors = (3 + random.standard_normal((n, 10)) * np.linspace(0.5, 5, 10)).astype(np.float32)
    standard = (vectors - 3) / np.linspace(0.5, 5, 10)
    return vectors, np.stack([np.abs(standard[:, 0]) + standard[:, 1], 40 + 7 * np.tanh(standard[:, 2])], axis=1)


def standardised(vectors: np.ndarray, targets: np.ndarray, query: np.ndarray) -> tuple[torch.Tensor, ...]:
    mean, deviation = vectors.astype(np.float64).mean(axis=0), vectors.astype(np.float64).std(axis=0)
    sides = [(side - mean) / deviation for side in (vectors, query)]
    return (*map(torch.from_numpy, sides), torch.from_numpy((targets - targets.mean()) / targets.std()))


def step_by_step(vectors: np.ndarray, target: np.ndarray, query: np.ndarray, seed: int) -> np.ndarray:
    """Return the predictions of the network as torch's modules train it, one object of random numbers for each draw."""
    inputs, asked, labels = standardised(vectors, target, query)
    draws = torch.Generator().manual_seed(seed)
    layers = [torch.nn.Linear(a, b, dtype=torch.float64) for a, b in ((inputs.shape[1], 64), (64, 64), (64, 1))]
    for layer in layers:
        drawn = torch.rand(layer.in_features + 1, layer.out_features, generator=draws, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(((2 * drawn[:-1] - 1) / layer.in_features**0.5).T)
            layer.bias.copy_((2 * drawn[-1] - 1) / layer.in_features**0.5)
    optimizer = torch.optim.Adam([p for layer in layers for p in layer.parameters()], lr=1e-3)
    for _ in range(10):
        order = torch.randperm(len(inputs), generator=draws)
        for start in range(0, len(inputs), 64):
            rows = order[start : start + 64]
            hidden = inputs[rows]
            for layer in layers[:2]:
                hidden = torch.nn.functional.relu(layer(hidden))
                kept = torch.rand(len(rows), 64, generator=draws, dtype=torch.float64) >= 0.1
                hidden = torch.where(kept, hidden / 0.9, 0.0)
            loss = torch.nn.functional.mse_loss(layers[2](hidden)[:, 0], labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        hidden = asked
        for layer in layers[:2]:
            hidden = torch.nn.functional.relu(layer(hidden))
        return layers[2](hidden)[:, 0].numpy() * target.std() + target.mean()


def test_equals_plain_torch_step_by_step():
    vectors, targets = galaxies(300, 0)
    query, _ = galaxies(40, 1)
    found = fit_mlp(vectors, targets, (0, 5))(query)
    assert found.shape == (2, 40, 2)
    for place, seed in enumerate((0, 5)):
        for target in range(2):
            expected = step_by_step(vectors, targets[:, target], query, seed)
            np.testing.assert_allclose(found[place, :, target], expected, rtol=1e-9)


def test_scores_as_torchs_own_layers_do():
    """Initial weights, dropout and order by torch itself, in float32: other draws, the same distribution of scores."""
    vectors, targets = galaxies(800, 0)
    query, truth = galaxies(1_000, 1)
    inputs, asked, labels = (tensor.float() for tensor in standardised(vectors, targets[:, 0], query))
    theirs = []
    state = torch.random.get_rng_state()
    for seed in range(6):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            *(torch.nn.Linear(10, 64), torch.nn.ReLU(), torch.nn.Dropout(0.1)),
            *(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(0.1)),
            torch.nn.Linear(64, 1),
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, labels), 64, shuffle=True)
        for _ in range(10):
            for rows, label in loader:
                optimizer.zero_grad()
                torch.nn.functional.mse_loss(network(rows)[:, 0], label).backward()
                optimizer.step()
        with torch.no_grad():
            prediction = network.eval()(asked)[:, 0].numpy() * targets[:, 0].std() + targets[:, 0].mean()
        theirs.append(r2_score(truth[:, 0], prediction))
    torch.random.set_rng_state(state)
    ours = [r2_score(truth[:, 0], one[:, 0]) for one in fit_mlp(vectors, targets[:, :1], range(6))(query)]
    assert np.mean(ours) > 0.7
    error = np.hypot(np.std(ours, ddof=1), np.std(theirs, ddof=1)) / 6**0.5
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=4 * error)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_other_targets_change_nothing(threads):
    vectors, targets = galaxies(150, 0)
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    both = fit_mlp(vectors, targets, (0, 1, 2))(vectors)
    torch.set_num_threads(threads)
    try:
        alone = fit_mlp(vectors, targets[:, 1:], (1, 2))(vectors)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(both[1:, :, 1:], alone, rtol=1e-9)
    assert not np.allclose(alone[0], alone[1])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_it_tells_how_far_it_is_and_takes_a_constant_target():
    vectors, targets = galaxies(100, 0)
    shown = []
    predict = fit_mlp(vectors, np.full((100, 1), 3.0), (0, 1), shown.append)
    assert sum(shown) == 2 * EPOCHS * 100
    assert np.abs(predict(vectors) - 3).max() < 1
    assert np.isfinite(fit_mlp(np.ones_like(vectors), targets, (0,))(vectors)).all()
