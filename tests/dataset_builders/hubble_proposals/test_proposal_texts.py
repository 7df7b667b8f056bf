"""Catalogues of abstracts, plain text, and the captions that need no model."""

from __future__ import annotations

import hashlib
import re
import time

import pytest
from mini_hubble import ABSTRACT, record

from astroclip_bench.errors import DataError, StorageError
from dataset_builders.hubble_proposals.catalogue import (
    LISTED_BEFORE,
    LONGEST_TEXT,
    NO_ABSTRACT,
    NO_NUMBER,
    RUN_TOGETHER,
    Proposal,
    category_name,
    read_abstract_list,
    read_catalogue,
)
from dataset_builders.hubble_proposals.summary import (
    MAX_ITEMS,
    MAX_WORDS,
    Extractive,
    SentenceChunks,
    check_summary,
    extract,
)
from dataset_builders.hubble_proposals.vocabulary import OBJECTS
from dataset_builders.hubble_proposals.words import count_words, first_words, plain, sentences

HOSTILE = (
    '<script>alert("x")</script><b onmouseover=steal()>Stars</b> &lt;img src=x onerror=alert(1)&gt;'
    "<style>p{}</style><!-- hidden --> with z < 1 and M > 2 <svg/onload=go()> {see below}\x00\x07"
)


def proposal(abstract, title="", number="7"):
    return Proposal(number, 12, "GO", "galaxies", title, abstract)


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "abstracts.cat"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_record_is_read_whole(tmp_path):
    text = record(
        "05091", title="Clusters:\n  of a kind", abstract="First line of it.\nTitle: is a word of the text.\n\nEnd."
    )
    catalogue = read_catalogue(write(tmp_path, text))
    assert catalogue.proposals == {
        "5091": Proposal(
            "5091",
            12,
            "GO",
            "galaxies",
            "Clusters: of a kind",
            "First line of it. Title: is a word of the text. End.",
        )
    }
    assert catalogue.step == {
        "step": "catalogue",
        "read": 1,
        "kept": 1,
        "dropped": {RUN_TOGETHER: 0, NO_NUMBER: 0, LISTED_BEFORE: 0, NO_ABSTRACT: 0},
    }


def test_records_that_cannot_be_used_are_counted(tmp_path):
    records = [
        record(1),
        record(1, title="Again"),
        record(2, abstract="Too short."),
        record(3, abstract=""),
        record("unknown"),
        record("-4"),
        record("²"),
        record(5, cycle="n/a"),
        record(6, abstract="word " * LONGEST_TEXT),
        "-----\nCategory: STARS\nID: 8\n",
        "-----\nnothing of a record\n",
    ]
    catalogue = read_catalogue(write(tmp_path, "a heading that is none\n" + "".join(records)))
    assert set(catalogue.proposals) == {"1", "5"}
    assert catalogue.proposals["1"].title == "Clusters"
    assert catalogue.proposals["5"].cycle is None
    assert catalogue.step["read"] == 10
    assert catalogue.step["dropped"] == {RUN_TOGETHER: 1, NO_NUMBER: 3, LISTED_BEFORE: 1, NO_ABSTRACT: 3}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_encodings(tmp_path, encoding):
    text = record(
        9, title="Étoiles de Méchain", abstract="Observations at 4686 Å of Wolf–Rayet stars in space".replace("–", "-")
    )
    found = read_catalogue(write(tmp_path, text, encoding)).proposals["9"]
    assert found.title == "Étoiles de Méchain"
    assert "4686 Å" in found.abstract


def test_lines_of_both_encodings_and_both_line_ends(tmp_path):
    path = tmp_path / "mixed.cat"
    path.write_bytes(record(1, title="Café").encode("latin-1") + record(2, title="Café").replace("\n", "\r\n").encode())
    assert [found.title for found in read_catalogue(path).proposals.values()] == ["Café", "Café"]


@pytest.mark.parametrize("text", ["", "Category: STARS.  An abstract without a number in a list.\n", "\x00\xff" * 50])
def test_files_that_are_no_catalogue_are_refused(tmp_path, text):
    with pytest.raises(DataError, match="none of its"):
        read_catalogue(write(tmp_path, text))


def test_a_missing_catalogue_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"nothing\.cat"):
        read_catalogue(tmp_path / "nothing.cat")


def test_hostile_text_becomes_plain():
    text = plain(HOSTILE)
    assert text == "Stars with z < 1 and M > 2 (see below)"
    assert plain("a &amp; b<br>c<BR/>d") == "a & b c d"
    assert plain("flux <0.1 and N>5, <Mstar> of z<1") == "flux <0.1 and N>5, <Mstar> of z<1"


def test_huge_hostile_text_takes_no_time():
    start = time.perf_counter()
    for text in ("<script " * 2500, "<" * LONGEST_TEXT, "to measure " * 1800, "{" * LONGEST_TEXT, "a.A " * 5000):
        extract(proposal(plain(text) or "x"))
    assert time.perf_counter() - start < 10


def test_sentences_end_where_they_end():
    text = "We saw e.g. Vega and R. Leonis. Was it 0.5 mag? Yes! (See Fig. 3.) It ended."
    assert sentences(text) == ["We saw e.g. Vega and R. Leonis.", "Was it 0.5 mag?", "Yes!", "(See Fig. 3.) It ended."]
    assert first_words("measure the size of the", 9) == "measure the size"
    assert first_words("measure the size of it, and", 3) == "measure the size"


