"""A data set and a stage small enough to train in a second; as a script, so that a test can kill it or run it twice."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import torch
from tiny_source import TinySource
from torch import nn

from astroclip_bench.datasets import BenchDataset, open_dataset
from baselines.astroclip.config import DataSettings, ProbeSettings, TrainSettings
from baselines.astroclip.data import open_split
from baselines.astroclip.engine import StageData, train
from baselines.astroclip.probe import Probe
from dataset_builders.parquet import build_dataset

SETTINGS = {
    "steps": 12,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "precision": "float32",
    "log_every": 1,
    "validate_every": 5,
    "checkpoint_every": 4,
    "best": "loss",
}


class TinyStage:
    """Learns the mean image by a linear layer; `noise` and dropout draw from both kinds of generator.

    No gradient reaches its parameter ``idle``.
    """

    columns = ("image",)

    def __init__(self, noise: float = 0.0, dropout: float = 0.0, backwards: int = 1) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Flatten(), nn.Linear(192, 16), nn.LayerNorm(16), nn.Dropout(dropout), nn.Linear(16, 3)
        )
        self.model.register_parameter("idle", nn.Parameter(torch.ones(2, 2)))
        self.noise, self.backwards = noise, backwards
        self.after: list[int] = []

    def loss(self, image, generator):
        """Return the error of the predicted band means."""
        noise = self.noise * torch.randn(image.shape, generator=generator)
        return (self.model(image + noise) - image.mean((2, 3))).square().mean()

    def step(self, batch, backward, step, generator):
        """Send the batch back in `backwards` parts."""
        losses = [self.loss(part, generator) for part in batch["image"].chunk(self.backwards)]
        for loss in losses:
            backward(loss / self.backwards)
        return {"loss": sum(loss.detach() for loss in losses) / self.backwards}

    def after_step(self, step):
        """Note the step."""
        self.after.append(step)

    def validation_loss(self, batch, generator):
        """Return the loss of one batch."""
        return self.loss(batch["image"], generator)

    def export(self):
        """Return what a model file holds."""
        return "tiny", 1, {}, self.model.state_dict()

    def embedder(self):
        """Return what the probe scores."""
        stage = self

        class Embedder:
            modalities = ("image",)

            def embed(self, batch, modality):
                """Return the predictions."""
                return stage.model(batch["image"])

        return Embedder()


def noisy_stage() -> TinyStage:
    """Return a stage that draws random numbers of all kinds."""
    return TinyStage(noise=0.5, dropout=0.1)


def tiny_data(folder: Path, **settings) -> tuple[BenchDataset, StageData]:
    """Return the small data set, built if it is not there, and what a stage needs of it."""
    if not folder.exists():
        build_dataset(TinySource(), folder)
    dataset = open_dataset(folder)
    options = DataSettings(**settings)
    training, validation = (
        open_split(dataset, name, ("image",), options, torch.device("cpu")) for name in ("train", "validation")
    )
    probe = Probe.open(dataset, ProbeSettings(every=6, reference=60, queries=20))
    return dataset, StageData(training, validation, probe, dataset.digest, options.ahead)


def run(folder: Path, out: Path, stage: TinyStage | None = None, recipe: str = "recipe", progress=None, **changes):
    """Train the small stage on the small data set."""
    settings = TrainSettings(**{**SETTINGS, **changes})
    return train(
        stage or TinyStage(),
        tiny_data(folder)[1],
        settings,
        out,
        seed=7,
        recipe_digest=recipe,
        probe_every=6,
        progress=progress,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kill-at", type=int, default=0)
    parser.add_argument("--quiet-stage", action="store_true", help="no noise, no dropout")
    options = parser.parse_args()
    torch.set_num_threads(1)

    def stop(done: int, total: int) -> None:
        """Kill this process after so many steps."""
        if done == options.kill_at * SETTINGS["batch_size"]:
            os.kill(os.getpid(), signal.SIGKILL)

    run(options.data, options.out, TinyStage() if options.quiet_stage else noisy_stage(), progress=stop)
