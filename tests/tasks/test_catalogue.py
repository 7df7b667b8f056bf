"""The task declarations, and finding them by name."""

from __future__ import annotations

import pytest

from astroclip_bench.errors import TaskError
from astroclip_bench.records import COLUMNS, MORPHOLOGY_QUESTIONS, morphology_label
from astroclip_bench.tasks.catalogue import BUILTIN_TASKS
from astroclip_bench.tasks.labels import DERIVED, needed_labels
from astroclip_bench.tasks.registry import all_tasks, select_tasks
from astroclip_bench.tasks.suites import SUITES
from astroclip_bench.tasks.task import GROUPS


@pytest.mark.parametrize("task", BUILTIN_TASKS, ids=lambda task: task.name)
def test_a_declaration_names_only_what_exists(task):
    from astroclip_bench.tasks import inmodal, retrieval
    from astroclip_bench.tasks.metrics import METRICS
    from astroclip_bench.tasks.protocols import PROTOCOLS

    known = {
        "regress": [name for name, metric in METRICS.items() if not metric.of_classes],
        "classify": [name for name, metric in METRICS.items() if metric.of_classes],
        "ranks": retrieval.score_names(),
        "agree": inmodal.score_names(),
    }
    assert set(task.metrics) <= set(known[task.probe])
    assert set(task.protocols) <= set(PROTOCOLS)
    assert set(task.groups) <= set(GROUPS)
    assert (task.target is None) == (task.probe == "ranks")
    assert not task.classes or task.probe in ("classify", "agree")
    assert {COLUMNS[name].role for name in needed_labels(task)} <= {"label"}
    assert all(COLUMNS[name].role in ("label", "property") for name in task.matched)
    if task.target is not None:
        assert (DERIVED if task.target in DERIVED else COLUMNS)[task.target].unit == task.unit


def test_the_questions_are_those_of_galaxy_zoo_with_every_answer():
    questions = {task.target: task.classes for task in BUILTIN_TASKS if task.probe == "classify"}
    assert questions == {morphology_label(name): answers for name, answers in MORPHOLOGY_QUESTIONS.items()}


def test_the_default_suite_asks_for_the_core_alone_and_for_what_is_named():
    default, full = SUITES["zero-shot"], SUITES["full"]
    assert [task.name for task in default.tasks()] == [
        "redshift",
        "stellar-mass",
        "age",
        "metallicity",
        "ssfr",
        "retrieval",
    ]
    assert full.tasks() == list(all_tasks().values())
    assert [task.name for task in default.tasks(["morphology-bar"])] == ["morphology-bar"]


def test_groups_stand_on_columns_of_the_record():
    for grouping in GROUPS.values():
        assert COLUMNS[grouping.column].role in ("label", "property")
        assert list(grouping.edges) == sorted(grouping.edges)


def test_selection_keeps_the_catalogue_order_and_names_the_nearest():
    assert [task.name for task in select_tasks(["retrieval", "redshift"])] == ["redshift", "retrieval"]
    assert [task.name for task in select_tasks()] == list(all_tasks())
    with pytest.raises(TaskError, match="did you mean redshift"):
        select_tasks(["redshfit"])


def test_every_ordered_pair_is_scored_in_modal_first():
    redshift, retrieval = select_tasks(["redshift", "retrieval"])
    modalities = ["image", "spectrum"]
    in_modal = [("image", "image"), ("spectrum", "spectrum")]
    cross = [("image", "spectrum"), ("spectrum", "image")]
    assert redshift.pairs(modalities) == in_modal + cross
    assert retrieval.pairs(modalities) == cross
    assert select_tasks(["neighbours-mass"])[0].pairs(modalities) == in_modal
    assert retrieval.pairs(["photometry"]) == []


def test_tasks_of_other_packages_join_through_entry_points(monkeypatch):
    import dataclasses

    from astroclip_bench.tasks import registry

    mine = dataclasses.replace(BUILTIN_TASKS[0], name="velocity-dispersion")
    monkeypatch.setattr(registry, "plugin_names", lambda group: ["mine"])
    monkeypatch.setattr(registry, "load_plugin", lambda group, name: mine)
    assert all_tasks()["velocity-dispersion"] is mine
    monkeypatch.setattr(registry, "load_plugin", lambda group, name: BUILTIN_TASKS[0])
    with pytest.raises(TaskError, match="second task named 'redshift'"):
        all_tasks()
    monkeypatch.setattr(registry, "load_plugin", lambda group, name: "redshift")
    with pytest.raises(TaskError, match="gives str; expected a Task"):
        all_tasks()
