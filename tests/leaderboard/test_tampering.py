"""Submissions tampered with, and which check catches each: the table of leaderboard/verification.md."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from submissions import change_card, change_result, change_vectors, honest_arrays, replaced

from leaderboard.controls import CONTROLS
from leaderboard.verify import verify_submission


def first_r2(content):
    return next(row for row in content["scores"] if row["metric"] == "r2" and row["group"] == "all")


def raise_value(content):
    first_r2(content)["value"] += 3e-4


def narrow_interval(content):
    row = first_r2(content)
    row["low"], row["high"] = row["value"] - 1e-6, row["value"] + 1e-6


def claim_more_objects(content):
    first_r2(content)["n"] += 1


def drop_a_group(content):
    groups = sorted({row["group"] for row in content["scores"]} - {"all"})
    content["scores"] = [row for row in content["scores"] if row["group"] != groups[0]]


def give_a_row_twice(content):
    content["scores"].append(dict(first_r2(content)))


def add_a_group(content):
    content["scores"].append({**first_r2(content), "group": "mag_r:the best of them", "value": 0.99})


def hide_a_task(content):
    content["scores"] = [row for row in content["scores"] if row["task"] != "retrieval"]
    content["not_applicable"]["retrieval"] = "it did not look good"


def lower_the_floors(content):
    content["floors"] = {"photometry": [{**first_r2(content), "value": -1.0}]}


def raise_the_labels(content):
    digests = content["dataset"]["splits"]["test"]["labels_digest"]
    digests["redshift"] = "0" * len(digests["redshift"])


def fewer_test_objects(content):
    content["dataset"]["splits"]["test"]["rows"] -= 1


def other_data(content):
    content["dataset"]["digest"] = "0" * 32


def call_it_real(content):
    content["dataset"]["simulated"] = False


def limit(content):
    content["options"]["limit"] = 100


def incomplete(content):
    content["complete"], content["incomplete_because"] = False, ["tasks not asked for: age"]


def old_task(content):
    for row in content["scores"]:
        row["task_version"] += 1


def old_protocol(content):
    for row in content["scores"]:
        row["protocol_version"] += 1


def failed_check(content):
    content["checks"].append({"name": "determinism", "passed": False})


def other_schema(content):
    content["result_version"] = 0


def unknown_key(content):
    content["bonus"] = 1


def no_number(content):
    first_r2(content)["value"] = float("nan")


def claim_a_huge_dimension(content):
    content["embedder"]["dimension"] = 10**9


RESULTS = {
    raise_value: "scores",
    narrow_interval: "scores",
    claim_more_objects: "scores",
    drop_a_group: "scores",
    give_a_row_twice: "scores",
    add_a_group: "scores",
    hide_a_task: "scores",
    lower_the_floors: "scores",
    raise_the_labels: "scores",
    fewer_test_objects: "scores",
    other_data: "data",
    call_it_real: "data",
    limit: "state",
    incomplete: "state",
    old_task: "state",
    old_protocol: "state",
    failed_check: "state",
    other_schema: "form",
    unknown_key: "form",
    no_number: "form",
    claim_a_huge_dimension: "embeddings",
}


def the_only_failure(folder, survey):
    verdict = verify_submission(folder, [survey])
    assert not verdict.passed
    assert len(verdict.failures) == 1, verdict.failures
    return verdict.failures[0]


def test_the_honest_one_passes_every_check(honest, survey, tmp_path):
    verdict = verify_submission(honest, [survey], outcomes=tmp_path / "outcomes.parquet")
    assert verdict.passed, verdict.failures
    assert not verdict.flags
    assert {check.outcome for check in verdict.checks} == {"passed"}
    assert {check.name for check in verdict.checks} > set(CONTROLS)
    assert (verdict.overlap.objects, verdict.overlap.of_objects) == (0, survey.splits["test"].rows)
    assert (tmp_path / "outcomes.parquet").exists()
    assert verdict.result.embedder["name"] == "toy"
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_data_are_read_once_for_many_submissions(honest, survey, monkeypatch):
    from astroclip_bench.datasets.views import SplitView
    from leaderboard.verify import open_for_many

    read = []
    original = SplitView.column
    monkeypatch.setattr(SplitView, "column", lambda view, name: read.append((view.name, name)) or original(view, name))
    kept = open_for_many(survey)
    verdicts = [verify_submission(honest, [kept]) for _ in range(2)]
    assert len(read) == len(set(read))
    assert verdicts[0].checks == verdicts[1].checks == verify_submission(honest, [survey]).checks


@pytest.mark.parametrize("tamper", RESULTS, ids=lambda tamper: tamper.__name__)
def test_a_changed_result_is_caught(folder, survey, tamper):
    change_result(folder, tamper)
    assert the_only_failure(folder, survey).name == RESULTS[tamper]


def test_a_result_changed_without_its_digest_is_caught(folder, survey):
    text = (folder / "result.json").read_text()
    (folder / "result.json").write_text(text.replace('"value": 0.', '"value": 0.9', 1))
    failure = the_only_failure(folder, survey)
    assert failure.name == "form"
    assert "SHA-256" in failure.detail


def test_what_is_off_is_named(folder, survey):
    change_result(folder, raise_value)
    detail = the_only_failure(folder, survey).detail
    assert "1 rows are off" in detail
    assert "r2 (all)" in detail


def another_model(table):
    shuffled = np.random.default_rng(1).permutation(len(table))
    return replaced(table, "image", table["image"].take(pa.array(shuffled)).to_pylist())


def ids_in_another_order(table):
    return replaced(table, "object_id", table["object_id"].to_pylist()[::-1])


def an_id_twice(table):
    ids = table["object_id"].to_pylist()
    return replaced(table, "object_id", [ids[1], *ids[1:]])


def not_a_number(table):
    vectors = table["image"].to_pylist()
    vectors[3][2] = float("nan")
    return replaced(table, "image", vectors)


def unbounded(table):
    vectors = table["photometry"].to_pylist()
    vectors[0][0] = float("inf")
    return replaced(table, "photometry", vectors)


def one_object_less(table):
    return table.slice(1)


def foreign_ids(table):
    return replaced(table, "object_id", [f"x{name}" for name in table["object_id"].to_pylist()])


def null_vectors(table):
    return replaced(table, "image", [None, *table["image"].to_pylist()[1:]])


def more_columns(table):
    return table.append_column("spectrum", table["image"])


def a_column_less(table):
    return table.drop_columns(["image"])


def another_type(table):
    place = table.schema.get_field_index("image")
    return table.set_column(place, "image", table["image"].cast(pa.list_(pa.float32(), 8)))


VECTORS = {
    another_model: "scores",
    ids_in_another_order: "scores",
    an_id_twice: "embeddings",
    not_a_number: "embeddings",
    unbounded: "embeddings",
    one_object_less: "embeddings",
    foreign_ids: "embeddings",
    null_vectors: "embeddings",
    more_columns: "embeddings",
    a_column_less: "embeddings",
    another_type: "embeddings",
}


@pytest.mark.parametrize("tamper", VECTORS, ids=lambda tamper: tamper.__name__)
def test_changed_embeddings_are_caught(folder, survey, tamper):
    change_vectors(folder, "test", tamper)
    assert the_only_failure(folder, survey).name == VECTORS[tamper]


def test_test_objects_among_the_reference_are_caught(folder, survey):
    def smuggle(table):
        ids = table["object_id"].to_pylist()
        return replaced(table, "object_id", [survey.splits["test"].object_ids[0], *ids[1:]])

    change_vectors(folder, "train", smuggle)
    failure = the_only_failure(folder, survey)
    assert failure.name == "embeddings"
    assert "not of the split" in failure.detail


def test_a_file_left_out_is_caught(folder, survey):
    (folder / "embeddings" / "train.parquet").unlink()
    assert the_only_failure(folder, survey).name == "embeddings"


def test_a_file_changed_without_its_digest_is_caught(folder, survey):
    shutil.copy(folder / "embeddings" / "train.parquet", folder / "embeddings" / "test.parquet")
    assert the_only_failure(folder, survey).name == "embeddings"


def test_an_error_that_nobody_foresaw_refuses_one_submission_alone(folder, honest, survey, monkeypatch):
    from leaderboard import verify

    original = verify.read_parts

    def break_down(submission, dataset):
        return 1 / 0 if submission.folder == folder else original(submission, dataset)

    monkeypatch.setattr(verify, "read_parts", break_down)
    assert "ZeroDivisionError" in the_only_failure(folder, survey).detail
    assert verify_submission(honest, [survey]).passed


def test_an_error_within_a_control_fails_that_control_alone(folder, survey, monkeypatch):
    from leaderboard import controls

    monkeypatch.setattr(controls, "_rank_correlations", lambda vectors, labels: 1 / 0)
    verdict = verify_submission(folder, [survey])
    outcomes = {check.name: check.outcome for check in verdict.checks}
    place = list(outcomes).index("single dimensions")
    assert list(outcomes.values())[:place] == ["passed"] * place
    assert "ZeroDivisionError" in verdict.checks[place].detail
    assert set(list(outcomes.values())[place + 1 :]) == {"not made"}
    assert not verdict.passed


def test_data_that_the_verifier_has_not_is_not_opened(folder, survey):
    change_result(folder, lambda content: content["dataset"].update(name="../../somewhere"))
    assert the_only_failure(folder, survey).name == "data"


def test_a_footprint_over_the_test_sky_is_flagged(folder, survey):
    everywhere = [{"name": "all sky", "footprint": {"moc": "0/0-11"}}]
    change_card(folder, training_data=everywhere)
    verdict = verify_submission(folder, [survey])
    assert verdict.passed
    assert verdict.overlap.share == 1
    assert [check.name for check in verdict.flags] == ["training footprint"]


def test_parameters_declared_otherwise_are_flagged(folder, survey):
    change_result(folder, lambda content: content["embedder"].update(parameters=10**9))
    assert [check.name for check in verify_submission(folder, [survey]).flags] == ["declarations"]


def test_labels_in_the_embeddings_of_an_honest_looking_submission(survey, tmp_path):
    """A cheat that re-scores and seals everything is caught by the controls alone."""
    from submissions import CARD

    from astroclip_bench.embedders.stored import StoredEmbeddings
    from astroclip_bench.evaluation import evaluate
    from leaderboard.submit import prepare

    ids, arrays = honest_arrays(survey)
    redshift = np.concatenate([view.column("redshift") for view in survey.splits.values()])
    arrays["image"][:, 0] = np.nan_to_num(redshift, nan=0.5) * 30
    cheat = StoredEmbeddings("cheat", "1" * 32, ids, arrays)
    result = evaluate(cheat, survey, floors=())
    with prepare(result, CARD, survey, tmp_path, name="cheat", embedder=cheat) as prepared:
        failed = {check.name for check in prepared.verdict.failures}
        assert {"single dimensions", "linear read-out"} <= failed
        assert {check.outcome for check in prepared.verdict.checks if check.name == "scores"} == {"passed"}
        change_card(prepared.folder, labels={"benchmark": True, "external": False, "which": ["redshift"]})
        again = verify_submission(prepared.folder, [survey])
        assert "single dimensions" in {check.name for check in again.flags}
