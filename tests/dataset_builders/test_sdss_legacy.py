"""The real pairs, from the list to scores; and lists with traps."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import typer
from mini_sdss import write_spectrum
from typer.testing import CliRunner

from astroclip_bench.datasets import check_dataset, open_dataset
from astroclip_bench.embedders import load_embedder
from astroclip_bench.errors import DataError, StorageError, TaskError
from astroclip_bench.evaluation import evaluate
from astroclip_bench.files import sha256_file
from dataset_builders.parquet import build_dataset
from dataset_builders.sdss_legacy.command import build
from dataset_builders.sdss_legacy.pairs import read_pairs
from dataset_builders.sdss_legacy.source import SdssLegacy
from dataset_builders.splits import healpix_pixel, split_of_pixel

fits = pytest.importorskip("astropy.io.fits")
Image = pytest.importorskip("PIL.Image")

UNCLIPPED, IN_FITS = "sdss-0268-51633-0251", "sdss-0266-51602-0001"


@pytest.fixture(scope="module")
def folder(realdata, tmp_path_factory):
    return build_dataset(SdssLegacy(realdata / "pairs"), tmp_path_factory.mktemp("pairs") / "by-sky")


@pytest.fixture(scope="module")
def all_test(realdata, tmp_path_factory):
    return build_dataset(SdssLegacy(realdata / "pairs", "test"), tmp_path_factory.mktemp("pairs") / "all-test")


@pytest.fixture(scope="module")
def rows(all_test):
    from datasets import load_dataset

    return {row["object_id"]: row for row in load_dataset(str(all_test), split="test")}


def test_the_eleven_pairs_are_built_and_counted(folder, realdata):
    assert check_dataset(folder).rows == 11
    dataset = open_dataset(folder)
    assert {name: view.rows for name, view in dataset.splits.items()} == {"train": 9, "validation": 1, "test": 1}
    assert not dataset.info.simulated
    for name, view in dataset.splits.items():
        pixels = healpix_pixel(view.column("ra"), view.column("dec"))
        np.testing.assert_array_equal(view.column("healpix"), pixels)
        assert set(split_of_pixel(pixels)) == {name}
    build_entry = json.loads((folder / "manifest.json").read_text())["build"]
    files, pairs = build_entry["steps"]
    assert (files["read"], files["kept"], files["dropped"]) == (12, 11, {"image file not there": 1})
    assert (pairs["read"], pairs["kept"], pairs["dropped"]) == (11, 11, {})
    assert {"python", "numpy", "pyarrow", "astroclip-bench"} <= set(build_entry["software"])
    assert len(build_entry["inputs"]) == 1 + 11 + 11
    for entry in build_entry["inputs"]:
        path = realdata / "pairs" / entry["path"]
        assert (path.stat().st_size, sha256_file(path)) == (entry["bytes"], entry["sha256"])


def test_rows_are_what_the_list_and_the_spectra_say(rows, realdata):
    with (realdata / "pairs/pairs.csv").open() as handle:
        listed = [line for line in csv.DictReader(handle) if "temp_small" not in line["image"]]
    assert len(rows) == len(listed) == 11
    for line in listed:
        row = rows[line["spectrum"].removeprefix("spectra/").removesuffix(".fits").replace("spec", "sdss")]
        assert row["redshift"] == pytest.approx(float(line["z"]), rel=1e-6)
        assert 0 < row["redshift_std"] < 1e-4
        assert row["match_separation"] == pytest.approx(float(line["sep_arcsec"]), abs=0.001)
        assert row["subclass"] == line["subclass"]
        assert row["snr"] == pytest.approx(float(line["snr"]), abs=0.1)
        assert (row["ra"], row["dec"]) == (float(line["ra"]), float(line["dec"]))
        assert line["image"].endswith(".fits") or row["bestobjid"] in line["image"]
        assert row["image_origin"] == (
            "fits, resampled" if line["image"].endswith(".fits") else "jpeg, inverted display"
        )
        assert row["preview"].size == (96, 96)


def magnitudes(image, radius_arcsec):
    """Return g, r, z magnitudes in an aperture around the middle; pixels at its edge count in part."""
    offset = (np.arange(96) - 47.5) * 0.262
    weight = np.clip((radius_arcsec - np.hypot(offset[:, None], offset)) / 0.262 + 0.5, 0, 1)
    return 22.5 - 2.5 * np.log10((np.asarray(image) * weight).sum(axis=(1, 2)))


def test_fluxes_through_the_fibre_agree_with_the_spectrum_where_nothing_is_clipped(rows, realdata):
    excess = {}
    for name, row in rows.items():
        path = realdata / f"pairs/spectra/{name.replace('sdss', 'spec')}.fits"
        in_fibre = 22.5 - 2.5 * np.log10(fits.getdata(path, 2)["SPECTROFLUX"][0][[1, 2, 4]])
        excess[name] = magnitudes(row["image"], 1.5) - in_fibre
    assert {name for name, row in rows.items() if not row["image_clipped_pixels"]} == {UNCLIPPED, IN_FITS}
    # The z bands of the two surveys are not the same, nor is the seeing.
    assert (np.abs(excess[IN_FITS]) < [0.1, 0.1, 0.15]).all()
    assert (np.abs(excess[UNCLIPPED]) < [0.1, 0.1, 0.3]).all()
    for name in set(rows) - {UNCLIPPED, IN_FITS}:
        assert 50 < rows[name]["image_clipped_pixels"] < 500
        assert (excess[name] > 0).all()  # lower bounds


def test_every_galaxy_is_in_the_middle_of_its_image(rows):
    offset = (np.arange(96) - 47.5) * 0.262
    near = np.hypot(offset[:, None], offset) < 3
    for name, row in rows.items():
        light = np.asarray(row["image"])[1] * near
        middle = [(light.sum(axis=axis) * offset).sum() / light.sum() for axis in (0, 1)]
        assert np.hypot(*middle) < 0.5, name


def test_empty_sky_is_at_zero(rows):
    for name in (UNCLIPPED, "sdss-0268-51633-0074", "sdss-0268-51633-0223"):
        corner = np.asarray(rows[name]["image"])[:, :15, 80:]
        assert (np.abs(np.median(corner, axis=(1, 2))) < [0.002, 0.003, 0.004]).all()


def test_it_streams(all_test, rows):
    from datasets import load_dataset

    streamed = list(load_dataset(str(all_test), split="test", streaming=True))
    assert [row["object_id"] for row in streamed] == list(rows)
    np.testing.assert_array_equal(streamed[3]["flux"], rows[streamed[3]["object_id"]]["flux"])


def test_all_pairs_are_scored_on_retrieval(all_test):
    result = evaluate(load_embedder("astroclip-mini"), open_dataset(all_test))
    assert {(score.task, score.n) for score in result.scores} == {("retrieval", 11)}
    assert {(score.reference, score.query) for score in result.scores} == {("image", "spectrum"), ("spectrum", "image")}
    (recall,) = result.find(metric="recall@1", reference="image")
    assert recall.chance == pytest.approx(1 / 11)
    assert not result.dataset["simulated"]
    assert "0 train objects" in result.not_applicable["redshift"]


def test_pairs_split_by_sky_are_too_few_to_score(folder):
    with pytest.raises(TaskError, match=r"no task can be scored .*9 train objects .*a search among 1 test object"):
        evaluate(load_embedder("astroclip-mini"), open_dataset(folder))


def test_the_card_says_what_is_wrong_with_the_images(folder):
    card = (folder / "README.md").read_text()
    for words in (
        "**Bright centres are clipped.**",
        "cc-by-4.0",
        "Dey et al. (2019)",
        "SDSS covers about 3800 to 9200 angstrom",
        "| files of the list | 12 | 11 | 1 image file not there |",
        "| `match_separation` | float or null | arcsec |",
    ):
        assert words in card


# Lists with traps


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """Return a folder: below it one of pictures, and beside that one of FITS cut-outs."""
    root = tmp_path_factory.mktemp("sky")
    (root / "pairs").mkdir()
    (root / "fits").mkdir()
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(20, 90, (256, 256, 3)).astype(np.uint8)).save(root / "pairs/a.jpeg")
    (root / "pairs/damaged.jpeg").write_text("no picture")
    header = fits.Header({"BANDS": "grz", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0})
    header.update({"CRPIX1": 80.5, "CRPIX2": 80.5, "CD1_1": -0.262 / 3600, "CD2_2": 0.262 / 3600})
    image = random.normal(0, 0.01, (3, 160, 160)).astype(np.float32)
    fits.PrimaryHDU(image, header).writeto(root / "fits/b.fits")
    image[0] = 0
    fits.PrimaryHDU(image, header).writeto(root / "fits/no_g.fits")
    return root


def write_list(folder, lines):
    """Write pairs.csv from (image, declination, spectrum's table) and return the folder; each line has its spectrum."""
    with (folder / "pairs.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["image", "desc", "ra", "dec", "spectrum"])
        for number, (image, dec, objects) in enumerate(lines):
            spectrum = f"spec-0001-50000-{number:04d}.fits"
            if objects is not None:
                write_spectrum(folder / spectrum, objects={"PLATE": 1, "MJD": 50000, "FIBERID": number} | objects)
            table.writerow([image, "made up, 0.1as/px", 150.0, dec, spectrum])
    return folder


def test_traps_are_left_out_and_counted(sky, tmp_path):
    shutil.copytree(sky, tmp_path, dirs_exist_ok=True)
    lines = [
        ("a.jpeg", 2.0, {}),
        ("none.jpeg", 2.0, {}),
        ("a.jpeg", 2.0, None),
        ("a.jpeg", 2.0, {"FIBERID": 0}),
        ("a.jpeg", 2.0 + 1.01 / 3600, {}),
        ("a.jpeg", 2.0 - 0.99 / 3600, {}),
        ("a.jpeg", 2.0, {"CLASS": "STAR"}),
        ("a.jpeg", 2.0, {"ZWARNING": 4}),
        ("a.jpeg", 2.0, {"PLUG_DEC": -999.0}),
        ("a.jpeg", "nan", {}),
        ("damaged.jpeg", 2.0, {}),
        ("somewhere/else/b.fits", 2.0, {}),
        ("no_g.fits", 2.0, {}),
    ]
    good = {"ZWARNING": 0}
    lines = [(image, dec, None if objects is None else good | objects) for image, dec, objects in lines]
    source = SdssLegacy(write_list(tmp_path / "pairs", lines), "test")
    assert [step["dropped"] for step in source.build_record()["steps"]] == [
        {"image file not there": 1, "spectrum file not there": 1},
        {
            "spectrum listed before": 1,
            "image and fibre more than 1 arcsec apart": 2,
            "not classified as a galaxy": 1,
            "redshift with a warning (ZWARNING)": 1,
            "position not on the sphere": 1,
        },
    ]
    folder = build_dataset(source, tmp_path / "out")
    test = open_dataset(folder).splits["test"]
    assert test.object_ids == ["sdss-0001-50000-0000", "sdss-0001-50000-0005", "sdss-0001-50000-0011"]
    np.testing.assert_allclose(test.column("match_separation"), [0, 0.99, 0], atol=1e-3)
    loaded = json.loads((folder / "manifest.json").read_text())["build"]["dropped_while_loading"]
    assert sum(loaded.values()) == 2
    assert loaded["picture damaged, without colours, or too small"] == 1
    assert "| loaded | 5 | 3 |" in (folder / "README.md").read_text()


def test_a_name_that_is_beside_the_folder_twice_is_not_guessed(sky, tmp_path):
    shutil.copytree(sky, tmp_path, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "fits", tmp_path / "more")
    folder = write_list(tmp_path / "pairs", [("b.fits", 2.0, {"ZWARNING": 0}), ("a.jpeg", 2.0, {"ZWARNING": 0})])
    assert read_pairs(folder).steps[0]["dropped"] == {"image file not there": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,desc,ra,dec\n", "column 'spectrum' is missing"),
        ("", "column 'image' is missing"),
        ("image,desc,ra,dec,spectrum\na.jpeg,x\n", "line 2 is cut short"),
        ("image,desc,ra,dec,spectrum\n", r"none of its 0 pairs can be used"),
        ("image,desc,ra,dec,spectrum\nb.jpeg,0.1as/px,1,2,c\n", r"1 pairs can be used \(1 image file not there\)"),
        ("image,desc,ra,dec,spectrum\na.jpeg,grz,150,2,spec-0001-50000-0000.fits\n", "no pixel scale in 'grz'"),
        ("image,desc,ra,dec,spectrum\na.jpeg,1as/px,x,2,spec-0001-50000-0000.fits\n", "position 'x', '2'"),
        ("\xff\xfe", "not a readable list"),
    ],
)
def test_a_bad_list_is_one_line(sky, tmp_path, text, message):
    shutil.copytree(sky / "pairs", tmp_path / "pairs")
    folder = write_list(tmp_path / "pairs", [("a.jpeg", 2.0, {})])
    (folder / "pairs.csv").write_bytes(text.encode("latin1"))
    with pytest.raises(DataError, match=rf"pairs\.csv: .*{message}") as caught:
        SdssLegacy(folder)
    assert "\n" not in str(caught.value)


def test_other_bad_arguments_are_one_line(tmp_path):
    with pytest.raises(StorageError, match=r"pairs\.csv: No such file"):
        SdssLegacy(tmp_path)
    with pytest.raises(DataError, match="split 'train'; expected healpix or test"):
        SdssLegacy(tmp_path, "train")


def test_command(realdata, tmp_path):
    app = typer.Typer()
    app.command()(build)
    result = CliRunner().invoke(app, ["--pairs", str(realdata / "pairs"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert result.stdout.strip() == str(tmp_path / "out")
    assert "files of the list: 11 of 12 rows; left out: 1 image file not there" in result.stderr
    assert "9 train; 1 validation; 1 test" in result.stderr
    assert "--split test puts all of them there" in result.stderr
