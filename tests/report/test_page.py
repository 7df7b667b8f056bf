"""The page: what stands on it, that it loads nothing, and what it says where a file is missing."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from astroclip_bench.errors import MissingExtraError, ResultError
from astroclip_bench.report import page as page_module
from astroclip_bench.report.material import gather
from astroclip_bench.report.page import write_report

HOSTILE = "<script>alert('x')</script> $\\frac{1}{0}$ & \"q\" 100%"
FIGURES = {
    "overview", "predictions-redshift", "calibration", "retrieval", "dimension", "labels", "robustness-redshift",
    "robustness-retrieval", "umap", "retrieval-image-to-spectrum", "retrieval-spectrum-to-image",
}  # fmt: skip


class Parsed(HTMLParser):
    """Collects the tags, what they load, the identifiers, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.images: list[dict[str, str]] = []
        self.ids: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note a tag and what it loads."""
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.loads += [values[name] for name in ("src", "href", "srcset", "data", "action") if name in values]
        self.images += [values] if tag == "img" else []
        self.ids |= {values["id"]} if "id" in values else set()

    def handle_data(self, data):
        """Note a text."""
        self.words += data


def report(folder, out, **companions):
    write_report(gather([folder / "r.json"], **companions), out)
    return (out / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def out(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    report(made, folder, sweep=made / "sweep")
    return folder


@pytest.fixture
def unwritten(monkeypatch):
    """Draw the figures, which is quick, and write none, which is not."""
    stub = page_module._image((1, 1), b"", "png", "", "")
    monkeypatch.setattr(page_module, "_draw", lambda item, folder: None if item.draw() is None else stub)
    monkeypatch.setattr(page_module, "_copy", lambda item, folder: stub)


@pytest.fixture(scope="module")
def text(out):
    return (out / "report.html").read_text(encoding="utf-8")


def test_every_section_has_its_figures_and_nothing_is_missing(text, out):
    parsed = Parsed(text)
    assert len(parsed.images) == len(list((out / "figures").glob("*.png")))
    assert not FIGURES - {path.stem for path in (out / "figures").glob("*.png")}
    assert "Run: astroclip-bench" not in parsed.words
    for anchor in ("scores", "predictions", "calibration", "retrieval", "dimension", "labels", "robustness", "space"):
        assert anchor in parsed.ids


def test_the_page_loads_nothing_and_runs_nothing(text):
    parsed = Parsed(text)
    assert "script" not in parsed.tags
    assert all(load.startswith(("data:", "#")) for load in parsed.loads)
    assert not re.search(r"url\(|@import", text)
    assert {load.removeprefix("#") for load in parsed.loads if load.startswith("#")} <= parsed.ids


def test_figures_are_pictures_of_something_and_have_words(text, out):
    from PIL import Image

    for path in (out / "figures").glob("*.png"):
        with Image.open(path) as opened:
            assert np.asarray(opened.convert("L"), float).std() > 5, path.name
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF"), path.name
    for image in Parsed(text).images:
        assert image["alt"]
        assert image["src"].startswith("data:image/")


def test_scores_of_the_result_stand_beside_a_simulated_name(text, made):
    words = Parsed(text).words
    scores = json.loads((made / "r.json").read_text())["scores"]
    [known] = [
        row["value"]
        for row in scores
        if (row["task"], row["protocol"], row["metric"], row["group"]) == ("redshift", "knn16", "r2", "all")
        and (row["reference"], row["query"]) == ("image", "image")
    ]
    assert f"{known:.3f}" in words
    assert "line-and-brightness on tiny-pairs 1.0 (SIMULATED data)" in words
    assert "of OTHER data and protocols" in words
    assert "sha256" in words


def test_names_are_shown_and_not_obeyed(work, tmp_path):
    for name in ("r-analysis", "r-robustness.json", "r.parquet"):  # fewer figures
        (work / name).rename(work / f"not-{name}")
    content = json.loads((work / "r.json").read_text())
    content["embedder"]["name"] = content["dataset"]["name"] = HOSTILE
    content["not_applicable"] = {"task": HOSTILE}
    (work / "r.json").write_text(json.dumps(content))
    parsed = Parsed(report(work, tmp_path / "out"))
    assert "script" not in parsed.tags
    assert f"{HOSTILE} on {HOSTILE} 1.0 (SIMULATED data)" in parsed.words


def test_a_result_alone_says_how_to_make_the_rest(made, tmp_path):
    content = json.loads((made / "r.json").read_text())
    content["scores"] = [row for row in content["scores"] if not row["group"].startswith("labels:")]
    (tmp_path / "r.json").write_text(json.dumps(content))
    words = Parsed(report(tmp_path, tmp_path / "out")).words
    for command in ("evaluate", "analyse", "robustness"):
        assert f"Run: astroclip-bench {command} MODEL --data tiny-pairs" in words
    assert "Run: astroclip-bench sweep" in words
    assert "--suite full" in words
    assert {path.stem for path in (tmp_path / "out/figures").iterdir()} == {"overview", "retrieval"}


def test_an_incomplete_result_says_so(work, tmp_path, unwritten):
    content = json.loads((work / "r.json").read_text())
    content |= {"complete": False, "incomplete_because": ["--limit 12"]}
    (work / "r.json").write_text(json.dumps(content))
    assert "INCOMPLETE. --limit 12" in Parsed(report(work, tmp_path / "out")).words


def test_files_of_another_model_are_not_used(work, tmp_path, unwritten):
    record = json.loads((work / "r-robustness.json").read_text())
    record["embedder"]["digest"] = "1" * 32
    (work / "r-robustness.json").write_text(json.dumps(record))
    words = Parsed(report(work, tmp_path / "out")).words
    assert "r-robustness.json is of another embedder than the result" in words
    with pytest.raises(ResultError, match="another embedder"):
        gather([work / "r.json"], robustness=work / "r-robustness.json")


def test_changed_outcomes_are_not_used(work, tmp_path, unwritten):
    (work / "r.parquet").write_bytes(b"PAR1")
    words = Parsed(report(work, tmp_path / "out")).words
    assert "by their sha256" in words


def test_results_of_other_data_do_not_share_a_page(work):
    content = json.loads((work / "r.json").read_text())
    content["dataset"]["digest"] = "1" * 32
    (work / "other.json").write_text(json.dumps(content))
    with pytest.raises(ResultError, match=r"other\.json is of tiny-pairs"):
        gather([work / "r.json", work / "other.json"])


def test_models_stand_side_by_side(work, tmp_path, unwritten):
    content = json.loads((work / "r.json").read_text())
    content["embedder"] |= {"name": "another", "digest": "1" * 32}
    (work / "other.json").write_text(json.dumps(content))
    write_report(gather([work / "r.json", work / "other.json"]), tmp_path / "out")
    words = Parsed((tmp_path / "out/report.html").read_text()).words
    assert "Models on the same data" in words
    assert "another" in words


def test_a_sweep_of_one_dimension_is_no_curve(work):
    for name in ("2", "4"):
        shutil.copy(work / "r.json", work / "sweep" / name / "result.json")
    with pytest.raises(ResultError, match="2 results of 1 dimensions"):
        gather([work / "r.json"], sweep=work / "sweep")


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named_with_its_extra(made, tmp_path, monkeypatch, module):
    monkeypatch.setattr(page_module, "find_spec", lambda name: None if name == module else object())
    with pytest.raises(MissingExtraError, match=rf"{module}.*astroclip-bench\[report\]"):
        write_report(gather([made / "r.json"]), tmp_path)
