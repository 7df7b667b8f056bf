"""A recipe of two stages from the command line to a model file, gone on from, and refused where it should be."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from astroclip_bench.cli.main import app
from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import check_embedder, load_embedder

RECIPE = """
[data]
cache = "memory"
[stages.spectrum]
kind = "masked"
encoder = { name = "specformer", width = 16, depth = 1, heads = 2, length = 100, overlap = 0, mask_ivar = true }
chunk_tokens = 5
train = { steps = 3, batch_size = 16, precision = "float32" }
[stages.align]
kind = "align"
dimension = 8
start = { spectrum = "spectrum" }
encoders.image = { name = "timm", backbone = "resnet10t", crop = 24 }
heads = { image = { name = "mlp" }, spectrum = { name = "cross-attention", heads = 2 } }
train = { steps = 3, batch_size = 16, best = "probe", log_every = 1 }
probe = { every = 3, reference = 60, queries = 20 }
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(RECIPE)
    return path


def train(recipe, pairs, out, *arguments):
    return CliRunner().invoke(
        app, ["train", str(recipe), *arguments, "--data", str(pairs), "--out", str(out), "--quiet"]
    )


def test_two_stages_end_in_a_model_that_the_harness_takes(recipe, pairs, tmp_path):
    out = tmp_path / "run"
    result = train(recipe, pairs, out)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out / "model.pt")
    embedder = load_embedder(str(out / "model.pt"))
    assert set(embedder.info.modalities) == {"spectrum", "image"}
    assert check_embedder(embedder, open_dataset(pairs)).passed
    assert load_embedder(str(out / "spectrum" / "model.pt")).info.modalities == ("spectrum",)
    entries = [json.loads(line) for line in (out / "align" / "log.jsonl").read_text().splitlines()]
    assert {"redshift r2 spectrum>image", "probe", "validation_loss"} <= entries[-1].keys()

    made = (out / "spectrum" / "model.pt").stat().st_mtime_ns
    assert train(recipe, pairs, out).exit_code == 0
    assert (out / "spectrum" / "model.pt").stat().st_mtime_ns == made
    refused = train(recipe, pairs, out, "stages.spectrum.train.learning_rate=1e-4")
    assert refused.exit_code == 2
    assert "another recipe" in refused.stderr
    again = train(recipe, pairs, out, "stages.spectrum.train.learning_rate=1e-4", "--fresh")
    assert again.exit_code == 0
    assert (out / "spectrum" / "model.pt").stat().st_mtime_ns != made


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stages.align.kind=alignn", "did you mean align"),
        ("stages.align.dimensions=3", "did you mean dimension"),
        ("stages.align.augment.image.sise=3", "did you mean size"),
        ("stages.align.probe.label=redshif", "no label 'redshif'"),
        ("stages.spectrum.encoder.depht=3", "did you mean depth"),
        ("stages.spectrum.train.batch_size=4000", "at least one batch of 4000"),
    ],
)
def test_wrong_recipes_are_one_line(recipe, pairs, tmp_path, override, said):
    result = train(recipe, pairs, tmp_path / "run", override, "stages.spectrum.train.steps=1")
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
