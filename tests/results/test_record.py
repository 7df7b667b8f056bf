"""The result record: round trip, schema, refusals."""

from __future__ import annotations

import json

import pytest

from astroclip_bench.errors import ResultError, StorageError
from astroclip_bench.results.record import Result, Score, read_result, write_result

DIGEST = "0123456789abcdef" * 2


def make_result(**changes) -> Result:
    score = Score("redshift", 1, "knn16", 1, "image", "spectrum", "redshift", "r2", "all", 0.5, 0.1, 0.3, 0.7, 600, 0.0)
    split = {"rows": 600, "ids_digest": DIGEST, "labels_digest": {"redshift": DIGEST}}
    content = {
        "dataset": {
            "name": "mock-mini",
            "version": "1",
            "digest": DIGEST,
            "simulated": True,
            "splits": {"train": split, "test": split},
        },
        "embedder": {
            "name": "m",
            "digest": DIGEST,
            "dimension": 8,
            "modalities": ["image", "spectrum"],
            "preprocessing": "none",
        },
        "scores": [score],
        "complete": True,
        "created": "2026-01-01T00:00:00Z",
        "floors": {"mean": [score]},
    }
    return Result(**{**content, **changes})


def test_round_trip(tmp_path):
    result = make_result()
    write_result(result, tmp_path / "r.json")
    assert read_result(tmp_path / "r.json") == result
    assert result.find(task="redshift", metric="r2")[0].value == 0.5
    assert not result.find(task="redshift", metric="mae")


def test_the_long_table_names_data_and_model():
    frame = make_result().to_frame()
    assert list(frame["model"]) == ["m", "mean"]
    assert set(frame["dataset"]) == {"mock-mini"}
    assert frame.loc[0, "value"] == 0.5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"created": "yesterday"}, "created"),
        ({"complete": False}, "incomplete_because"),
        ({"incomplete_because": ["--limit"]}, "incomplete_because"),
        ({"result_version": 2}, "result_version"),
        ({"embedder": {"name": "m"}}, "embedder"),
        ({"options": {"x": float("nan")}}, None),
    ],
)
def test_a_result_off_the_schema_is_refused_and_nothing_is_written(tmp_path, change, named):
    with pytest.raises((ResultError, ValueError)) as error:
        write_result(make_result(**change), tmp_path / "r.json")
    assert named is None or named in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"result_version": 1}', '{"result_version": 9}'])
def test_a_file_that_is_no_result_is_refused_by_name(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ResultError, match=r"r\.json"):
        read_result(path)


def test_a_missing_result_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"none\.json"):
        read_result(tmp_path / "none.json")


def test_unknown_fields_are_refused(tmp_path):
    write_result(make_result(), tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    content["scores"][0]["r_squared"] = 1
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(ResultError, match="r_squared"):
        read_result(tmp_path / "r.json")


def test_a_ceiling_belongs_to_the_score_on_all_objects(tmp_path):
    from dataclasses import replace

    score = make_result().scores[0]
    ceiling = replace(score, protocol="label-noise", reference="label", query="label", value=0.8)
    result = make_result(ceilings=[ceiling])
    write_result(result, tmp_path / "r.json")
    assert read_result(tmp_path / "r.json") == result
    assert result.ceiling_of(score) == result.ceiling_of(replace(score, group="labels:100")) == ceiling
    assert result.ceiling_of(replace(score, group="snr:0<=snr<1")) is None
    assert result.ceiling_of(replace(score, metric="rmse")) is None
