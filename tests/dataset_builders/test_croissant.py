"""Croissant metadata: valid, complete, and good enough to read the rows with."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from rich_source import RichSource
from tiny_source import TinySource, tiny_info

from astroclip_bench.datasets import open_dataset
from astroclip_bench.datasets.manifest import read_manifest
from astroclip_bench.errors import DataError
from dataset_builders.croissant import CROISSANT_NAME, croissant_metadata, write_croissant
from dataset_builders.parquet import build_dataset

CREATED = datetime.date(2026, 11, 20)


@dataclass
class FrankSource(TinySource):
    """A source with texts of its own."""

    texts: Mapping[str, str | Sequence[str]] = field(default_factory=dict)

    def responsible_ai(self) -> Mapping[str, str | Sequence[str]]:
        """Return the texts."""
        return self.texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = build_dataset(RichSource(), tmp_path_factory.mktemp("croissant") / "out")
    write_croissant(folder, RichSource(), read_manifest(folder))
    return folder


@pytest.fixture(scope="module")
def opened(folder):
    """Return the data set as mlcroissant sees it; it raises where the metadata are not valid."""
    import mlcroissant

    return mlcroissant.Dataset(jsonld=str(folder / CROISSANT_NAME))


@pytest.fixture(scope="module")
def metadata(folder):
    return json.loads((folder / CROISSANT_NAME).read_text())


def test_mlcroissant_has_nothing_to_say_against_it(opened):
    issues = opened.metadata.ctx.issues
    assert issues.errors == set()
    assert issues.warnings == set()
    assert opened.metadata.ctx.conforms_to.value == "http://mlcommons.org/croissant/1.1"


def test_the_context_is_the_standard_one(opened, metadata):
    from mlcroissant._src.core.rdf import make_context

    expected = make_context(opened.metadata.ctx)
    assert {key: metadata["@context"].get(key) for key in expected} == expected


def test_mlcroissant_reads_the_rows(opened, folder):
    dataset = open_dataset(folder)
    rows = {row["pairs/object_id"].decode(): row for row in opened.records("pairs")}
    assert len(rows) == sum(view.rows for view in dataset.splits.values())
    split = dataset.splits["test"]
    images, redshift = split.column("image"), split.column("redshift")
    for index, name in enumerate(split.object_ids):
        row = rows[name]
        assert row["pairs/split"] == b"test"
        np.testing.assert_array_equal(np.asarray(row["pairs/image"]), images[index])
        assert row["pairs/preview"].size == (8, 8)
        if np.isnan(redshift[index]):
            assert row["pairs/redshift"] is None
        else:
            assert row["pairs/redshift"] == redshift[index]


def test_mlcroissant_reads_another_configuration(opened, folder):
    rows = list(opened.records("masses"))
    manifest = read_manifest(folder)
    assert len(rows) == sum(entry.rows for entry in manifest.files if entry.config == "masses")
    assert all(len(row["masses/log_stellar_mass_samples"]) == 5 for row in rows)
    assert "masses/image" not in rows[0]
    assert [row["splits/name"] for row in opened.records("splits")] == ["train", "validation", "test"]


def test_every_file_is_listed_with_its_checksum(metadata, folder):
    manifest = read_manifest(folder)
    listed = {entry["contentUrl"]: entry for entry in metadata["distribution"] if entry["@type"] == "cr:FileObject"}
    assert {path: entry["sha256"] for path, entry in listed.items()} == {
        entry.path: entry.sha256 for entry in manifest.files
    }
    sets = {entry["@id"]: entry["includes"] for entry in metadata["distribution"] if entry["@type"] == "cr:FileSet"}
    assert sets == {"pairs-files": "data/*.parquet", "masses-files": "masses/*.parquet"}


def test_every_column_is_described_with_its_unit_and_shape(metadata):
    fields = {
        field["name"]: field for entry in metadata["recordSet"] if entry["@id"] == "pairs" for field in entry["field"]
    }
    assert set(fields) == set(RichSource().schema.names)
    image = fields["image"]
    assert (image["dataType"], image["isArray"], image["arrayShape"]) == ("cr:Float32", True, "3,8,8")
    assert "Unit: nmgy" in image["description"]
    assert '"pixel_scale_arcsec": 0.262' in image["description"]
    assert fields["ra"]["dataType"] == "cr:Float64"
    assert fields["preview"]["dataType"] == "sc:ImageObject"
    assert "arrayShape" not in fields["redshift"]


def test_what_a_reader_must_know_before_using_it(metadata):
    assert metadata["license"] == "https://creativecommons.org/licenses/by/4.0/"
    assert metadata["rai:dataCollection"].startswith("Made by a simulation")
    assert metadata["rai:dataPreprocessingProtocol"] == [
        "match: 120 of 123 rows kept; 3 left out: no counterpart",
        "loaded: 96 of 120 rows kept; 24 left out: band missing",
    ]
    assert "redshift, log_stellar_mass" in metadata["rai:dataUseCases"][0]
    for name in ("dataLimitations", "dataBiases", "personalSensitiveInformation", "dataCollectionMissingData"):
        assert metadata[f"rai:{name}"]


def test_an_observed_data_set_with_another_split(folder):
    info = tiny_info(simulated=False, split_rule="astroclip-v1", license="other", provenance={"url": "https://x.org"})
    found = croissant_metadata(TinySource(info=info), read_manifest(folder), CREATED)
    assert found["rai:dataCollection"].startswith("Compiled from public survey files")
    assert found["rai:dataBiases"][1].startswith("Split by astroclip-v1: neighbouring sky may lie in two splits")
    assert (found["license"], found["url"], found["dateCreated"]) == ("other", "https://x.org", "2026-11-20")


def test_the_source_has_the_last_word(folder):
    manifest = read_manifest(folder)
    source = FrankSource(texts={"dataBiases": "Brighter than most.", "annotationsPerItem": "40"})
    found = croissant_metadata(source, manifest, CREATED)
    assert found["rai:dataBiases"] == "Brighter than most."
    assert found["rai:annotationsPerItem"] == "40"
    with pytest.raises(DataError, match="responsible_ai\\(\\) fills 'bias'; expected one of annotationsPerItem"):
        croissant_metadata(FrankSource(texts={"bias": "x"}), manifest, CREATED)


def test_the_day_may_be_set_for_builds_that_are_compared(folder, monkeypatch):
    manifest = read_manifest(folder)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert croissant_metadata(RichSource(), manifest)["dateCreated"] == "1970-01-01"
    assert croissant_metadata(RichSource(), manifest) == croissant_metadata(RichSource(), manifest)
