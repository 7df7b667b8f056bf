"""Tables, Markdown, Parquet and pages of made-up rows."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow.parquet as pq
import pytest
from board_rows import DATASET, make_row, supervised

from astroclip_bench.errors import StorageError
from leaderboard.board import make_tables
from leaderboard.columns import OVERALL, OVERALL_TRACKS
from leaderboard.pages import board_data, flags_of, published_table, readme, write_parquet, write_site
from leaderboard.rows import read_row, write_row

OTHER = {**DATASET, "name": "another", "digest": "1" * 32, "simulated": False}
HOSTILE = "</script><img src=x onerror=alert(1)>|`*[x](javascript:alert(1))"


@pytest.fixture
def rows():
    return [
        *supervised(),
        make_row("both", 0.8),
        make_row("images-alone", 0.7, ["image"], seed=1),
        make_row("elsewhere", 0.9, dataset=OTHER),
        make_row("refused", 0.9, passed=False),
        make_row("hostile", 0.1, title=HOSTILE, flags=[HOSTILE], seed=2),
    ]


def find(rows, track, protocol="knn16", data="made-up"):
    (table,) = [
        one for one in make_tables(rows) if (one.track, one.protocol, one.dataset["name"]) == (track, protocol, data)
    ]
    return table


def test_data_sets_are_never_mixed(rows):
    for table in make_tables(rows):
        names = {line.row.name for line in table.lines}
        assert names <= (
            {"elsewhere"} if table.dataset["name"] == "another" else {row.name for row in rows} - {"elsewhere"}
        )
        assert "refused" not in names


def test_a_model_of_images_alone_is_ranked_where_images_are_asked_and_shown_overall(rows):
    overall, images = find(rows, OVERALL), find(rows, "image")
    assert list(overall.columns) == list(OVERALL_TRACKS)
    standings = {line.row.name: line.standing for line in overall.lines}
    assert standings["both"].rank == 1
    assert standings["images-alone"] is None
    assert {line.row.name: line.standing.rank for line in images.lines} == {"both": 1, "images-alone": 2, "hostile": 3}


def test_skill_is_that_of_the_supervised_baseline_of_the_query(rows):
    line = find(rows, "spectrum -> image").lines[0]
    ranked = [line.cells[f"{task}.r2"].value for task in ("redshift", "stellar-mass", "age", "metallicity", "ssfr")]
    assert line.standing.skill == pytest.approx(np.mean(ranked) / 0.9)
    (direct,) = [line for line in find(rows, "image", "direct").lines if line.row.name.startswith("resnet18")]
    assert direct.standing.skill == pytest.approx(1)


def test_without_the_supervised_baseline_nothing_is_ranked(rows):
    table = find(rows, "image", data="another")
    assert table.lines[0].standing is None
    assert "resnet18--another" in table.unranked_because


def test_a_row_that_lacks_a_required_score_is_shown_last(rows):
    for numbers in (rows[2].scores, rows[2].replicates):
        numbers.pop("image|knn16|age.r2")
    line = find(rows, "image").lines[-1]
    assert (line.row.name, line.standing, line.missing) == ("both", None, ("age.r2",))


def test_a_row_comes_back_from_its_files(tmp_path, rows):
    write_row(rows[2], tmp_path)
    again = read_row(tmp_path, "both")
    assert again == rows[2]
    assert again.replicates.keys() == rows[2].replicates.keys()
    for key, values in rows[2].replicates.items():
        np.testing.assert_array_equal(again.replicates[key], values)


def test_a_row_of_two_verifications_is_none(tmp_path, rows):
    write_row(rows[2], tmp_path)
    content = json.loads((tmp_path / "both.json").read_text())
    (tmp_path / "both.json").write_text(json.dumps({**content, "basis": "other"}))
    assert read_row(tmp_path, "both") is None
    assert read_row(tmp_path, "absent") is None


def test_parquet_holds_every_number(tmp_path, rows):
    tables = make_tables(rows)
    write_parquet(tables, tmp_path / "board.parquet")
    content = pq.read_table(tmp_path / "board.parquet").to_pylist()
    assert len(content) == sum(len(line.cells) for table in tables for line in table.lines)
    (one,) = [
        row for row in content if (row["submission"], row["track"], row["column"]) == ("both", "image", "redshift.r2")
    ]
    assert (one["value"], one["rank"], one["dataset_simulated"]) == (0.8, 1, True)


def test_predictions_without_embeddings_are_self_reported(tmp_path, rows):
    (both,) = [row for row in rows if row.name == "both"]
    assert not any("self-reported" in flag for flag in flags_of(both))
    alone = dataclasses.replace(both, embedder={**both.embedder, "dimension": 0, "modalities": []})
    assert "self-reported predictions, no embeddings" in flags_of(alone)
    write_site([alone], make_tables([alone]), tmp_path / "site", published_table(), "the board", "0")
    assert "<dt>Embedding</dt><dd>none</dd>" in (tmp_path / "site" / "models" / "both.html").read_text()


class Tags(HTMLParser):
    """Collects tags, with what they load or link to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        """Keep a tag."""
        self.tags.append((tag, dict(attrs)))


def test_pages_load_nothing_from_elsewhere_and_run_nothing_of_a_submission(tmp_path, rows):
    write_site(rows, make_tables(rows), tmp_path / "site", published_table(), "the board", "0")
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert [page.stem for page in pages if page.parent.name == "models"] == sorted(
        row.name for row in rows if row.name != "refused"
    )
    for page in pages:
        parser = Tags()
        parser.feed(page.read_text())
        assert {tag for tag, _ in parser.tags}.isdisjoint({"img", "iframe", "object", "embed"})
        for tag, attributes in parser.tags:
            loaded = [attributes.get(name) for name in ("src", "href") if tag in ("script", "link")]
            assert not [one for one in loaded if one and re.match(r"(https?:)?//", one)]
            assert not [name for name in attributes if name.startswith("on") and name != "onsubmit"]
            assert not (attributes.get("href") or "").startswith("javascript:")
        assert "SIMULATED" in page.read_text() or page.stem == "elsewhere" or page.stem == "index"
    data = (tmp_path / "site" / "data.js").read_text()
    assert "<" not in data
    assert json.loads(data.removeprefix("window.BOARD = ").rstrip().rstrip(";")) == json.loads(
        json.dumps(board_data(rows, make_tables(rows)))
    )
    assert "off by 1" in (tmp_path / "site" / "index.html").read_text()


def test_a_site_is_replaced_and_nothing_else_is(tmp_path, rows):
    for _ in range(2):
        write_site(rows[:3], make_tables(rows[:3]), tmp_path / "site", published_table(), "the board", "0")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("ten years")
    with pytest.raises(StorageError):
        write_site(rows, make_tables(rows), mine, published_table(), "the board", "0")
    assert (mine / "thesis.tex").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "site"]


def test_markdown_has_each_data_sets_name_and_no_foreign_markup(rows):
    text = readme(rows, make_tables(rows), published_table())
    assert "## made-up 1 (SIMULATED): image, knn16" in text
    assert "## another 1: image, knn16" in text
    assert "<img" not in text
    assert "[x](" not in text
    assert "* refused: scores: off by 1" in text
    assert "never ranked beside" in text
