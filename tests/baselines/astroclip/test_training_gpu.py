"""A few steps on a GPU as the recipes take them: compiled, in bfloat16, the data on the device; and their report."""

from __future__ import annotations

import json
import math

import pytest
import torch

from astroclip_bench.datasets import open_dataset
from baselines.astroclip.config import read_recipe
from baselines.astroclip.train import run_recipe

RECIPE = """
[data]
cache = "device"
cache_dtype = "float16"
[stages.spectrum]
kind = "masked"
encoder = { name = "specformer", width = 128, depth = 2, heads = 2, mask_ivar = true }
train = { steps = 6, batch_size = 32, compile = true, log_every = 2, checkpoint_every = 4, validate_every = 4 }
[stages.align]
kind = "align"
dimension = 32
learn_scale = true
halves = 1.0
start = { spectrum = "spectrum" }
encoders.image = { name = "vit", patch = 8, width = 128, depth = 2, heads = 2, crop = 24, layer_scale = 0.1 }
heads = { image = { name = "cross-attention" }, spectrum = { name = "cross-attention" } }
augment.image = { size = 24, jitter = 2 }
augment.spectrum = { shift = 5, noise = 0.3, tilt = 0.03 }
train = { steps = 6, batch_size = 32, compile = true, log_every = 2, validate_every = 4, best = "loss" }
probe = { every = 6, reference = 60, queries = 20 }
"""


@pytest.mark.gpu
def test_stages_run_compiled_on_a_gpu_and_report_their_rates(pairs, tmp_path):
    (tmp_path / "two.toml").write_text(RECIPE)
    models = run_recipe(read_recipe(tmp_path / "two.toml"), open_dataset(pairs), tmp_path / "run", quiet=True)
    for path in models.values():
        entries = [json.loads(line) for line in path.with_name("log.jsonl").read_text().splitlines()]
        assert all(math.isfinite(entry["loss"]) for entry in entries if "loss" in entry)
        report = json.loads(path.with_name("report.json").read_text())
        assert report["device"] == torch.cuda.get_device_name()
        assert (report["precision"], report["steps"], report["galaxies"]) == ("bfloat16", 6, 192)
        assert report["matrix_tflops"] > 1  # any card of the last ten years
        assert 0 < report["share_of_matrix_rate"] < 1
        assert 0 < report["peak_memory_gib"] < torch.cuda.get_device_properties(0).total_memory / 2**30
        assert 0 < report["seconds"]["forward and backward"] < report["seconds"]["training"]
