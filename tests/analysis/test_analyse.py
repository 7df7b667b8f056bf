"""The whole analysis in a folder: its files agree with each other, and pictures show something."""

from __future__ import annotations

import json

import numpy as np
import pandas
import pytest

from astroclip_bench.analysis import analyse as module
from astroclip_bench.analysis import structure
from astroclip_bench.analysis.analyse import analyse, to_plain
from astroclip_bench.analysis.gallery import to_rgb
from astroclip_bench.datasets import open_dataset
from astroclip_bench.embedders import EmbedderInfo, load_embedder
from astroclip_bench.errors import DataError, MissingExtraError

COLUMNS = ["object_id", "modality", "x", "y", "redshift", "log_stellar_mass", "cluster", "island"]


class ThreeNumbers:
    """Embeds any pair by three moments of its arrays into one space."""

    info = EmbedderInfo("three-numbers", "1" * 32, 3, ("image", "spectrum"), "none")

    def embed(self, batch, modality):
        """Return (n, 3)."""
        array = np.clip(next(iter(batch.values())), -10, 10).reshape(len(next(iter(batch.values()))), -1)
        return np.stack([array.mean(axis=1), array.std(axis=1), array[:, ::7].max(axis=1)], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    from pair_source import PairSource

    from dataset_builders.parquet import build_dataset

    return open_dataset(
        build_dataset(PairSource(n_shards=1, shard_rows=300), tmp_path_factory.mktemp("analyse") / "pairs")
    )


@pytest.fixture(scope="module")
def folder(pairs, tmp_path_factory):
    """Return the folder of an analysis whose maps are principal components, which take no time."""
    patch = pytest.MonkeyPatch()
    patch.setattr(structure, "project", principal_plane)
    for name, few in (("SHOWN_PARTS", 2), ("SHOWN_MEMBERS", 3), ("SHOWN_OUTLIERS", 4)):
        patch.setattr(module, name, few)
    out = tmp_path_factory.mktemp("analysis") / "out"
    analyse(ThreeNumbers(), pairs, out, split="train", against=load_embedder("random-projection"), eps=0.05)
    patch.undo()
    return out


def principal_plane(vectors, seed=0):
    centred = vectors - vectors.mean(axis=0)
    return (centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T).astype(np.float64)


@pytest.fixture(scope="module")
def analysis(folder):
    return json.loads((folder / "analysis.json").read_text())


def test_an_analysis_names_its_data_models_seeds_and_files(analysis, folder, pairs):
    assert analysis["dataset"]["digest"] == pairs.digest
    assert (analysis["dataset"]["split"], analysis["dataset"]["rows"]) == ("train", pairs.splits["train"].rows)
    assert analysis["dataset"]["simulated"] is True
    assert (analysis["embedder"]["name"], analysis["against"]["name"]) == ("three-numbers", "random-projection")
    assert set(analysis["seeds"]) == {"umap", "kmeans", "gallery"}
    assert analysis["settings"]["island_eps"] == 0.05
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == {"analysis.json", *analysis["files"]}


def test_the_map_has_each_object_in_each_space(folder, analysis, pairs):
    table = pandas.read_parquet(folder / "umap.parquet")
    assert list(table.columns) == COLUMNS
    assert set(table.modality) == {"image", "spectrum", "joint"} == set(analysis["spaces"])
    view = pairs.splits["train"]
    for name, part in table.groupby("modality"):
        assert part.object_id.tolist() == view.object_ids
        assert part.redshift.to_numpy() == pytest.approx(view.column("redshift"))
        assert part.log_stellar_mass.isna().all()
        sizes = {row["part"]: row["n"] for row in analysis["spaces"][name]["clusters"] if row["part"] is not None}
        assert part.cluster.value_counts().to_dict() == sizes
        assert len(sizes) == analysis["spaces"][name]["k"]
        sizes = {row["part"]: row["n"] for row in analysis["spaces"][name]["islands"] if row["part"] is not None}
        assert part.island.value_counts().to_dict() == sizes


def test_diagnostics_stand_for_modalities_pairs_and_models(analysis):
    found = analysis["diagnostics"]
    assert set(found["modalities"]) == {"image", "spectrum"}
    assert 1 <= found["modalities"]["image"]["participation_ratio"] <= 3
    [pair] = found["pairs"]
    assert (pair["one"], pair["other"]) == ("image", "spectrum")
    assert 0 <= pair["modality_gap"] <= 2
    assert [row["modality"] for row in found["models"]] == ["image", "spectrum"]
    assert all(0 <= row["cka"] <= 1 for row in found["models"])


def test_outliers_are_ranked_with_their_neighbours(folder, analysis, pairs):
    table = pandas.read_parquet(folder / "outliers.parquet")
    for name, part in table.groupby("modality"):
        assert part["rank"].tolist() == list(range(1, len(part) + 1))
        assert part.distance.is_monotonic_decreasing
        assert [row["object_id"] for row in analysis["outliers"][name]] == part.object_id.head(20).tolist()
    first = table.iloc[0]
    redshift = dict(zip(pairs.splits["train"].object_ids, pairs.splits["train"].column("redshift"), strict=True))
    assert first.object_id not in first.neighbour_ids
    assert first.redshift_of_neighbours == pytest.approx(np.median([redshift[name] for name in first.neighbour_ids]))


def test_pictures_are_of_both_modalities_and_show_something(folder, analysis):
    from PIL import Image

    pictures = [name for name in analysis["files"] if name.endswith(".png")]
    kinds = {(space, modality) for space in ("image", "spectrum", "joint") for modality in ("image", "spectrum")}
    assert {
        f"gallery/{kind}-{space}-{modality}.png" for kind in ("clusters", "outliers") for space, modality in kinds
    } < set(pictures)
    for name in pictures:
        pixels = np.asarray(Image.open(folder / name).convert("RGB"))
        assert pixels.shape[0] > 100
        assert pixels.std() > 5, name


def test_an_analysis_of_one_modality_has_no_pairs_and_no_joint_space(tmp_path, pairs, monkeypatch):
    monkeypatch.setattr(structure, "project", principal_plane)

    class ImagesAlone(ThreeNumbers):
        info = EmbedderInfo("images-alone", "2" * 32, 3, ("image",), "none")

    found = analyse(ImagesAlone(), pairs, tmp_path / "out", split="train", limit=60)
    assert list(found["spaces"]) == ["image"]
    assert found["diagnostics"]["pairs"] == found["diagnostics"]["models"] == []
    assert found["dataset"]["rows"] == 60


def test_unknown_splits_and_foreign_models_are_refused(tmp_path, pairs):
    with pytest.raises(DataError, match="night"):
        analyse(ThreeNumbers(), pairs, tmp_path, split="night")
    with pytest.raises(DataError, match="in common"):
        analyse(load_embedder("photometry"), pairs, tmp_path)


def test_a_missing_extra_is_named_before_any_work(tmp_path, pairs, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"umap-learn.*report"):
        analyse(ThreeNumbers(), pairs, tmp_path)


def test_numbers_that_json_has_not_become_null():
    value = {1: (np.float32(0.5), float("nan")), "x": [np.int64(3), np.inf, None, "text"]}
    assert to_plain(value) == {"1": [0.5, None], "x": [3, None, None, "text"]}


def test_a_red_galaxy_is_shown_red_and_the_sky_dark():
    image = np.zeros((3, 9, 9), np.float32)
    image[:, 4, 4] = [0.05, 0.15, 0.5]
    red, green, blue = to_rgb(image, ["g", "r", "z"])[4, 4].astype(int)
    assert red > green > blue
    assert to_rgb(image, ["g", "r", "z"])[0, 0].max() < 60
    assert to_rgb(image[:1], ["i"]).shape == (9, 9, 3)
