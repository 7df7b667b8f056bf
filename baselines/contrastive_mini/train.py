"""Train the bundled reference model: ``python -m baselines.contrastive_mini.train --data DIR --out DIR``.

Reads the train split, and the validation split to choose the epoch and to stop; never the test split, and no label.
Every random choice is a function of the seed and the step, so a run that was killed and started again with the same
command ends like one that was not.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders.weights import save_model
from astroclip_bench.errors import DataError, UserError
from astroclip_bench.files import atomic_path
from astroclip_bench.progress import Progress, progress_bar
from baselines.contrastive_mini.augment import augment_image, augment_spectrum
from baselines.contrastive_mini.data import Reduced, combine, reduce_split
from baselines.contrastive_mini.model import ARCHITECTURE, ARCHITECTURE_VERSION, ModelConfig, build
from baselines.contrastive_mini.objective import Objective

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
MODEL = "model.pt"
INTERRUPTED = 130


@dataclass(frozen=True)
class TrainConfig:
    """What a run depends on besides the data."""

    epochs: int = 12
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up: float = 0.05
    gradient_norm: float = 5.0
    spectrum_weight: float = 4.0
    patience: int = 4
    seed: int = 20240717
    bfloat16: bool = True


@dataclass
class State:
    """Where a run stands; all of it is in the checkpoint."""

    objective: Objective
    optimiser: torch.optim.Optimizer
    history: list[dict[str, Any]]
    best: dict[str, Tensor]

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """Number (from 1) of the epoch of least validation loss; 0 before the first."""
        losses = [entry["validation"]["loss"] for entry in self.history]
        return 1 + losses.index(min(losses)) if losses else 0


def train(
    train_split: Reduced,
    validation_split: Reduced,
    out: Path,
    model_config: ModelConfig,
    config: TrainConfig,
    *,
    stop_after: int | None = None,
    progress: Progress | None = None,
) -> Path | None:
    """Train, going on from the checkpoint in `out` if there is one, and write ``model.pt`` there.

    Parameters
    ----------
    stop_after
        Leave off after that many epochs of this call, as an interruption would.
    progress
        Called with the galaxies seen in this call and their total.

    Returns
    -------
    path
        The model of the epoch of least validation loss; None if the run was left off.

    Raises
    ------
    DataError
        If the train split is smaller than a batch, or `out` holds the checkpoint of a run with other settings.
    """
    if len(train_split) < config.batch_size:
        raise DataError(f"{len(train_split)} galaxies to train on", f"at least one batch of {config.batch_size}")
    state = _start(out, model_config, config)
    started_at = state.epoch
    while state.epoch < config.epochs and state.epoch - state.best_epoch < config.patience:
        if stop_after is not None and state.epoch - started_at == stop_after:
            return None
        began = time.monotonic()
        losses = _run_epoch(state, train_split, config, started_at, progress)
        entry = {
            "epoch": state.epoch + 1,
            "train": losses,
            "validation": validate(state.objective, validation_split, config),
        }
        state.history.append(
            {**entry, "scale": float(state.objective.scale.detach()), "seconds": time.monotonic() - began}
        )
        if state.best_epoch == state.epoch:
            state.best = {name: value.clone() for name, value in state.objective.model.state_dict().items()}
        _save(state, out, model_config, config)
    return save_model(out / MODEL, ARCHITECTURE, ARCHITECTURE_VERSION, model_config.to_mapping(), state.best)


def _run_epoch(
    state: State, data: Reduced, config: TrainConfig, started_at: int, progress: Progress | None
) -> dict[str, float]:
    """Train on every galaxy once, in full batches, and return the mean losses."""
    state.objective.train()
    steps = len(data) // config.batch_size
    order = np.random.default_rng([config.seed, state.epoch]).permutation(len(data))
    total: dict[str, float] = {}
    for number in range(steps):
        step = state.epoch * steps + number
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate(step, config.epochs * steps, config)
        rows = np.sort(order[number * config.batch_size : (number + 1) * config.batch_size])
        losses = _step(state, data, rows, config, Generator().manual_seed(config.seed * 1_000_003 + step))
        for name, value in losses.items():
            total[name] = total.get(name, 0.0) + value / steps
        if progress:
            before = started_at * steps  # done by an earlier call: no part of this one's rate
            progress((step + 1 - before) * config.batch_size, (config.epochs * steps - before) * config.batch_size)
    return total


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Return the learning rate of a step: a linear warm-up, then a cosine to zero."""
    warm_up = max(1, round(config.warm_up * steps))
    if step < warm_up:
        return config.learning_rate * (step + 1) / warm_up
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _step(state: State, data: Reduced, rows: np.ndarray, config: TrainConfig, generator: Generator) -> dict[str, float]:
    image = augment_image(*data.images(rows), generator)
    first, second = (augment_spectrum(*half, generator) for half in data.halves(rows))
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
        losses = state.objective(image, first, second)
    state.optimiser.zero_grad()
    losses["loss"].backward()
    torch.nn.utils.clip_grad_norm_(state.objective.parameters(), config.gradient_norm)
    state.optimiser.step()
    return {name: float(value.detach()) for name, value in losses.items()}


