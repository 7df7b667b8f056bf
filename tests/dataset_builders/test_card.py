"""The card says what the data set is, in a form that the Hub understands."""

from __future__ import annotations

import pytest
import yaml
from tiny_source import TinySource, tiny_info

from dataset_builders.parquet import build_dataset


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    folder = build_dataset(TinySource(), tmp_path_factory.mktemp("card") / "out")
    return (folder / "README.md").read_text()


def test_front_matter(card):
    _, header, body = card.split("---\n", 2)
    values = yaml.safe_load(header)
    assert values["pretty_name"] == "Tiny data set"
    assert values["license"] == "cc-by-4.0"
    assert values["size_categories"] == ["n<1K"]
    assert {"astronomy", "simulation", "image", "photometry"} <= set(values["tags"])
    (config,) = values["configs"]
    assert config["config_name"] == "pairs"
    assert [file["split"] for file in config["data_files"]] == ["train", "validation", "test"]
    assert body.startswith("\n**This data set is a simulation")


def test_the_hub_library_accepts_the_front_matter(card):
    from huggingface_hub import DatasetCard

    assert DatasetCard(card).data.pretty_name == "Tiny data set"


def test_body(card):
    assert "| `image` | float[3,8,8] | nmgy | modality | Calibrated flux in each pixel |" in card
    assert "| `redshift` | float or null | - | label | Spectroscopic redshift |" in card
    assert "| train | 80 |" in card
    assert "below 0.70 train" in card
    assert "## How it was made\n\nWith a random number generator." in card
    assert "load_dataset(" in card
    assert "open_dataset(" in card


def test_real_data_do_not_call_themselves_a_simulation(tmp_path):
    folder = build_dataset(TinySource(info=tiny_info(simulated=False)), tmp_path / "out")
    assert "simulation" not in (folder / "README.md").read_text()
