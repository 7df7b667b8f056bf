"""Galaxy Zoo DECaLS votes, in miniature files of the upstream layout, and the labels they become."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tiny_source import TinySource

from astroclip_bench.datasets import check_dataset, open_dataset
from astroclip_bench.datasets.arrays import numpy_to_arrow
from astroclip_bench.embedders import load_embedder
from astroclip_bench.errors import DataError
from astroclip_bench.evaluation import evaluate
from astroclip_bench.records import COLUMNS, MORPHOLOGY_QUESTIONS, morphology_label
from dataset_builders.parquet import build_dataset
from dataset_builders.upstream.galaxy_zoo import (
    VOTES_REQUIRED_COLUMN,
    GalaxyZooDecals,
    fraction_column,
    morphology_columns,
    vote_columns,
    votes_column,
)

SMOOTH, EDGE_ON, ARMS, BAR = "smooth-or-featured", "disk-edge-on", "has-spiral-arms", "bar"


def table(*galaxies):
    """Return the catalogue of galaxies, each given by question -> counts of its answers; the others have no votes."""
    columns = {
        "iauname": [f"J1129{row:02d}.88-000427.4" for row in range(len(galaxies))],
        "ra": 172.47 + 0.1 * np.arange(len(galaxies)),
        "dec": -0.07 - 0.1 * np.arange(len(galaxies)),
        "redshift": np.full(len(galaxies), 0.08),
    }
    for question, answers in MORPHOLOGY_QUESTIONS.items():
        counts = np.array([galaxy.get(question, (0,) * len(answers)) for galaxy in galaxies])
        total = counts.sum(axis=1)
        columns[f"{question}_total-votes"] = total
        for answer, count in zip(answers, counts.T, strict=True):
            columns[f"{question}_{answer}"] = count
            columns[f"{question}_{answer}_fraction"] = np.where(total > 0, count / np.maximum(total, 1), np.nan)
            columns[f"{question}_{answer}_debiased"] = np.nan
    columns["wrong_size_statistic"] = 60.0
    columns["wrong_size_warning"] = False
    return pd.DataFrame(columns)


def read(tmp_path, frame, **options):
    path = tmp_path / "gz_decals_volunteers_5.csv"
    frame.to_csv(path)
    reader = GalaxyZooDecals(tmp_path, **options)
    assert reader.files() == [path]
    return reader.index(path)


def label(index, question):
    return index.columns[morphology_label(question)].tolist()


def test_the_label_is_the_answer_of_most_volunteers(tmp_path):
    galaxy = {SMOOTH: (8, 30, 2), EDGE_ON: (1, 29), ARMS: (20, 9), BAR: (4, 5, 20), "merging": (30, 5, 2, 1)}
    index = read(tmp_path, table(galaxy))
    assert {question: label(index, question) for question in galaxy} == {
        SMOOTH: ["featured-or-disk"],
        EDGE_ON: ["no"],
        ARMS: ["yes"],
        BAR: ["no"],
        "merging": ["none"],
    }
    assert label(index, "spiral-winding") == [None]
    assert index.columns[votes_column(BAR)].tolist() == [29]
    assert index.columns[votes_column("spiral-winding")].tolist() == [0]
    np.testing.assert_allclose(index.columns[fraction_column(BAR, "no")], 20 / 29, rtol=1e-6)
    assert np.isnan(index.columns[fraction_column("spiral-winding", "tight")]).all()
    assert index.columns["galaxy_zoo_name"].tolist() == ["J112900.88-000427.4"]


@pytest.mark.parametrize("question", MORPHOLOGY_QUESTIONS)
def test_each_answer_becomes_its_own_label(tmp_path, question):
    answers = MORPHOLOGY_QUESTIONS[question]
    most = np.eye(len(answers), dtype=int) * 20 + 1
    galaxies = [{SMOOTH: (40, 0, 0), question: tuple(counts)} for counts in most]
    assert label(read(tmp_path, table(*galaxies)), question) == list(answers)


def test_a_tie_is_no_label(tmp_path):
    index = read(tmp_path, table({SMOOTH: (13, 13, 4)}, {SMOOTH: (13, 12, 5)}, {SMOOTH: (10, 10, 10)}))
    assert label(index, SMOOTH) == [None, "smooth", None]


def test_few_votes_are_no_label(tmp_path):
    frame = table(
        {SMOOTH: (6, 3, 0)},
        {SMOOTH: (7, 3, 0)},
        {SMOOTH: (30, 10, 0), EDGE_ON: (1, 9)},
        {SMOOTH: (20, 20, 1), EDGE_ON: (1, 20)},
    )
    index = read(tmp_path, frame)
    assert label(index, SMOOTH) == [None, "smooth", "smooth", None]
    assert label(index, EDGE_ON) == [None, None, None, "no"]
    every = read(tmp_path, frame, min_votes=1, min_share=0.0)
    assert label(every, EDGE_ON) == [None, None, "no", "no"]
    assert label(every, SMOOTH)[0] == "smooth"


def test_votes_that_are_not_there_are_no_label(tmp_path):
    frame = table({SMOOTH: (30, 5, 0), BAR: (20, 1, 1)}, {SMOOTH: (30, 5, 0)}).astype({"bar_total-votes": float})
    frame.loc[0, "bar_total-votes"] = np.nan
    frame.loc[1, ["smooth-or-featured_smooth_fraction"]] = np.nan
    index = read(tmp_path, frame)
    assert label(index, BAR) == [None, None]
    assert label(index, SMOOTH) == ["smooth", None]
    assert index.columns[votes_column(BAR)].tolist() == [0, 0]


def test_rows_are_dropped_with_a_counted_reason(tmp_path):
    frame = table(*[{SMOOTH: (30, 5, 0)}] * 4, {})
    frame.loc[1, "wrong_size_warning"] = True
    frame.loc[2, "ra"] = np.nan
    index = read(tmp_path, frame)
    assert index.columns["row"].tolist() == [0, 3]
    assert (index.read, index.dropped) == (
        5,
        {"position not finite": 1, "no votes": 1, "picture of the wrong size": 1},
    )


def test_csv_and_parquet_give_the_same(tmp_path):
    frame = table({SMOOTH: (8, 30, 2), EDGE_ON: (1, 29)}, {SMOOTH: (30, 4, 2)})
    one = read(tmp_path, frame)
    frame.to_parquet(tmp_path / "gz_decals_volunteers_5.parquet")
    with pytest.raises(DataError, match="2 files of votes"):
        GalaxyZooDecals(tmp_path).files()
    path = tmp_path / "gz_decals_volunteers_5.parquet"
    other = GalaxyZooDecals(path).index(path)
    assert one.columns.keys() == other.columns.keys()
    for name, values in one.columns.items():
        np.testing.assert_array_equal(other.columns[name], values)


def test_the_index_has_the_columns_declared_in_their_types(tmp_path):
    index = read(tmp_path, table({SMOOTH: (8, 30, 2)}))
    declared = {column.name: column for column in [*morphology_columns(), *vote_columns()]}
    assert {*declared, "row", "ra", "dec"} == set(index.columns)
    for name, column in declared.items():
        values = index.columns[name]
        arrow = pa.array(values, pa.string()) if values.dtype == object else numpy_to_arrow(values)
        assert arrow.type == column.dtype
    assert VOTES_REQUIRED_COLUMN in declared
    assert all(COLUMNS[column.name].role == "label" for column in morphology_columns())


def test_the_other_campaigns_are_refused(tmp_path):
    frame = table({SMOOTH: (8, 30, 2)}).drop(columns=["bar_strong_fraction", "bar_weak_fraction"])
    with pytest.raises(DataError, match=r"column bar_strong_fraction is missing, and 1 others; .* other campaigns"):
        read(tmp_path, frame)


@pytest.mark.parametrize("content", ["", "iauname\n", "\x89PNG\n\x00", '{"a": 1}\n'])
def test_what_is_no_catalogue_is_refused(tmp_path, content):
    path = tmp_path / "gz_decals_volunteers_5.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"gz_decals_volunteers_5.csv: "):
        GalaxyZooDecals(path).index(path)


def test_a_damaged_catalogue_is_refused(tmp_path):
    frame = table({SMOOTH: (8, 30, 2)}, {SMOOTH: (30, 4, 2)})
    frame.to_csv(tmp_path / "whole.csv")
    frame.to_parquet(tmp_path / "whole.parquet")
    for name in ("part.csv", "part.parquet"):
        whole = (tmp_path / name.replace("part", "whole")).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) - 300])
        with pytest.raises(DataError, match=f"{name}: not a readable table of votes"):
            GalaxyZooDecals(tmp_path / name).index(tmp_path / name)
    with pytest.raises(DataError, match="not a readable table of votes"):
        read(tmp_path, frame.astype({"dec": str}).assign(dec="south"))


class MorphologySource(TinySource):
    """The tiny data set with a morphology label more: text, and missing in a third of the rows."""

    def __post_init__(self) -> None:
        """Put the label's column into the schema."""
        super().__post_init__()
        self.schema = self.schema.append(COLUMNS["morphology_bar"].field())

    def make(self, first: int, count: int) -> pa.RecordBatch:
        """Return the galaxies with the label."""
        whole = self.schema
        self.schema = whole.remove(whole.get_field_index("morphology_bar"))
        batch = super().make(first, count)
        self.schema = whole
        answers = (*MORPHOLOGY_QUESTIONS["bar"][:2], None)
        labels = pa.array([answers[row % 3] for row in range(first, first + count)], pa.string())
        return pa.RecordBatch.from_arrays([*batch.columns, labels], schema=whole)


def test_a_data_set_with_labels_of_text_is_evaluated(tmp_path):
    dataset = open_dataset(build_dataset(MorphologySource(n_shards=2, shard_rows=300), tmp_path / "out"))
    assert check_dataset(dataset.folder).rows == 600
    assert dataset.labels == ["redshift", "morphology_bar"]
    read = [value for split in dataset.splits.values() for value in split.column("morphology_bar")]
    assert {value: read.count(value) for value in ("strong", "weak", None)} == {"strong": 200, "weak": 200, None: 200}
    result = evaluate(load_embedder("photometry"), dataset, tasks=["redshift"], floors=[], use_cache=False)
    assert set(result.dataset["splits"]["test"]["labels_digest"]) == {"redshift", "morphology_bar"}
    assert result.scores
