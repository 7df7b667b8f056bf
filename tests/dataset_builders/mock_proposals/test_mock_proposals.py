"""The data set of mock proposals: the survey's rows unchanged, and what the proposals add."""

from __future__ import annotations

import json
import pickle
from collections import defaultdict

import numpy as np
import pytest
import typer
from galaxies_source import GalaxiesSource
from typer.testing import CliRunner

from astroclip_bench.datasets import check_dataset, dataset_names, open_dataset
from astroclip_bench.errors import DataError
from dataset_builders.mock_proposals import MINI, VERSION
from dataset_builders.mock_proposals.command import build
from dataset_builders.mock_proposals.folder import FIGURE, build_folder
from dataset_builders.mock_proposals.gallery import proposal_montage
from dataset_builders.mock_proposals.source import COLUMN_LIST, MockProposals
from dataset_builders.mock_proposals.themes import OBJECT_CLASSES, SCIENCE_CASES
from dataset_builders.parquet import build_dataset

ADDED = [column.name for column in COLUMN_LIST]


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return open_dataset(build_dataset(GalaxiesSource(), tmp_path_factory.mktemp("survey") / "survey"))


@pytest.fixture(scope="module")
def proposals(survey, tmp_path_factory):
    return open_dataset(build_folder(MockProposals(survey), tmp_path_factory.mktemp("proposals") / "proposals"))


def test_the_rows_of_the_survey_are_unchanged(survey, proposals):
    assert check_dataset(proposals.folder).rows == 160
    assert proposals.schema.names == [*survey.schema.names, *ADDED]
    for split, view in survey.splits.items():
        assert proposals.splits[split].table(survey.schema.names).equals(view.table(survey.schema.names))
    for field in survey.schema:
        found = proposals.schema.field(field.name)
        assert found.type == field.type
        assert {key: found.metadata[key] for key in field.metadata} == field.metadata
    text = proposals.modalities["text"]
    assert (text.columns, text.dtype, text.shared_by) == (("caption",), "string", "proposal_id")
    assert {name: proposals.modalities[name] for name in survey.modalities} == survey.modalities
    assert proposals.info.simulated


def test_a_proposal_has_one_caption_one_theme_and_one_split(proposals):
    seen = defaultdict(set)
    pixels = {}
    for split, view in proposals.splits.items():
        columns = [view.column(name) for name in (*ADDED, "healpix")]
        for text, proposal, object_class, science_case, pixel in zip(*columns, strict=True):
            seen[proposal].add((text, object_class, science_case, split))
            assert pixels.setdefault(pixel, split) == split
            assert object_class in OBJECT_CLASSES
            assert science_case in SCIENCE_CASES
    assert len(seen) > 20
    assert all(len(found) == 1 for found in seen.values())
    for name in ("object_class", "science_case"):
        described = proposals.schema.field(name).metadata[b"description"].decode()
        assert all(found in described for found in set(proposals.splits["train"].column(name)))


def test_a_build_in_processes_or_of_a_pickled_source_is_the_same(survey, proposals, tmp_path):
    source = pickle.loads(pickle.dumps(MockProposals(survey)))
    again = build_folder(source, tmp_path / "again", workers=2)
    assert open_dataset(again).digest == proposals.digest
    assert build_folder(source, tmp_path / "again") == again


def test_the_card_says_that_all_is_invented(proposals):
    text = (proposals.folder / "README.md").read_text()
    assert "This data set is a simulation" in text
    assert "**Galaxies and texts are invented**" in text
    assert all(prompt in text for prompt in [*OBJECT_CLASSES.values(), *SCIENCE_CASES.values()])
    assert proposals.splits["test"].column("caption")[0] in text
    assert (proposals.folder / "figures" / FIGURE).is_file()
    build_entry = json.loads((proposals.folder / "manifest.json").read_text())["build"]
    assert build_entry["survey"]["name"] == "tiny-survey"
    assert sum(build_entry["proposals"].values()) == len(
        {name for view in proposals.splits.values() for name in view.column("proposal_id")}
    )
    assert json.loads((proposals.folder / "croissant.json").read_text())["@type"] == "sc:Dataset"


@pytest.mark.parametrize(
    ("options", "found"), [({"without": "bulge_to_total"}, "bulge_to_total"), ({"simulated": False}, "not simulated")]
)
def test_other_data_sets_are_refused(options, found, tmp_path):
    other = open_dataset(build_dataset(GalaxiesSource(12, **options), tmp_path / "other"))
    with pytest.raises(DataError, match=found):
        MockProposals(other)


def test_the_command_takes_a_folder(survey, proposals, tmp_path):
    app = typer.Typer()
    app.command()(build)
    result = CliRunner().invoke(app, ["--survey", str(survey.folder), "--out", str(tmp_path / "made")])
    assert result.exit_code == 0, result.output
    assert "proposals in train" in result.output
    made = open_dataset(tmp_path / "made")
    assert made.digest == proposals.digest
    assert made.info.name == "tiny-survey-proposals"


def test_it_is_an_installed_data_set():
    assert MINI.name in dataset_names()
    assert (MINI.survey, MINI.version) == ("mock-mini", VERSION)


@pytest.mark.slow
def test_the_named_data_set(tmp_path):
    opened = open_dataset(MINI.name)
    survey = open_dataset(MINI.survey)
    assert (opened.info.name, opened.info.version) == (MINI.name, VERSION)
    for split, view in survey.splits.items():
        names = ["object_id", "flux_r", "redshift", "snr"]
        assert opened.splits[split].table(names).equals(view.table(names))
    np.testing.assert_array_equal(
        next(opened.splits["test"].batches(["image"], 50)).arrays["image"],
        next(survey.splits["test"].batches(["image"], 50)).arrays["image"],
    )
    assert len(set(opened.splits["test"].column("proposal_id"))) > 100
    assert set(opened.splits["test"].column("object_class")) == set(OBJECT_CLASSES)
    proposal_montage(opened.splits["validation"], tmp_path / FIGURE)
    assert (tmp_path / FIGURE).stat().st_size > 50_000
