"""Embeddings as a file: what the harness embeds itself, on one process and on two."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from astroclip_bench.cli.main import app
from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import EmbedderInfo, embed_split, load_embedder
from baselines.astroclip.embed import embed_dataset

MODEL = "random-projection"


class Predicting:
    """A model that says a redshift of spectra."""

    info = EmbedderInfo("predicting", "0" * 64, 2, ("image", "spectrum"), "none", targets={"spectrum": ("redshift",)})

    def embed(self, batch, modality):
        """Return the same vector for each."""
        return np.ones((len(next(iter(batch.values()))), 2), np.float32)

    def predict(self, batch, modality):
        """Return the mean flux."""
        return {"redshift": batch["flux"].mean(1)}


@pytest.fixture(scope="module")
def vectors(pairs):
    """Return what the harness itself embeds: (split, modality) -> vectors."""
    dataset, embedder = open_dataset(pairs), load_embedder(MODEL)
    return {
        (split, name): embed_split(embedder, view, modality, data_digest=dataset.digest, cache=False)
        for split, view in dataset.splits.items()
        for name, modality in dataset.modalities.items()
    }


def embed(pairs, out, *arguments):
    return CliRunner().invoke(app, ["embed", MODEL, "--data", str(pairs), "--out", str(out), "--quiet", *arguments])


def require_equal(path, vectors, splits, tolerance=0.0):
    stored = load_embedder(str(path))
    for (split, modality), wanted in vectors.items():
        if split in splits:
            found = stored.lookup(wanted.object_ids, modality)
            np.testing.assert_allclose(found, wanted.vectors, rtol=tolerance, atol=tolerance)


def test_file_holds_what_the_harness_embeds(pairs, vectors, tmp_path):
    out = tmp_path / "all.parquet"
    result = embed(pairs, out)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)
    require_equal(out, vectors, ("train", "validation", "test"))
    assert pq.read_table(out).num_rows == 120
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.parquet"]


def test_half_precision_of_one_split(pairs, vectors, tmp_path):
    out = tmp_path / "half.parquet"
    assert embed(pairs, out, "--splits", "test", "--precision", "float16").exit_code == 0
    table = pq.read_table(out)
    assert str(table.schema.field("image").type.value_type) == "halffloat"
    assert table["object_id"].to_pylist() == vectors["test", "image"].object_ids
    require_equal(out, vectors, ("test",), tolerance=1e-3)


def test_two_processes_write_the_same(pairs, vectors, tmp_path):
    out = tmp_path / "two.parquet"
    module = ["-m", "baselines.astroclip.embed", MODEL, "--data", str(pairs), "--out", str(out), "--quiet"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *module]
    subprocess.run(command, check=True, capture_output=True)
    # torchrun gives each process one thread, and sums in another order round otherwise.
    require_equal(out, vectors, ("train", "validation", "test"), tolerance=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two.parquet"]


def test_predictions_stand_beside_the_vectors(pairs, tmp_path):
    dataset = open_dataset(pairs)
    path = embed_dataset(Predicting(), dataset, tmp_path / "both.parquet", ["test"], precision="float16")
    stored, view = load_embedder(str(path)), dataset.splits["test"]
    assert stored.info.targets == {"spectrum": ("redshift",)}
    found = stored.lookup_prediction(view.object_ids, "spectrum", "redshift")
    np.testing.assert_allclose(
        found, np.concatenate([one.arrays["flux"].mean(1) for one in view.batches(["flux"], 64)])
    )


@pytest.mark.parametrize(
    ("arguments", "said"), [(("--splits", "dev"), "no split 'dev'"), (("--precision", "int8"), "float32 or float16")]
)
def test_wrong_options_are_one_line(pairs, tmp_path, arguments, said):
    result = embed(pairs, tmp_path / "x.parquet", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