@torch.no_grad()
def validate(objective: Objective, data: Reduced, config: TrainConfig) -> dict[str, float]:
    """Return the losses on the validation split without augmentation, and the recall in the whole of it.

    The losses are means over batches of the training size (the last, smaller one left out where there are others).
    """
    objective.eval()
    size = min(config.batch_size, len(data))
    total: dict[str, float] = {}
    images, spectra = [], []
    starts = range(0, len(data), size)
    full = len(data) // size
    for start in starts:
        rows = np.arange(start, min(start + size, len(data)))
        image, halves = data.images(rows), data.halves(rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
            losses = objective(image, *halves)
            images.append(functional.normalize(objective.model.image(*image).float(), dim=1))
            spectra.append(functional.normalize(objective.model.spectrum(*combine(*halves)).float(), dim=1))
        if len(rows) == size:
            for name, value in losses.items():
                total[name] = total.get(name, 0.0) + float(value) / full
    similarity = torch.cat(images) @ torch.cat(spectra).T
    rank = (similarity > similarity.diagonal()[:, None]).sum(1)
    return {**total, "recall_at_10": float((rank < 10).float().mean())}


def _start(out: Path, model_config: ModelConfig, config: TrainConfig) -> State:
    """Return a fresh state, or the one in the checkpoint of `out`."""
    torch.manual_seed(config.seed)
    objective = Objective(build(model_config.to_mapping()), config.spectrum_weight)
    optimiser = torch.optim.AdamW(
        objective.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    path = out / CHECKPOINT
    if not path.exists():
        return State(objective, optimiser, [], {})
    saved = torch.load(path, weights_only=True)
    if saved["config"] != _settings(model_config, config):
        raise DataError(
            f"{path} is of a run with other settings", "the same ones", "name another --out, or remove the checkpoint"
        )
    objective.load_state_dict(saved["objective"])
    optimiser.load_state_dict(saved["optimiser"])
    return State(objective, optimiser, saved["history"], saved["best"])


def _settings(model_config: ModelConfig, config: TrainConfig) -> dict[str, Any]:
    return {"model": model_config.to_mapping(), "train": asdict(config)}


def _save(state: State, out: Path, model_config: ModelConfig, config: TrainConfig) -> None:
    """Write the log and the checkpoint; the log is made from the checkpoint's history, so the two never disagree."""
    checkpoint: Mapping[str, Any] = {
        "config": _settings(model_config, config),
        "objective": state.objective.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "history": state.history,
        "best": state.best,
    }
    with atomic_path(out / CHECKPOINT) as temporary:
        torch.save(checkpoint, temporary)
    with atomic_path(out / LOG) as temporary:
        lines = [json.dumps(_settings(model_config, config)), *(json.dumps(entry) for entry in state.history)]
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for the user's input, 130 when interrupted."""
    defaults = TrainConfig()
    parser = argparse.ArgumentParser(
        prog="python -m baselines.contrastive_mini.train",
        description="Train the bundled reference model. Started again after an interruption, it goes on.",
        epilog="example: python -m baselines.contrastive_mini.train --data mock-train --out run",
    )
    parser.add_argument("--data", required=True, help="data set: a folder, a name, or a Hub repository")
    parser.add_argument("--out", required=True, type=Path, help="folder of the cache, checkpoint, log and model.pt")
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--threads", type=int, default=None, help="torch threads (all cores unless given)")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    options = parser.parse_args(arguments)
    config = TrainConfig(
        epochs=options.epochs, batch_size=options.batch_size, learning_rate=options.learning_rate, seed=options.seed
    )
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        path = _train_command(options.data, options.out, config, options.quiet)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on from the last finished epoch\n")
        return INTERRUPTED
    sys.stdout.write(f"{path}\n")
    return 0


def _train_command(data: str, out: Path, config: TrainConfig, quiet: bool) -> Path | None:
    dataset = open_dataset(data)
    model_config = ModelConfig()
    scratch = build(model_config.to_mapping())
    splits = []
    for name in ("train", "validation"):
        with progress_bar(f"reducing {name}", quiet=quiet) as progress:
            splits.append(reduce_split(dataset, name, scratch, out / "reduced" / name, progress))
    with progress_bar("training", quiet=quiet) as progress:
        return train(splits[0], splits[1], out, model_config, config, progress=progress)


if __name__ == "__main__":
    sys.exit(main())
