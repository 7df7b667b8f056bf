"""Image, spectrum and text in one space: nine directions of scores from a model that starts from an aligned one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
import torch
from pair_source import PairSource

from astroclip_bench.datasets import open_dataset
from astroclip_bench.progress import progress_bar
from astroclip_bench.records import (
    COLUMNS,
    image_column,
    image_modality,
    record_schema,
    spectrum_modality,
    text_modality,
)
from baselines.astroclip.config import read_recipe, settings_from
from baselines.astroclip.scored import score_model
from baselines.astroclip.train import kind_settings, run_recipe
from baselines.hubbleclip.stage import AlignTextSettings, AlignTextStage
from baselines.three_modalities.figures import SHOWN, draw_directions
from dataset_builders.parquet import build_dataset

NAMES = ("object_id", "ra", "dec", "healpix", "split", "image", "flux", "ivar", "caption", "redshift", "proposal_id")


@dataclass
class ToldPairs(PairSource):
    """Pairs with a caption that tells the redshift, for two galaxies each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        columns = [image_column(size=self.size) if name == "image" else COLUMNS[name] for name in NAMES]
        self.pairs = self.schema
        self.schema = record_schema(
            self.info, columns, [image_modality(size=self.size), spectrum_modality(), text_modality()]
        )

    def make(self, first: int, count: int) -> pa.RecordBatch:
        """Return `count` galaxies from number `first` on."""
        told, self.schema = self.schema, self.pairs
        plain = super().make(first, count)
        self.schema = told
        proposals = [f"P{(first + place) // 2}" for place in range(count)]
        redshift = plain.column("redshift").to_numpy()
        columns = {name: plain.column(name) for name in plain.schema.names}
        columns["caption"] = pa.array([f"redshift {value:.1f}" for value in redshift])
        columns["proposal_id"] = pa.array(proposals)
        return pa.record_batch(columns, schema=told)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return open_dataset(build_dataset(ToldPairs(), tmp_path_factory.mktemp("told") / "data"))


def small_recipe():
    changes = [
        "stages.align.start={}",
        "stages.align.start_heads=[]",
        "stages.align.frozen=[]",
        "stages.align.dimension=8",
        'stages.align.encoders.image={name="vit", width=16, depth=1, heads=2, crop=24}',
        'stages.align.encoders.spectrum={name="specformer", width=16, depth=1, heads=2, length=400, overlap=200}',
        "stages.align.encoders.text.sizes.embed_dim=8",
        "stages.align.encoders.text.sizes.text_cfg={context_length=16, width=16, heads=2, layers=1}",
        "stages.align.train.batch_size=16",
        "stages.align.train.epochs=2",
    ]
    return read_recipe("three-modalities", changes)


def test_every_direction_is_scored_and_drawn(told, tmp_path):
    models = run_recipe(small_recipe(), told, tmp_path / "run", quiet=True)
    show = partial(progress_bar, quiet=True)
    result = score_model(models["align"], told, tmp_path / "result.json", show_progress=show, floors=False)
    names = ("image", "spectrum", "text")
    every = {(one, other) for one in names for other in names}
    assert result.embedder["modalities"] == list(names)
    assert {(row.reference, row.query) for row in result.find(task="redshift", protocol="knn16", metric="r2")} == every
    cross = {pair for pair in every if pair[0] != pair[1]}
    assert {(row.reference, row.query) for row in result.find(task="retrieval", metric="recall@10")} == cross
    figure = draw_directions(result)
    written = [axis for axis in figure.axes if axis.get_title() in {title for _, _, title in SHOWN}]
    redshift = [text.get_text() for text in written[0].texts]
    assert len(redshift) == 9
    assert "-" not in redshift
    assert [text.get_text() for text in written[2].texts].count("-") == 3


def test_starts_from_the_bundled_model_and_keeps_its_space():
    from astroclip_bench.embedders import load_embedder

    recipe = read_recipe("three-modalities")
    torch.manual_seed(0)
    stage = AlignTextStage(settings_from(AlignTextSettings, recipe.stages[0].own, "stages.align"), {})
    stage.model.eval()
    bundled = load_embedder("astroclip-mini")
    image = np.random.default_rng(0).normal(0, 0.1, (2, 3, 152, 152)).astype(np.float32)
    found = stage.model.embed({"image": torch.from_numpy(image)}, "image").detach().numpy()
    np.testing.assert_allclose(found, bundled.embed({"image": image}, "image"), atol=1e-5)
    assert not any(value.requires_grad for value in stage.model.encoders["spectrum"].parameters())
    assert all(value.requires_grad for value in stage.model.encoders["text"].parameters())


@pytest.mark.parametrize("name", ["three-modalities", "three-modalities-large"])
def test_recipes_are_valid(name):
    (stage,) = read_recipe(name).stages
    assert kind_settings(stage).together == {"text": "proposal_id"}
