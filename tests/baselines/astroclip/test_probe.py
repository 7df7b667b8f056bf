"""The score that a training is followed by, on embeddings of known content."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from astroclip_bench.datasets import open_dataset
from astroclip_bench.errors import DataError
from baselines.astroclip.config import ProbeSettings
from baselines.astroclip.probe import Probe

SETTINGS = ProbeSettings(every=1, reference=80, queries=20)


class Brightness:
    """Embeds images, whose brightness tells the redshift, on an arc; and spectra by nothing but noise."""

    modalities = ("image", "spectrum")

    def embed(self, batch, modality):
        """Return two numbers an object."""
        if modality == "spectrum":
            return batch["flux"][:, :2] - batch["flux"][:, 2:4]
        angle = batch["image"].mean((1, 2, 3))
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_scores_every_pair_without_the_test_split(pairs):
    opened = open_dataset(pairs)
    dataset = replace(opened, splits={name: view for name, view in opened.splits.items() if name != "test"})
    scores = Probe.open(dataset, SETTINGS).score(Brightness(), torch.device("cpu"))
    assert scores["redshift r2 image>image"] > 0.99
    pairs_scored = [value for name, value in scores.items() if name.startswith("redshift r2")]
    assert len(pairs_scored) == 4
    assert all(value < 0.5 for name, value in scores.items() if "spectrum" in name)
    assert scores["probe"] == pytest.approx(sum(pairs_scored) / 4)


def test_unknown_labels_are_named(pairs):
    with pytest.raises(DataError, match=r"no label 'age' in .*one of redshift"):
        Probe.open(open_dataset(pairs), replace(SETTINGS, label="age"))
