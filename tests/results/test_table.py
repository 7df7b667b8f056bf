"""The printed table: floors beside their scores, the worst group, which way is better."""

from __future__ import annotations

import dataclasses

from test_record import make_result

from astroclip_bench.results.table import headline_scores, render

BASE = make_result().scores[0]


def rows(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_the_worst_group_leaves_out_bins_of_the_target():
    groups = {"all": 0.5, "mag_r:19<=mag_r<19.5": 0.2, "snr:1<=snr<2": 0.3, "redshift:0<=redshift<0.1": -4.0}
    scores = [dataclasses.replace(BASE, group=group, value=value) for group, value in groups.items()]
    (row,) = rows(render(make_result(scores=scores)), "redshift", "r2")
    assert "0.200 (19<=mag_r<19.5)" in row


def test_the_worst_group_is_the_highest_where_lower_is_better():
    groups = {"all": 0.02, "mag_r:19<=mag_r<19.5": 0.05, "snr:1<=snr<2": 0.01}
    scores = [
        dataclasses.replace(BASE, metric="sigma_nmad", group=group, value=value) for group, value in groups.items()
    ]
    text = render(make_result(scores=scores))
    assert "0.0500 (19<=mag_r<19.5)" in rows(text, "redshift", "sigma_nmad", "->")[0]
    assert "Lower is better for sigma_nmad." in text


def test_a_pool_of_retrieval_is_no_group():
    retrieval = dataclasses.replace(
        BASE, task="retrieval", protocol="cosine", target=None, metric="recall@10", value=0.4
    )
    text = render(make_result(scores=[retrieval, dataclasses.replace(retrieval, group="pool:1000", value=0.777)]))
    (row,) = rows(text, "recall@10", "->")
    assert "0.777" not in row
    assert "Lower is better" not in text


def test_a_floor_of_one_modality_stands_beside_every_pair():
    floor = dataclasses.replace(BASE, reference="photometry", query="photometry", value=0.321)
    elsewhere = dataclasses.replace(BASE, reference="image", query="image", value=0.111)
    both = [elsewhere, dataclasses.replace(elsewhere, reference="spectrum", query="spectrum")]
    (row,) = rows(render(make_result(floors={"photometry": [floor], "random-projection": both})), "redshift", "r2")
    assert "0.321" in row
    assert "0.111" not in row


def test_tasks_that_are_not_in_the_headline_follow_with_their_first_metric():
    other = dataclasses.replace(BASE, task="velocity-dispersion", metric="rmse")
    second = dataclasses.replace(other, metric="mae")
    assert headline_scores(make_result(scores=[other, second, BASE])) == [BASE, other]


def test_trained_probes_are_named_beside_their_pair():
    scores = [BASE, *(dataclasses.replace(BASE, protocol=name, value=value) for name, value in TRAINED)]
    text = render(make_result(scores=scores))
    assert "0.611" in rows(text, "image -> spectrum, linear")[0]
    assert "0.722" in rows(text, "image -> spectrum, mlp")[0]
    assert "mean over three seeds" in text
    assert "three seeds" not in render(make_result())


TRAINED = (("linear", 0.611), ("mlp", 0.722))


def test_a_curve_stands_below_where_fewer_labels_were_given():
    def at(group, value, **more):
        return dataclasses.replace(BASE, group=group, value=value, **more)

    scores = [at("all", 0.9), at("labels:1000", 0.8), at("labels:100", 0.777), at("all", 0.6, protocol="knn64-std")]
    text = render(make_result(scores=[*scores, at("all", 0.65, protocol="linear")]))
    assert rows(text, "100 labels", "1,000 labels", "all labels")
    (curve,) = rows(text, "knn16", "image -> spectrum")
    assert curve.split() == ["knn16", "image", "->", "spectrum", "0.777", "0.800", "0.900"]
    assert len(rows(text, "linear", "image -> spectrum")) == 1
    assert "0.777" not in rows(text, "redshift", "r2", "0.900")[0]


def test_a_ceiling_stands_beside_its_score():
    ceiling = dataclasses.replace(BASE, protocol="label-noise", reference="label", query="label", value=0.888)
    text = render(make_result(ceilings=[ceiling]))
    assert "ceiling" in text.splitlines()[2]
    assert "0.888" in rows(text, "redshift", "r2")[0]
    assert "knew the truth" in text
    assert "ceiling" not in render(make_result())


def test_tasks_that_are_not_in_the_headline_stand_together():
    others = [
        dataclasses.replace(BASE, task=task, query=query) for query in ("image", "spectrum") for task in ("one", "two")
    ]
    assert [score.task for score in headline_scores(make_result(scores=others))] == ["one", "one", "two", "two"]
