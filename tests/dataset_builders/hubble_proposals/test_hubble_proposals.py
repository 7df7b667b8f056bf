"""The data set of Hubble proposals: pictures, splits, counts and card, on made-up files and the real ones."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest
import typer
from chat_server import ChatServer, chatting
from mini_hubble import jpeg, name, record, write_pictures
from typer.testing import CliRunner

from astroclip_bench.datasets import check_dataset, open_dataset
from astroclip_bench.errors import DataError
from dataset_builders.hubble_proposals.command import build
from dataset_builders.hubble_proposals.pictures import (
    BLANK,
    COLOUR,
    DAMAGED,
    NAMED_BEFORE,
    NO_PROPOSAL,
    NOT_LISTED,
    NOT_TOTAL,
    OTHER_MODE,
    TOO_SMALL,
    list_pictures,
    load_picture,
)
from dataset_builders.hubble_proposals.source import HubbleProposals, picture_modality
from dataset_builders.hubble_proposals.summary import MAX_WORDS, SentenceChunks
from dataset_builders.parquet import build_dataset
from dataset_builders.splits import pixel_uniform, split_of_proposal
from dataset_builders.upstream.reader import GOOD

pytest.importorskip("PIL")

PROPOSALS = range(9000, 9040)
CROWDED = 9003
HOSTILE_TITLE = "<script>alert(1)</script>Stars | [x](javascript:y) <img src=x onerror=z>"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a catalogue and a folder of pictures: 40 proposals, 25 pictures of one of them, and what is to be left out."""
    folder = tmp_path_factory.mktemp("hubble")
    records = [record(number, title=HOSTILE_TITLE if number == 9001 else f"Clusters {number}") for number in PROPOSALS]
    (folder / "abstracts.cat").write_text("".join([*records, record(9000), record(9100, abstract="")]))
    pictures = folder / "previews"
    write_pictures(pictures / "some", {number: 25 if number == CROWDED else 2 for number in PROPOSALS})
    bad = pictures / "others"
    write_pictures(bad, {9100: 1, 9999: 1})
    (bad / name(9000, 0)).write_bytes(jpeg(1))
    (bad / name(9000, 7, "f606w")).write_bytes(jpeg(1))
    (bad / name(9000, 8, "color_total")).write_bytes(jpeg(1))
    (bad / "galaxy.jpg").write_bytes(jpeg(1))
    (bad / "notes.txt").write_text("nothing")
    whole = jpeg(1)
    (bad / name(9000, 10)).write_bytes(whole[: len(whole) // 2])
    (bad / name(9000, 11)).write_bytes(b"GIF89a nothing")
    (bad / name(9000, 12)).write_bytes(jpeg(value=40))
    (bad / name(9000, 13)).write_bytes(jpeg(2, mode="CMYK"))
    (bad / name(9000, 14)).write_bytes(jpeg(2, size=(300, 8)))
    return folder


@pytest.fixture(scope="module")
def opened(files, tmp_path_factory):
    source = HubbleProposals(files / "abstracts.cat", files / "previews", size=48)
    return open_dataset(build_dataset(source, tmp_path_factory.mktemp("built") / "hubble"))


def test_rows_and_modalities(opened):
    assert check_dataset(opened.folder).rows == 2 * 39 + 20
    assert opened.info.split_rule == "proposal"
    assert not opened.info.simulated
    image, text = opened.modalities["image"], opened.modalities["text"]
    assert (image.shape, image.unit, image.dtype) == ((3, 48, 48), "", "float32")
    assert not {"bands", "pixel_scale_arcsec"} & set(image.axes)
    assert (text.columns, text.shared_by) == (("caption",), "proposal_id")
    view = opened.splits["train"]
    batch = next(view.batches(["image", "caption"], 8))
    assert batch.arrays["image"].dtype == np.float32
    assert batch.arrays["image"].min() >= 0
    assert 0.5 < batch.arrays["image"].max() <= 1
    assert all(text.startswith("globular clusters, galaxies; measure") for text in batch.arrays["caption"])
    assert set(view.column("category")) == {"galaxies"}
    assert set(view.column("instrument")) == {"acs"}
    assert set(view.column("healpix")) == {-1}


def test_splits_are_by_proposal_and_by_hash(opened):
    splits = defaultdict(set)
    for split, view in opened.splits.items():
        for proposal in view.column("proposal_id"):
            splits[proposal].add(split)
            u = pixel_uniform(int(proposal))
            assert split == ("train" if u < 0.70 else "validation" if u < 0.85 else "test")
    assert len(splits) == 40
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "validation", "test"}
    shares = split_of_proposal(np.arange(4000, 17_000))
    assert np.mean(shares == "train") == pytest.approx(0.7, abs=0.01)


def test_what_is_left_out_is_counted(opened, files):
    entry = json.loads((opened.folder / "manifest.json").read_text())["build"]
    catalogue, pictures, captions = entry["steps"]
    assert (catalogue["read"], catalogue["kept"]) == (42, 40)
    assert pictures["dropped"] == {
        NO_PROPOSAL: 1,
        NOT_TOTAL: 1,
        COLOUR: 1,
        NAMED_BEFORE: 1,
        NOT_LISTED: 2,
        "beyond 20 of its proposal": 5,
    }
    assert (captions["read"], captions["kept"]) == (40, 40)
    assert entry["dropped_while_loading"] == {BLANK: 1, DAMAGED: 2, OTHER_MODE: 1, TOO_SMALL: 1}
    assert {one["path"] for one in entry["inputs"]} == {"abstracts.cat", f"previews/ ({pictures['kept']:,} pictures)"}


def test_at_most_so_many_pictures_of_a_proposal(files):
    known = {str(number) for number in PROPOSALS}
    chosen, _ = list_pictures(files / "previews", known)
    mine = [picture.object_id for picture in chosen if picture.proposal_id == str(CROWDED)]
    assert len(mine) == 20
    fewer, step = list_pictures(files / "previews", known, max_images=3)
    assert {picture.object_id for picture in fewer if picture.proposal_id == str(CROWDED)} < set(mine)
    assert step["dropped"]["beyond 3 of its proposal"] == 22 + 4  # nine of proposal 9000's are named well


def test_pictures_are_padded_to_a_square(tmp_path):
    (tmp_path / "wide.jpg").write_bytes(jpeg(3, size=(400, 200)))
    (tmp_path / "red.jpg").write_bytes(jpeg(4, size=(64, 64), mode="RGB"))
    image, fault = load_picture(tmp_path / "wide.jpg", 64)
    assert fault == GOOD
    assert image.shape == (3, 64, 64)
    assert image[:, :15].max() == image[:, -15:].max() == 0
    assert image[:, 18:46].mean() > 0.2
    np.testing.assert_array_equal(image[0], image[1])
    assert load_picture(tmp_path / "red.jpg", 128)[0].shape == (3, 128, 128)


def test_the_first_row_is_the_top(tmp_path):
    from PIL import Image

    pixels = np.zeros((64, 64), np.uint8)
    pixels[:20] = 250
    Image.fromarray(pixels).save(tmp_path / "top.jpg")
    image, _ = load_picture(tmp_path / "top.jpg", 64)
    assert image[:, :16].min() > 0.9
    assert image[:, 30:].max() < 0.1


def test_hostile_text_does_no_harm(opened):
    view = next(view for view in opened.splits.values() if "9001" in view.column("proposal_id"))
    titles = view.column("title")[view.column("proposal_id") == "9001"]
    assert set(titles) == {"Stars | [x](javascript:y)"}
    text = (opened.folder / "README.md").read_text()
    assert "<script" not in text
    assert "](javascript:" not in text
    assert "These are no fluxes" in text
    assert "observing proposal; BLAKE2b" in text
    assert json.loads((opened.folder / "croissant.json").read_text())["@type"] == "sc:Dataset"


def test_the_same_files_make_the_same_rows_in_any_number_of_processes(opened, files, tmp_path):
    source = HubbleProposals(files / "abstracts.cat", files / "previews", size=48)
    again = build_dataset(source, tmp_path / "again", workers=2)
    assert open_dataset(again).digest == opened.digest


def test_the_command_with_chunks_and_with_an_endpoint(files, tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROCLIP_BENCH_CACHE", str(tmp_path / "cache"))
    app = typer.Typer()
    app.command()(build)
    options = ["--catalogue", str(files / "abstracts.cat"), "--pictures", str(files / "previews"), "--size", "32"]
    result = CliRunner().invoke(
        app, [*options, "--out", str(tmp_path / "chunks"), "--captions", "chunks", "--seed", "4"]
    )
    assert result.exit_code == 0, result.output
    assert "pictures: 103 of 114; left out: 1 name without a proposal number" in result.output
    assert "2 not a readable JPEG" in result.output
    made = open_dataset(tmp_path / "chunks")
    text = made.splits["train"].column("caption")[0]
    assert text == SentenceChunks(4)(_proposal(files, made.splits["train"].column("proposal_id")[0]))
    good = json.dumps({"objects_and_phenomena": "clusters", "science_use_cases": "count them"})
    with chatting(ChatServer(["nonsense", "nonsense", "nonsense", good])) as server:
        extra = ["--captions", "endpoint", "--endpoint", server.url, "--model", "m", "--out", str(tmp_path / "asked")]
        result = CliRunner().invoke(app, [*options, *extra])
    assert result.exit_code == 0, result.output
    assert "captions of proposals with pictures: 39 of 40; left out: 1 no valid summary" in result.output
    assert set(open_dataset(tmp_path / "asked").splits["train"].column("caption")) == {"clusters; count them"}
    wrong = CliRunner().invoke(app, [*options, "--out", str(tmp_path / "w"), "--model", "m"])
    assert "add --captions endpoint" in str(wrong.exception)


def _proposal(files, number):
    from dataset_builders.hubble_proposals.catalogue import read_catalogue

    return read_catalogue(files / "abstracts.cat").proposals[number]


def test_folders_and_options_that_cannot_be(files, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        HubbleProposals(files / "abstracts.cat", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no JPEG files"):
        HubbleProposals(files / "abstracts.cat", tmp_path / "empty")
    for options in ({"size": 8}, {"size": 4096}, {"max_images": 0}):
        with pytest.raises(DataError, match="--size"):
            HubbleProposals(files / "abstracts.cat", files / "previews", **options)
    with pytest.raises(DataError, match="has a caption"):
        HubbleProposals(files / "abstracts.cat", files / "previews", _Mute())


class _Mute:
    """Has nothing to say, or too much."""

    options = {"captions": "extractive"}  # noqa: RUF012 - a stand-in

    def __call__(self, proposal):
        """Return nothing or too many words, in turn."""
        return None if int(proposal.proposal_id) % 2 else "word " * (MAX_WORDS + 1)


def test_models_of_calibrated_images_do_not_take_the_pictures():
    """Unit, bands and scale are what a consumer of fluxes goes by."""
    from astroclip_bench.perturbations import perturbations

    touched = {item for item in perturbations([picture_modality(48)]) if item not in perturbations([])}
    assert not any("band" in item or "extinction" in item or "blur" in item for item in touched)


def test_the_real_preview(realdata, tmp_path):
    path = realdata / "proposals/hst_15354_01_acs_wfc_total_jdi601_drc.jpg"
    (picture,), step = list_pictures(path.parent, {"15354"})
    assert (picture.proposal_id, picture.instrument, picture.detector) == ("15354", "acs", "wfc")
    assert step["kept"] == 1
    image, fault = load_picture(path, 224)
    assert fault == GOOD
    # 4543 by 4423 pixels: 218 of the 224 rows are the picture's.
    assert np.flatnonzero(image.max(axis=(0, 2)) > 0.02)[[0, -1]] == pytest.approx([3, 220], abs=2)
    assert 0.02 < image.mean() < 0.5
    (tmp_path / "abstracts.cat").write_text(record(15354))
    made = open_dataset(build_dataset(HubbleProposals(tmp_path / "abstracts.cat", path.parent), tmp_path / "real"))
    assert sum(view.rows for view in made.splits.values()) == 1
