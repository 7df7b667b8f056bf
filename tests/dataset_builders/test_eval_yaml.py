"""The file that makes a benchmark of a data set on the Hub."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from rich_source import RichSource
from tiny_source import TinySource

from astroclip_bench.datasets.manifest import read_manifest
from dataset_builders.eval_yaml import write_eval_yaml
from dataset_builders.parquet import build_dataset


@pytest.fixture
def folder(tmp_path):
    return build_dataset(TinySource(), tmp_path / "out")


def test_the_file_holds_what_the_hub_asks_for(folder):
    assert write_eval_yaml(folder, TinySource().schema, read_manifest(folder))
    found = yaml.safe_load((folder / "eval.yaml").read_text())
    assert found == {
        "name": "Tiny data set",
        "description": "Random numbers in the shape of galaxies.",
        "evaluation_framework": "astroclip-bench",
        "tasks": [
            {"id": "redshift", "config": "pairs", "split": "test"},
            {"id": "retrieval", "config": "pairs", "split": "test"},
            {"id": "retrieval-lookalikes", "config": "pairs", "split": "test"},
            {"id": "neighbours-redshift", "config": "pairs", "split": "test"},
        ],
    }


def test_retrieval_takes_two_modalities(folder):
    write_eval_yaml(folder, RichSource().schema, read_manifest(folder))
    tasks = [task["id"] for task in yaml.safe_load((folder / "eval.yaml").read_text())["tasks"]]
    assert tasks == ["redshift", "stellar-mass", "neighbours-redshift", "neighbours-mass"]


def test_no_file_where_there_is_nothing_to_test_on(folder):
    manifest = dataclasses.replace(read_manifest(folder), counts={"train": 120, "validation": 0, "test": 0})
    (folder / "eval.yaml").unlink(missing_ok=True)
    assert not write_eval_yaml(folder, TinySource().schema, manifest)
    assert not (folder / "eval.yaml").exists()
