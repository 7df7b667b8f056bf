"""A supervised stage from a recipe to scores of what the network itself predicts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import r2_score

from astroclip_bench.embedders import check_embedder, load_embedder, predict_split
from astroclip_bench.evaluation import evaluate
from baselines.astroclip.config import read_recipe
from baselines.astroclip.train import run_recipe

RECIPE = """
[data]
cache = "memory"
[stages.image]
kind = "supervised"
encoder = { name = "timm", backbone = "resnet10t", crop = 24, transform = "asinh" }
targets = ["redshift"]
hidden = [16]
augment.image = { size = 24, rotation = "quarter", jitter = 1, reddening = 0.0, blur = 0.0, noise = 0.0 }
[stages.image.train]
steps = 60
batch_size = 32
learning_rate = 3e-3
precision = "float32"
log_every = 10
validate_every = 20
best = "loss"
[stages.image.probe]
every = 60
reference = 60
queries = 20
"""


@pytest.fixture(scope="module")
def trained(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("supervised")
    (folder / "image.toml").write_text(RECIPE)
    run_recipe(read_recipe(folder / "image.toml"), pairs, folder / "run", quiet=True)
    return folder / "run" / "model.pt"


def test_training_lowers_the_loss_and_keeps_the_best_weights(trained):
    log = [json.loads(line) for line in (trained.parent / "image" / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert losses[-1] < 0.1 * losses[0]
    validation = {entry["step"]: entry["validation_loss"] for entry in log if "validation_loss" in entry}
    assert list(validation) == [20, 40, 60]
    assert min(validation.values()) < 0.1  # of a variance of 1
    assert any("redshift r2 image>image" in entry for entry in log)


def test_what_it_predicts_is_scored_beside_its_embedding(trained, pairs):
    embedder = load_embedder(str(trained))
    assert embedder.info.targets == {"image": ("redshift",)}
    assert embedder.info.dimension == 16
    assert check_embedder(embedder, pairs).passed
    result = evaluate(embedder, pairs, floors=(), use_cache=False)
    [score] = result.find(task="redshift", protocol="direct", metric="r2", group="all")
    test = pairs.splits["test"]
    found = predict_split(embedder, test, pairs.modalities["image"], data_digest=pairs.digest, cache=False)
    label = test.column("redshift")
    assert (score.query, score.n) == ("image", len(label))
    assert score.value == pytest.approx(r2_score(label, found["redshift"]), abs=1e-6)
    assert score.value > 0.9
    assert np.ptp(found["redshift"]) > 0.5
