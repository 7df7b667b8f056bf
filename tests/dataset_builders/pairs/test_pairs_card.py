"""The card tells how the pairs were found, from counts and options of the build record."""

from __future__ import annotations

from dataset_builders.matching import AMBIGUOUS, OUTCOMES
from dataset_builders.pairs.card import pairing_text

RECORD = {
    "matched": {OUTCOMES[0]: 1234, OUTCOMES[1]: 56, AMBIGUOUS: 7},
    "joined": {"PROVABGS": 900, "PROVABGS, with another stellar mass": 0, "FastSpecFit": 80},
    "options": {"coadds": {"cuts": "none", "cut_reasons": []}, "images": {}, "radius_arcsec": 1.5},
}


def test_matches_labels_and_options() -> None:
    text = pairing_text(RECORD)
    assert "1,234 pairs by TARGETID, 56 on the sky within 1.5 arcsec; of these, 7 had a second candidate" in text
    assert "* PROVABGS: 900 pairs\n* FastSpecFit: 80 pairs" in text
    assert "* coadds: `cuts` none\n" in text
    assert "cut_reasons" not in text
    assert "images:" not in text


def test_labels_that_contradict_an_earlier_catalogue() -> None:
    joined = {"PROVABGS": 900, "FastSpecFit": 80, "FastSpecFit, with another stellar mass": 3}
    text = pairing_text({**RECORD, "joined": joined})
    assert "* FastSpecFit: 80 pairs; 3 more with another stellar mass, which were not used" in text


def test_without_labels() -> None:
    assert "catalogue" not in pairing_text({**RECORD, "joined": {}})
