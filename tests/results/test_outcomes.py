"""Outcomes of single objects: round trip, scores made again from them, and what happens to the file."""

from __future__ import annotations

import numpy as np
import pytest

from astroclip_bench.embedders import load_embedder
from astroclip_bench.errors import ResultError, StorageError
from astroclip_bench.evaluation import evaluate
from astroclip_bench.results.kept import kind_of, read_cell
from astroclip_bench.results.outcomes import (
    CellKey,
    check_replaceable,
    digest_outcomes,
    find_cells,
    outcomes_path,
    read_outcomes,
    reason_against,
    write_outcomes,
)
from astroclip_bench.results.record import ALL, read_result
from astroclip_bench.tasks.metrics import SEED_SPREAD
from astroclip_bench.tasks.registry import all_tasks

N = 40
KEY = CellKey("redshift", "knn16", "image", "spectrum")


def objects(n: int = N, **more) -> dict:
    return {"object_id": [f"g{i}" for i in range(n)], "healpix": np.arange(n) // 4, **more}


def numbers(seed: int = 0, n: int = N) -> dict:
    label, prediction = np.random.default_rng(seed).normal(size=(2, n))
    return {"label": label, "prediction": prediction}


def test_round_trip_of_every_kind_of_column(tmp_path):
    path = tmp_path / "r.parquet"
    regression = {**numbers(), "pit": np.linspace(0, 1, N), "crps": np.full(N, 0.25)}
    regression["label"][3] = np.nan
    ranks = {"greater": np.arange(N), "ties": np.zeros(N, int), "rank": np.arange(N) + 1.0, "pool": np.full(N, N)}
    answers = {"label_class": np.array(["bar", None] * (N // 2), object), "predicted_class": np.array(["none"] * N)}
    with write_outcomes(path, objects(mag_r=np.linspace(15, 19, N), hemisphere=["north", None] * (N // 2))) as writer:
        writer.keep(KEY, regression, seed=2)
        writer.keep(CellKey("retrieval", "cosine", "image", "spectrum"), ranks)
        writer.keep(CellKey("morphology-bar", "knn16", "image", "image"), answers)
    frame = read_outcomes(path, task="redshift")
    assert list(frame["object_id"]) == objects()["object_id"]
    assert set(frame["seed"]) == {2}
    for name, values in regression.items():
        np.testing.assert_array_equal(frame[name], values)
    assert frame["greater"].isna().all()
    assert frame["label_class"].isna().all()
    assert frame["hemisphere"].notna().sum() == N // 2
    np.testing.assert_array_equal(read_outcomes(path, ["rank"], protocol="cosine")["rank"], ranks["rank"])
    words = read_outcomes(path, ["label_class", "predicted_class"], task="morphology-bar")
    assert list(words["label_class"][:1]) == ["bar"]
    assert words["label_class"].isna().sum() == N // 2
    assert read_outcomes(path, task="age").empty
    assert digest_outcomes(path)["rows"] == 3 * N


def test_a_cell_without_a_single_label(tmp_path):
    path = tmp_path / "r.parquet"
    with write_outcomes(path, objects()) as writer:
        writer.keep(KEY, {"label": np.full(N, np.nan), "prediction": np.full(N, np.nan)})
    assert not read_cell(path, KEY).scored("numbers").any()
    assert read_cell(path, KEY).estimates(all_tasks()["redshift"], ["r2"]) == {}


def test_long_names_and_more_rows_than_a_group_holds(tmp_path, monkeypatch):
    from astroclip_bench.results import outcomes

    monkeypatch.setattr(outcomes, "ROW_GROUP_ROWS", 64)
    many = objects()
    many["object_id"] = [f"{i:04d}" + "x" * 50_000 for i in range(N)]
    keys = [KEY._replace(query=f"query{i}") for i in range(5)]
    with write_outcomes(tmp_path / "r.parquet", many) as writer:
        for seed, key in enumerate(keys):
            writer.keep(key, numbers(seed))
    # Forty names of 50 kB are written once a row group, not once a cell.
    assert (tmp_path / "r.parquet").stat().st_size < 1_000_000
    for seed, key in enumerate(keys):
        frame = read_outcomes(tmp_path / "r.parquet", ["object_id", "label"], query=key.query)
        assert list(frame["object_id"]) == many["object_id"]
        np.testing.assert_array_equal(frame["label"], numbers(seed)["label"])


def test_no_objects(tmp_path):
    with write_outcomes(tmp_path / "r.parquet", objects(0)) as writer:
        writer.keep(KEY, numbers(n=0))
    assert read_outcomes(tmp_path / "r.parquet").empty


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "r.parquet"
    with write_outcomes(path, objects()) as writer:
        writer.keep(KEY, numbers())
    before = path.read_bytes()

    def interrupted():
        with write_outcomes(path, objects()) as writer:
            writer.keep(KEY, numbers(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_foreign_file_is_neither_read_nor_replaced(tmp_path):
    import pandas as pd

    path = tmp_path / "embeddings.parquet"
    pd.DataFrame({"object_id": ["a"]}).to_parquet(path)
    with pytest.raises(StorageError, match="was not written by astroclip-bench evaluate"):
        check_replaceable(path)
    with pytest.raises(StorageError), write_outcomes(path, objects()):
        pytest.fail("the file was opened")
    with pytest.raises(ResultError, match="no outcomes"):
        read_outcomes(path)
    with pytest.raises(StorageError, match="is the name of the outcomes"):
        outcomes_path(path)


def test_every_score_of_the_test_split_comes_back_from_the_file(good):
    result = read_result(good)
    asked = [score for score in result.scores if score.part == ALL and not score.group.startswith("pool:")]
    asked = [score for score in asked if not score.metric.endswith(SEED_SPREAD) and score.value is not None]
    found = {}
    for key in {CellKey(score.task, score.protocol, score.reference, score.query) for score in asked}:
        cell, task = read_cell(outcomes_path(good), key), all_tasks()[key.task]
        assert len(cell.seeds) == (3 if key.protocol == "mlp" else 1)
        for group, by_metric in cell.estimates(task, task.metrics).items():
            found |= {(key, metric, group): estimate for metric, estimate in by_metric.items()}
    assert {kind_of(metric) for _, metric, _ in found} == {"numbers", "distribution", "classes", "ranks", "neighbours"}
    assert len(asked) > 200
    for score in asked:
        key = CellKey(score.task, score.protocol, score.reference, score.query)
        estimate = found.pop((key, score.metric, score.group))
        assert estimate.n == score.n
        for name in ("value", "standard_error", "low", "high"):
            assert getattr(estimate, name) == pytest.approx(getattr(score, name), rel=1e-12, abs=1e-12), score
    assert not found


def test_cells_that_are_resumed_are_copied(good, answers, tmp_path, monkeypatch):
    from astroclip_bench.tasks import scoring

    asked = []
    original = scoring.score_pair
    monkeypatch.setattr(scoring, "score_pair", lambda todo, *rest: asked.extend(todo) or original(todo, *rest))
    previous, out = read_result(good), tmp_path / "again.parquet"
    embedder = load_embedder(str(good.with_suffix(".npz")))
    tasks = list({score.task for score in previous.scores})
    again = evaluate(
        embedder,
        answers,
        tasks=tasks,
        suite="small",
        floors=(),
        previous=previous,
        outcomes=out,
        previous_outcomes=outcomes_path(good),
    )
    assert asked == []
    assert again.scores == previous.scores
    assert find_cells(out, again) == find_cells(outcomes_path(good), previous) != set()
    # Without the file, what it held is scored again, and nothing else: labels of fewer objects need none.
    out = tmp_path / "anew.parquet"
    again = evaluate(embedder, answers, tasks=["retrieval"], suite="small", floors=(), previous=previous, outcomes=out)
    assert {task.name for task, _ in asked} == {"retrieval"}
    assert {cell.task for cell in find_cells(out, again)} == {"retrieval"}


def test_files_that_do_not_belong_together_are_told_apart(good, tmp_path):
    result, path = read_result(good), outcomes_path(good)
    assert reason_against(path, result) is None
    other = tmp_path / "r.parquet"
    assert "there is no" in (reason_against(other, result) or "")
    with write_outcomes(other, objects()) as writer:
        writer.keep(KEY, numbers())
    assert "sha256" in (reason_against(other, result) or "")
    assert find_cells(other, result) == set()
    result.outcomes = None
    assert "names no outcomes" in (reason_against(path, result) or "")


def test_a_result_that_cannot_be_written_leaves_the_earlier_pair(tmp_path, answers, good, monkeypatch):
    import sys

    from astroclip_bench.cli.main import main
    from astroclip_bench.results import record

    arguments = ["evaluate", str(good.with_suffix(".npz")), "--data", str(answers.folder), "--tasks", "retrieval"]
    arguments += ["--no-floors", "--out", str(tmp_path / "r.json")]
    monkeypatch.setattr(sys, "argv", ["astroclip-bench", *arguments, "--limit", "100"])
    with pytest.raises(SystemExit):
        main()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"r.json", "r.parquet"}
    monkeypatch.setattr(record, "write_json", lambda *arguments: (_ for _ in ()).throw(OSError(28, "disk full")))
    monkeypatch.setattr(sys, "argv", ["astroclip-bench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert reason_against(tmp_path / "r.parquet", read_result(tmp_path / "r.json")) is None
