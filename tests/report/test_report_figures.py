"""What the figures hold: their points are the result's scores, and curves of single objects meet them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from astroclip_bench.figure_style import save_figure, styled
from astroclip_bench.report import curves, maps, overview, parts, predictions
from astroclip_bench.report.material import gather, published
from astroclip_bench.results.record import ALL, LABELS


@pytest.fixture(scope="module")
def material(made):
    return gather([made / "r.json"], sweep=made / "sweep")


def test_the_curve_of_searches_meets_the_scores(material):
    for score in material.result.find(task="retrieval", group=ALL):
        if score.metric.startswith("accuracy@"):
            percent = float(score.metric.removeprefix("accuracy@").removesuffix("%"))
            share, found = curves._search_curve(material, (score.reference, score.query))
            pool = round(100 / share[0])
            at = np.flatnonzero(np.isclose(share, 100 * np.ceil(percent * pool / 100) / pool))
            if len(at):
                assert found[at[0]] == pytest.approx(score.value)
    assert found[-1] == 1


def test_label_curves_end_at_all_labels(material):
    [score] = [
        one for one in parts.primary_scores(material.result.scores, "redshift") if one.query == one.reference == "image"
    ]
    found = curves._label_curves(material.result, score)
    assert set(found) == {"knn16", "linear", "mlp"}
    for protocol, points in found.items():
        *few, (count, last) = points.items()
        assert count == material.result.dataset["splits"]["train"]["rows"]
        assert last.group == ALL
        assert all(row.group == f"{LABELS}{number}" and row.protocol == protocol for number, row in few)


def test_residuals_of_redshift_are_relative():
    label, prediction = np.array([0.0, 1.0]), np.array([0.1, 1.2])
    np.testing.assert_allclose(predictions.AXES["redshift"].left(label, prediction), [0.1, 0.1])
    np.testing.assert_allclose(predictions.AXES["stellar-mass"].left(label, prediction), [0.1, 0.2])


def test_dimensions_stand_in_their_order(material):
    assert list(material.sweep.content) == [2, 4]
    with styled():
        figure = curves.draw_dimension(material.sweep.content)
    line = figure.axes[0].containers[0].lines[0]
    assert list(line.get_xdata()) == [2, 4]


def test_the_overview_holds_model_baselines_of_the_same_data_and_publications(material):
    own = {"baseline": "b", "protocol": "direct", "reference": "image", "query": "image", "task": "redshift",
           "metric": "r2", "value": 0.5, "low": 0.4, "high": 0.6, "spread": None, "seeds": 1}  # fmt: skip
    found = overview.entries(dataclasses.replace(material, baselines=[own]))
    assert {entry.kind for entry in found} == {"this model", "baseline", "published, OTHER data"}
    mine = {(entry.reference, entry.query): entry.value for entry in found if entry.kind == "this model"}
    for pair, value in mine.items():
        [score] = material.result.find(
            task="redshift", protocol="knn16", metric="r2", group=ALL, reference=pair[0], query=pair[1]
        )
        assert value == score.value
    assert len(mine) == 4


def test_baselines_of_other_data_stay_away(material):
    assert not material.baselines


def test_registered_baselines_come_with_their_data(made, tmp_path):
    import json

    from baselines.suite import MOCK_MINI_ROWS

    rows = json.loads(MOCK_MINI_ROWS.read_text())
    content = json.loads((made / "r.json").read_text())
    content["dataset"]["digest"] = rows["dataset"]["digest"]
    (tmp_path / "r.json").write_text(json.dumps(content))
    assert list(gather([tmp_path / "r.json"]).baselines) == rows["figures"]


def test_published_figures_name_their_source_and_known_tasks():
    for group in published()["groups"]:
        assert group["source"]
        assert group["data"]
        for task, reference, query, value in group["values"]:
            assert parts.task_title(task) != task
            assert {reference, query} <= {"image", "spectrum", "photometry"}
            assert 0 < value < 1


def test_a_pair_has_one_colour_in_every_figure():
    places = {
        parts.pair_place((one, two), ["image", "spectrum"])
        for one in ("image", "spectrum")
        for two in ("image", "spectrum")
    }
    assert places == {0, 1, 2, 3}


def test_the_same_figure_gives_the_same_bytes(material, tmp_path):
    written = []
    for name in ("a", "b"):
        with styled():
            written.append([path.read_bytes() for path in save_figure(curves.draw_returned(material), tmp_path / name)])
    assert written[0] == written[1]


def test_a_long_title_stays_within_its_figure(tmp_path):
    from astroclip_bench.figure_style import new_figure, set_title

    with styled():
        figure = new_figure(2.0, 3.0)
        figure.subplots()
        set_title(figure, "outliers of the joint embeddings: a-model-with-a-name on some-data test (SIMULATED data)")
        save_figure(figure, tmp_path / "title")
        box = figure._suptitle.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_a_table_of_predictions_has_the_pairs_asked_for_and_their_scores(material):
    pairs = [("spectrum", "image"), ("image", "image"), ("image", "unknown")]
    with styled():
        figure = predictions.draw_table_of_predictions(material, ["redshift"], pairs)
    panels = [axes for axes in figure.axes if axes.axison and axes.get_title()]
    for axes, (reference, query) in zip(panels, pairs[:2], strict=True):
        [score] = [
            one
            for one in parts.primary_scores(material.result.scores, "redshift")
            if (one.reference, one.query) == (reference, query)
        ]
        assert axes.get_title() == f"{reference} → {query}: R² {parts.with_interval(score)}"
    assert "SIMULATED" in figure.get_suptitle()


def test_a_map_shows_each_known_label():
    table = pd.DataFrame({"x": [0.0, 1.0, 2.0], "y": [0.0, 1.0, 0.0], "redshift": [0.1, np.nan, 0.3]})
    table["log_stellar_mass"] = np.nan
    with styled():
        figure = maps.draw_map(table, "a title")
    assert [len(axes.collections[0].get_offsets()) for axes in figure.axes if axes.get_xlabel()] == [2]
