"""Texts from anyone: hostile YAML and JSON, and what the schemas take, found by hand and by hypothesis."""

from __future__ import annotations

import copy
import json
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from submissions import CARD

from leaderboard.card import read_card
from leaderboard.errors import SubmissionError
from leaderboard.texts import MAX_DEPTH, MAX_YAML_BYTES, dump_yaml, parse_json, parse_yaml, read_bytes, require_schema

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{','.join(['*' + chr(97 + level)] * 9)}]" for level in range(12)
)
HOSTILE = {
    "billion laughs": (LAUGHS, "anchor"),
    "python object": ("a: !!python/object/apply:os.system ['touch owned']", "tag"),
    "python name": ("a: !!python/name:os.system", "tag"),
    "own tag": ("a: !secret x", "tag"),
    "binary tag": ("a: !!binary aGVsbG8=", "tag"),
    "merge key": ("a: 1\n<<: {b: 2}", "quotes"),
    "key given twice": ("name: honest\nname: other", "twice"),
    "key given twice, deep": ("a: [{b: 1, b: 2}]", "twice"),
    "list as a key": ("? [1, 2]\n: 3", "no word"),
    "date": ("a: 2024-01-01", "quotes"),
    "deep lists": ("a: " + "[" * 100_000, "nested"),
    "deep mappings": ("".join(f"{' ' * depth}a:\n" for depth in range(50)), "nested"),
    "two documents": ("a: 1\n---\nb: 2", "plain YAML"),
    "a list": ("- a\n- b", "keys and values"),
    "nothing": ("", "keys and values"),
    "a control character": ("a: \x00", "plain YAML"),
    "a tab": ("a:\n\t- b", "plain YAML"),
    "a number of many digits": ("a: " + "9" * 10_000, "plain YAML"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_refused_at_once(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, reason = HOSTILE[name]
    start = time.perf_counter()
    with pytest.raises(SubmissionError, match=reason):
        parse_yaml(text.encode(), "card")
    assert time.perf_counter() - start < 2
    assert not list(tmp_path.iterdir())


def test_yaml_that_is_no_utf8_or_too_large_is_refused():
    with pytest.raises(SubmissionError, match="plain YAML"):
        parse_yaml(b"a: \xff\xfe", "card")
    with pytest.raises(SubmissionError, match="at most"):
        parse_yaml(b"a: " + b"x" * MAX_YAML_BYTES, "card")


def test_a_large_plain_text_is_read_in_seconds():
    pixels = list(range(50_000))
    text = json.dumps({"pixels": pixels}).encode()
    start = time.perf_counter()
    assert parse_yaml(text, "card") == {"pixels": pixels}
    assert time.perf_counter() - start < 10


JSON = {
    '{"a": NaN}': "holds NaN",
    '{"a": -Infinity}': "holds -Infinity",
    '{"a": 1e999}': "holds 1e999",
    '{"a": 1, "a": 2}': "twice",
    "[1, 2]": "an object",
    '{"a": ': "not JSON",
    '{"a": ' + "[" * 200_000 + "]" * 200_000 + "}": "not JSON",
    '{"a": ' + "9" * 10_000 + "}": "not JSON",
}


@pytest.mark.parametrize("text", JSON, ids=lambda text: text[:20])
def test_hostile_json_is_refused(text):
    with pytest.raises(SubmissionError, match=JSON[text]):
        parse_json(text.encode(), "result")


def test_what_is_no_plain_file_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "large").write_bytes(b"x" * 11)
    for name in ("link", "missing", "."):
        with pytest.raises(SubmissionError, match="plain"):
            read_bytes(tmp_path / name, 10)
    with pytest.raises(SubmissionError, match="at most 10"):
        read_bytes(tmp_path / "large", 10)


def with_value(path, value):
    """Return the card with one value replaced, or added."""
    card = copy.deepcopy(CARD)
    place = card
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return card


FOOTPRINT = ("training_data", 0, "footprint")
GOOD = [
    with_value(("name",), "AstroCLIP v2.1 (ViT-L, β)"),
    with_value(("authors",), ["Ægir Þór", "李四"]),
    with_value(("contact",), "A. <a@example.org>"),
    with_value(("description",), "Two lines,\nand <b>signs</b> that a page must escape."),
    with_value(("model",), "org/name-1.0"),
    with_value(("parameters",), None),
    with_value(FOOTPRINT, "none"),
    with_value(FOOTPRINT, {"moc": "6/1-3,7 8/1024"}),
    with_value(FOOTPRINT, {"healpix": {"order": 6, "pixels": [0, 49151]}}),
    with_value(FOOTPRINT, {"objects": ["39627335417498465"]}),
    with_value(("labels",), {"benchmark": True, "external": False, "which": ["redshift"]}),
]
BAD = [
    with_value(("name",), "<script>alert(1)</script>"),
    with_value(("name",), "a\u202eb"),
    with_value(("name",), "a\x1b[2J"),
    with_value(("name",), "two\nlines"),
    with_value(("name",), ""),
    with_value(("name",), " "),
    with_value(("name",), "x" * 81),
    with_value(("name",), 5),
    with_value(("authors",), []),
    with_value(("authors",), ["<img src=x onerror=alert(1)>"]),
    with_value(("paper",), "javascript:alert(1)"),
    with_value(("paper",), "http://example.org"),
    with_value(("code",), 'https://example.org/" onmouseover="alert(1)'),
    with_value(("parameters",), -1),
    with_value(("parameters",), True),
    with_value(("parameters",), 1.5),
    with_value(("licence",), None),
    with_value(("model",), "../../etc"),
    with_value(("model",), "org/name/more"),
    with_value(FOOTPRINT, "some"),
    with_value(FOOTPRINT, {"moc": "x"}),
    with_value(FOOTPRINT, {"moc": "6/1", "objects": ["1"]}),
    with_value(FOOTPRINT, {"healpix": {"order": 30, "pixels": [1]}}),
    with_value(FOOTPRINT, {"benchmark": ["holdout"]}),
    with_value(FOOTPRINT, {"objects": [39627335417498465]}),
    with_value(("training_data",), []),
    with_value(("labels",), {"benchmark": True, "external": False, "which": []}),
    with_value(("labels",), {"benchmark": False, "external": False, "which": ["redshift"]}),
    with_value(("rank",), 1),
    {key: value for key, value in CARD.items() if key != "contact"},
]


@pytest.mark.parametrize("card", GOOD)
def test_cards_that_are_taken(card):
    require_schema(card, "card-v1", "card")


@pytest.mark.parametrize("card", BAD, ids=range(len(BAD)))
def test_cards_that_are_refused(card):
    with pytest.raises(SubmissionError, match=r"card-v1\.json"):
        require_schema(card, "card-v1", "card")


def test_an_address_on_the_hub_cannot_lead_elsewhere():
    good = "hf://datasets/org/name@" + "a" * 40 + "/folder/test.parquet"
    entry = {"split": "test", "bytes": 1, "sha256": "0" * 64}
    content = {
        "submission_version": 1,
        "created": "2026-01-01T00:00:00Z",
        "card": CARD,
        "result": {"sha256": "0" * 64},
        "embeddings": [{**entry, "address": good}],
    }
    require_schema(content, "submission-v1", "submission")
    for bad in (
        good.replace("/folder", "/../.."),
        good.replace("a" * 40, "main"),
        good.replace("hf://", "https://"),
        good.replace(".parquet", ".pkl"),
        "file:///etc/passwd",
    ):
        with pytest.raises(SubmissionError):
            require_schema({**content, "embeddings": [{**entry, "address": bad}]}, "submission-v1", "submission")


def test_a_card_in_yaml_and_in_the_front_matter_of_markdown(tmp_path):
    plain, markdown = tmp_path / "card.yaml", tmp_path / "README.md"
    plain.write_text(yaml.safe_dump(CARD))
    front = yaml.safe_dump({"license": "mit", "tags": ["galaxies"], "astroclip_bench": CARD})
    markdown.write_text(f"---\n{front}---\n# Toy\n\n---\n\nSome more.\n")
    assert read_card(plain) == read_card(markdown) == CARD
    for text, reason in (
        ("# Toy", "front matter"),
        ("---\na: 1", "front matter"),
        ("---\nlicense: mit\n---\n", "astroclip_bench"),
    ):
        markdown.write_text(text)
        with pytest.raises(SubmissionError, match=reason):
            read_card(markdown)
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(SubmissionError, match="suffix"):
        read_card(tmp_path / "card.json")


words = st.text(st.characters(categories=("L", "N", "P", "Z")), max_size=20)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)


def depth_of(value):
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth_of, inner), default=0)
    return 0


@given(st.dictionaries(words, plain_values, min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_plain_values_come_back_from_yaml(values):
    text = dump_yaml(values)
    if depth_of(values) <= MAX_DEPTH:
        assert parse_yaml(text.encode(), "card") == values


@given(
    st.binary(max_size=300)
    | st.text(max_size=200).map(str.encode)
    | st.text("{}[]&*!|>-:,?#'\"% \na1", max_size=80).map(str.encode)
)
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_read_or_refused_in_words(content):
    for parse in (parse_yaml, parse_json):
        refused = refusal(lambda parse=parse: parse(content, "text"))
        assert refused is None or "\n" not in refused


@given(st.sampled_from(sorted(CARD)), plain_values)
@settings(max_examples=200, deadline=None)
def test_any_value_in_a_card_is_taken_or_refused_in_words(key, value):
    refused = refusal(lambda: require_schema({**CARD, key: value}, "card-v1", "card"))
    assert refused is None or refused.startswith("card: $")


def refusal(function):
    """Return in what words a text was refused, or None."""
    try:
        function()
    except SubmissionError as error:
        return str(error)
    return None
