"""Themes, grouping and captions of the mock proposals."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections import Counter

import numpy as np
import pytest
from galaxies_source import galaxies

from astroclip_bench.timm_compat import import_open_clip
from dataset_builders.draws import choose, number_below, shuffled
from dataset_builders.mock_proposals import grammar
from dataset_builders.mock_proposals.grammar import caption, summary
from dataset_builders.mock_proposals.grouping import LARGEST, Group, make_groups
from dataset_builders.mock_proposals.themes import NEEDED, OBJECT_CLASSES, SCIENCE_CASES, THEMES, theme_of

CLIP_TOKENS = 77
IDS = [f"g{number}" for number in range(600)]
COLUMNS = galaxies(len(IDS))

SPIRALS = {
    "redshift": 0.12,
    "mass": 10.3,
    "activity": -9.9,
    "magnitude": 17.84,
    "size": 1.7,
    "shape": 0.9,
    "bulge": 0.05,
    "colour": 0.62,
}
ELLIPTICALS = {
    "redshift": 0.314,
    "mass": 11.26,
    "activity": -12.2,
    "magnitude": 19.7,
    "size": 0.4,
    "shape": 0.7,
    "bulge": 1.0,
    "colour": 1.5,
}


def theme(object_class):
    return next(theme for theme in THEMES if theme.object_class == object_class)


@pytest.mark.parametrize(
    ("name", "object_class", "values", "text"),
    [
        (
            "mock-1",
            "spiral galaxies",
            SPIRALS,
            "The targets look round, large on the sky and fairly bright with r = 17.8. Science case: star formation in spiral arms. Blue, star-forming and bulgeless, log mass 10.3. A sample of fairly near unbarred spirals near z = 0.12.",
        ),
        (
            "mock-2",
            "spiral galaxies",
            SPIRALS,
            "Each is steadily forming stars, blue and without a bulge, of log mass 10.3. Fairly near spiral galaxies at z = 0.12 are observed. Fairly bright targets of r = 17.8, very extended and nearly circular. This will show star formation in spiral arms.",
        ),
        (
            "mock-1",
            "elliptical galaxies",
            ELLIPTICALS,
            "The targets look moderately inclined, very compact and dim with r = 19.7. Science case: the scaling relations of early types. Very red, long quenched and bulge-dominated, log mass 11.3. A sample of fairly distant ellipticals near z = 0.31.",
        ),
    ],
)
def test_captions_are_these_words(name, object_class, values, text):
    assert caption(Group(name, theme(object_class), np.array([0])), values) == text


def test_every_galaxy_is_in_one_proposal_of_its_own_theme():
    groups = make_groups(IDS, COLUMNS)
    rows = np.concatenate([group.rows for group in groups])
    assert sorted(rows) == list(range(len(IDS)))
    sizes = Counter(len(group.rows) for group in groups)
    assert set(sizes) <= set(range(1, LARGEST + 1))
    assert len(sizes) >= 5
    assert len({group.proposal_id for group in groups}) == len(groups)
    themes = theme_of(COLUMNS)
    for group in groups:
        assert {THEMES[number] for number in themes[group.rows]} == {group.theme}


def test_galaxies_of_a_proposal_are_alike():
    groups = [group for group in make_groups(IDS, COLUMNS) if len(group.rows) > 2]
    magnitude = COLUMNS["mag_r"]
    within = np.mean([np.std(magnitude[group.rows]) for group in groups])
    assert within < 0.7 * np.std(magnitude)


def test_themes_are_tried_in_order():
    chosen = theme_of(COLUMNS)
    merging = COLUMNS["morphology_merging"] == "merger"
    assert {THEMES[number].object_class for number in chosen[merging]} == {"merging galaxies"}
    assert "merging galaxies" not in {THEMES[number].object_class for number in chosen[~merging]}
    red = ~merging & (COLUMNS["log_ssfr_true"] < -11) & (COLUMNS["redshift_true"] > 0.3)
    red &= (COLUMNS["log_stellar_mass_true"] > 9.3) & (COLUMNS["morphology_disk_edge_on"] != "yes")
    red &= COLUMNS["morphology_has_spiral_arms"] != "yes"
    assert {THEMES[number].object_class for number in chosen[red]} == {"luminous red galaxies"}


def test_the_same_galaxies_give_the_same_captions_and_no_global_seed_matters():
    def captions(seed):
        np.random.seed(seed)  # noqa: NPY002 - the global state is what must not matter
        return [caption(group, summary(group, COLUMNS)) for group in make_groups(IDS, COLUMNS)]

    first = captions(1)
    assert first == captions(2)
    digest = hashlib.blake2b("\n".join(first).encode(), digest_size=8).hexdigest()
    assert digest == "5f38ccb5554b21c4"


def test_captions_state_the_medians():
    for group in make_groups(IDS, COLUMNS)[:40]:
        values = summary(group, COLUMNS)
        assert values["redshift"] == pytest.approx(np.median(COLUMNS["redshift_true"][group.rows]))
        text = caption(group, values)
        assert f"{values['redshift']:.2f}" in text
        assert f"{values['magnitude']:.1f}" in text
        assert f"{values['mass']:.1f}" in text
        assert any(words.casefold() in text.casefold() for words in grammar.CLASS_WORDS[group.theme.object_class])
        assert any(words.casefold() in text.casefold() for words in grammar.SCIENCE_WORDS[group.theme.science_case])
        assert not re.search(r"[{}]|  ", text)


def test_orders_and_words_vary():
    groups = [Group(f"mock-{number}", theme("spiral galaxies"), np.array([0])) for number in range(60)]
    texts = {caption(group, SPIRALS) for group in groups}
    assert len(texts) == len(groups)
    assert len({text.split()[0] for text in texts}) > 6


def test_classes_have_words_and_prompts():
    assert set(OBJECT_CLASSES) == set(grammar.CLASS_WORDS) == {theme.object_class for theme in THEMES}
    assert set(SCIENCE_CASES) == set(grammar.SCIENCE_WORDS) == {theme.science_case for theme in THEMES}
    for prompts in (OBJECT_CLASSES, SCIENCE_CASES):
        assert len(set(prompts.values())) == len(prompts)
    assert set(NEEDED) == set(COLUMNS)


def longest(tokens, scales):
    """Return the most tokens that any of the words has."""
    return max(tokens(words) for options in scales for words in options)


def test_no_caption_can_have_more_than_77_clip_tokens():
    """The longest words of every slot in the longest pattern of every sentence, with the two marks."""
    if importlib.util.find_spec("open_clip") is None:
        pytest.skip("open_clip_torch is not installed")
    encode = import_open_clip().tokenizer.SimpleTokenizer().encode

    def tokens(text):
        return len(encode(text))

    slots = {
        "noun": longest(tokens, grammar.CLASS_WORDS.values()),
        "science": longest(tokens, grammar.SCIENCE_WORDS.values()),
        "redshift": tokens("0.55"),
        "magnitude": tokens("19.5"),
        "mass": tokens("11.1"),
    }
    scales = ("distance", "brightness", "size", "shape", "colour", "bulge")
    slots |= {name: longest(tokens, (words for _, words in getattr(grammar, name.upper()))) for name in scales}
    slots["activity"] = longest(tokens, (words for _, words in grammar.STAR_FORMATION))

    def bound(pattern):
        return tokens(re.sub(r"\{\w+\}", " ", pattern) + ".") + sum(
            slots[name] for name in re.findall(r"\{(\w+)\}", pattern)
        )

    sentences = (grammar.SUBJECT, grammar.LOOKS, grammar.NATURE, grammar.AIM)
    assert 2 + sum(max(map(bound, patterns)) for patterns in sentences) <= CLIP_TOKENS


def test_draws_depend_on_their_key_alone():
    drawn = [number_below(8, "size", str(number)) for number in range(4000)]
    assert max(Counter(drawn).values()) < 600
    assert set(drawn) == set(range(8))
    assert choose("abc", "x", "y") == choose("abc", "x", "y")
    assert choose("abc" * 50, "xy", "") is not None
    assert number_below(2**60, "a", "bc") != number_below(2**60, "ab", "c")
    items = list(range(10))
    assert sorted(shuffled(items, "k")) == items
    assert shuffled(items, "k") != shuffled(items, "l")