def test_the_summary_of_an_abstract():
    summary = extract(proposal(ABSTRACT.format(number="NGC 1")))
    assert summary.objects_and_phenomena == "globular clusters, galaxies"
    assert summary.science_use_cases == (
        "measure the luminosity function of the clusters, determine the distance of the galaxy"
    )
    assert extract(proposal("Nothing that is known by a name was ever written here at all.")).caption == (
        "galaxies; Nothing that is known by a name was ever written here at all"
    )
    named = extract(proposal("We will study the QSO and its AGN wind with HST to test models of quasars."))
    assert named.objects_and_phenomena == "quasars, active galactic nuclei"
    assert "HST" not in named.caption
    assert "Hubble constant" in extract(proposal("We aim to measure the Hubble constant with Hubble.")).caption


def test_longer_names_hide_shorter_ones_and_singulars_are_found():
    assert extract(proposal("A barred spiral galaxy, a supernova remnant and one nebula.")).objects_and_phenomena == (
        "barred spiral galaxies, supernova remnants"
    )
    names = [name for name, _ in OBJECTS]
    assert len(names) == len(set(names)) > 150
    assert all(pattern.search(name) for name, pattern in OBJECTS)


def test_chunks_are_whole_sentences_drawn_by_seed():
    parts = [f"Sentence number {number} has exactly these seven words." for number in range(30)]
    text = " ".join(parts)
    drawn = {seed: SentenceChunks(seed)(proposal(text)) for seed in range(12)}
    assert drawn[0] == SentenceChunks(0)(proposal(text))
    assert len(set(drawn.values())) > 6
    for caption in drawn.values():
        assert count_words(caption) <= MAX_WORDS
        assert set(sentences(caption)) <= set(parts)
    assert count_words(SentenceChunks()(proposal("word " * 300))) == MAX_WORDS


@pytest.mark.parametrize(
    ("answer", "caption"),
    [
        ({"objects_and_phenomena": "stars", "science_use_cases": "count them"}, "stars; count them"),
        (
            {"objects_and_phenomena": ["stars", "dust"], "science_use_cases": "<b>count</b> them,"},
            "stars, dust; count them",
        ),
        ({"objects_and_phenomena": "stars", "science_use_cases": " "}, None),
        ({"objects_and_phenomena": "stars"}, None),
        ({"objects_and_phenomena": "stars", "science_use_cases": 3}, None),
        ({"objects_and_phenomena": "stars", "science_use_cases": "word " * MAX_WORDS}, None),
        (["stars", "count them"], None),
        (None, None),
    ],
)
def test_summaries_of_others_are_checked(answer, caption):
    found = check_summary(answer)
    assert (found.caption if found else None) == caption


def test_lists_of_abstracts(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(
        "Category: STARS & GAS.  We will look. Again.\n\nCategory: .  And again.\nCategory: None.  Once more.\n"
    )
    assert [(found.category, found.abstract) for found in read_abstract_list(path)] == [
        ("stars & gas", "We will look. Again."),
        ("", "And again."),
        ("", "Once more."),
    ]
    path.write_text("Category: STARS.  We will look.\nwhat is this\n")
    with pytest.raises(DataError, match="line 2"):
        read_abstract_list(path)
    assert category_name("<i>STELLAR</i>  Populations") == "stellar populations"


def test_the_112_real_abstracts_all_have_captions(realdata):
    proposals = read_abstract_list(realdata / "proposals/hst_abstracts_unique.txt")
    assert len(proposals) == 112
    assert sum(not found.category for found in proposals) == 11
    summaries = [extract(found) for found in proposals]
    for found, summary in zip(proposals, summaries, strict=True):
        assert summary.objects_and_phenomena
        assert summary.science_use_cases
        assert len(summary.objects_and_phenomena.split(", ")) <= MAX_ITEMS
        assert count_words(summary.caption) <= MAX_WORDS
        assert not re.search(r"<br|[{}\x00-\x1f]|\bHST\b|Hubble Space", summary.caption)
        chunk = SentenceChunks()(found)
        assert 5 <= count_words(chunk) <= MAX_WORDS
        assert all(sentence in found.abstract for sentence in sentences(chunk)[:1])
    known = {name for name, _ in OBJECTS}
    assert sum(bool(known & set(summary.objects_and_phenomena.split(", "))) for summary in summaries) >= 105
    assert len({summary.caption for summary in summaries}) == 112
    assert Extractive()(proposals[0]) == summaries[0].caption
    digest = hashlib.blake2b("\n".join(summary.caption for summary in summaries).encode(), digest_size=8).hexdigest()
    assert digest == "c2317e601e706e46"


def test_the_ten_real_queries_are_words_that_captions_have(realdata):
    queries = (realdata / "proposals/queries.txt").read_text().split("\n")
    proposals = read_abstract_list(realdata / "proposals/hst_abstracts_unique.txt")
    captions = [extract(found).caption.lower() for found in proposals]
    found = {
        query: sum(query.lower().rstrip("sy") in caption for caption in captions) for query in filter(None, queries)
    }
    assert len(found) == 10
    assert sum(count > 0 for count in found.values()) >= 8, found
