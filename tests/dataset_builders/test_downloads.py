"""The lists of upstream files, and the command that fetches them, from a server on this machine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from file_server import FileServer, serving

from astroclip_bench.cli import data, download
from astroclip_bench.cli.main import main
from astroclip_bench.errors import DataError, UserError
from dataset_builders.downloads import desi, galaxy_zoo, images
from dataset_builders.downloads.options import Program, Release, Survey, read_numbers

SOURCES = {
    "desi-coadds": desi.coadds,
    "desi-tilepix": desi.tilepix,
    "desi-zcatalog": desi.zcatalog,
    "provabgs": desi.provabgs,
    "fastspecfit": desi.fastspecfit,
    "galaxy-zoo": galaxy_zoo.votes,
    "stein-images": images.stein,
    "legacy-cutouts": images.cutouts,
}
FOLDER = "edr/spectro/redux/fuji/healpix/sv3/dark/260/26065"


@pytest.fixture
def server():
    with serving(FileServer()) as running:
        files = {f"{kind}-sv3-dark-26065.fits": kind.encode() * 1000 for kind in ("coadd", "redrock")}
        running.add_with_sums(FOLDER, "redux_fuji_healpix_sv3_dark_260_26065.sha256sum", files)
        yield running


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs `astroclip-bench data download ARGUMENTS...` and gives code, output and messages."""
    monkeypatch.setattr(data, "plugin_names", lambda group: sorted(SOURCES))
    monkeypatch.setattr(data, "load_plugin", lambda group, name: SOURCES[name])

    def run_command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["astroclip-bench", "data", "download", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run_command


def table(folder: Path, text: str) -> Path:
    path = folder / "positions.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_has_help_with_examples_and_the_common_options(run, source):
    code, out, _ = run(source, "--help")
    assert code == 0
    assert f"astroclip-bench data download {source}" in out
    assert all(option in out for option in ("--out", "--yes", "--dry-run", "--connections"))


def test_the_command_shows_fetches_checks_and_goes_on(run, server, tmp_path):
    arguments = ("desi-coadds", "--healpix", "26065", "--program", "dark", "--base-url", server.url, "--out", tmp_path)
    code, out, err = run(*arguments, "--dry-run")
    assert code == 0
    assert "2 files, 12 kB to fetch" in err
    assert f"5000\thealpix/sv3/dark/260/26065/coadd-sv3-dark-26065.fits\t{server.url}/{FOLDER}" in out
    assert list(tmp_path.iterdir()) == []
    code, out, err = run(*arguments)
    assert code == 2
    assert "not confirmed" in err
    assert "add --yes" in err
    code, out, err = run(*arguments, "--yes", "--connections", 2)
    assert (code, out) == (0, f"{tmp_path}\n")
    assert "2 files fetched, 2 of them compared with their published checksum" in err
    assert (tmp_path / "healpix/sv3/dark/260/26065/redrock-sv3-dark-26065.fits").read_bytes() == b"redrock" * 1000
    code, _, err = run(*arguments)
    assert code == 0
    assert "0 files, 0 B to fetch" in err


def test_a_download_that_is_declined(run, server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_confirmed", lambda: False)
    code, _, err = run(
        "desi-coadds", "--healpix", "26065", "--program", "dark", "--base-url", server.url, "--out", tmp_path
    )
    assert code == 0
    assert err.endswith("nothing was fetched\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("desi-coadds", "--healpix", "1,x"), "--healpix 'x'; expected whole numbers"),
        (("desi-coadds", "--healpix", "7", "--base-url", "data.desi"), "expected an address that begins with https://"),
        (("desi-coadds", "--healpix", "99"), "no such file (HTTP 404) (and 1 more of 2 files)"),
        (("stein-images", "--north", "0"), "Globus, endpoint 59c818dc"),
        (("legacy-cutouts", "--positions", "nowhere.csv"), "nowhere.csv: No such file or directory"),
    ],
)
def test_one_clear_line(run, server, tmp_path, arguments, says):
    own = () if "--base-url" in arguments or arguments[0] == "stein-images" else ("--base-url", server.url)
    code, _, err = run(*arguments, *own, "--out", tmp_path / "out")
    assert code == 2
    assert says in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_names_of_the_lists_of_checksums():
    name = desi.checksum_list_name
    assert name("dr1/spectro/redux/iron/healpix/main/dark/100/10000") == (
        "redux_iron_healpix_main_dark_100_10000.sha256sum"
    )
    assert name("dr1/spectro/redux/iron/zcatalog/v1") == "redux_iron_zcatalog_v1.sha256sum"
    assert name("dr1/vac/dr1/mws/iron/v1.0") == "dr1_vac_dr1_mws_iron_v1.0.sha256sum"


def test_desi_files():
    listed = desi.coadds("10000, 5", release=Release.dr1, survey=Survey.main, redrock=False)
    assert [file.url.removeprefix(desi.BASE_URL) for file in listed.files] == [
        "/dr1/spectro/redux/iron/healpix/main/bright/0/5/coadd-main-bright-5.fits",
        "/dr1/spectro/redux/iron/healpix/main/bright/100/10000/coadd-main-bright-10000.fits",
    ]
    parts = desi.fastspecfit().files
    assert len(parts) == 12
    assert parts[11].url.endswith(
        "/dr1/vac/dr1/fastspecfit/iron/v3.0/catalogs/fastspec-iron-main-bright-nside1-hp11.fits"
    )
    (whole,) = desi.fastspecfit(Release.dr1, Survey.main, Program.bright, "v2.1").files
    assert whole.path == "fastspec-iron-main-bright.fits"
    (sv3,) = desi.fastspecfit(Release.edr, Survey.sv3).files
    assert sv3.url.endswith("edr/vac/edr/fastspecfit/fuji/v3.2/catalogs/fastspec-fuji-sv3-bright.fits")
    with pytest.raises(UserError, match=r"a version such as v3\.0"):
        desi.fastspecfit(catalogue_version="3")
    for source in (desi.zcatalog, desi.provabgs):
        (file,) = source().files
        assert "/" not in file.path
        assert file.sums.startswith(file.url.rpartition("/")[0])


def test_all_pixels_of_a_program(tmp_path):
    from astropy.table import Table

    rows = [(1, "sv3", "dark", 2), (2, "sv3", "bright", 7), (3, "sv3", "bright", 7), (4, "main", "bright", 9)]
    table = Table(rows=rows, names=("TILEID", "SURVEY", "PROGRAM", "HEALPIX"))
    table.meta["EXTNAME"] = "TILEPIX"
    table.write(tmp_path / "tilepix.fits")
    listed = desi.coadds(str(tmp_path / "tilepix.fits"), redrock=False)
    assert [file.path for file in listed.files] == ["healpix/sv3/bright/0/7/coadd-sv3-bright-7.fits"]
    with pytest.raises(UserError, match="no pixel of sv1 other; check --release"):
        desi.coadds(str(tmp_path / "tilepix.fits"), survey=Survey.sv1, program=Program.other)
    (file,) = desi.tilepix(Release.dr1).files
    assert file.path == "tilepix.fits"
    assert file.sums.endswith("/dr1/spectro/redux/iron/healpix/redux_iron_healpix.sha256sum")


def test_galaxy_zoo_is_compared_with_the_record_of_zenodo(server, tmp_path):
    (file,) = galaxy_zoo.votes(server.url).files
    assert (file.path, file.sums) == ("gz_decals_volunteers_5.csv", f"{server.url}/api/records/4573248")


def test_cutouts_at_the_native_scale(tmp_path):
    path = table(tmp_path, "TargetID,RA,Dec\n39627,10.5,-3.25\na/b,359.9,88\n")
    listed = images.cutouts(path, layer="ls-dr10")
    assert [file.path for file in listed.files] == ["39627.fits", "a_b.fits"]
    assert listed.requests_a_second == 2.0
    query = parse_qs(urlsplit(listed.files[0].url).query)
    assert {key: values[0] for key, values in query.items()} == {
        "ra": "10.5000000",
        "dec": "-3.2500000",
        "layer": "ls-dr10",
        "pixscale": "0.262",
        "bands": "grz",
        "size": "152",
    }
    unnamed = images.cutouts(table(tmp_path, "ra,dec\n10.5,-3.25\n"))
    assert unnamed.files[0].path == "10.50000-3.25000.fits"


def test_cutouts_of_the_galaxies_in_a_folder_of_coadds(realdata, tmp_path):
    for name in ("coadd", "redrock"):
        shutil.copy(realdata / f"desi/{name}-4-80613-thru20210324.fits", tmp_path)
    [file] = images.cutouts(tmp_path).files
    assert file.path == "39633345008634465.fits"
    assert "ra=105.4897745&dec=56.6693001&" in file.url


def test_the_size_of_a_cutout_is_that_of_a_real_one(realdata, tmp_path):
    path = realdata / "legacy" / "zoobot_example_b.fits"
    listed = images.cutouts(table(tmp_path, "ra,dec\n1,1\n"), size=162)
    assert listed.files[0].about_bytes == pytest.approx(path.stat().st_size, rel=0.05)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x,y\n1,2\n", "columns ra and dec"),
        ("ra,dec\n1,91\n", "not on the sphere"),
        ("ra,dec\n,1\n", "a position is missing"),
        ("ra,dec\none,1\n", "is not a number"),
    ],
)
def test_tables_without_positions(tmp_path, text, says):
    with pytest.raises(DataError, match=says):
        images.cutouts(table(tmp_path, text))


def test_stein_files_from_a_server_of_ones_own():
    listed = images.stein(south="61", north="14", base_url="https://mine.org/stein/")
    assert [file.url for file in listed.files] == [
        "https://mine.org/stein/images/south/images_npix152_061000000_062000000.h5",
        "https://mine.org/stein/images/north/images_npix152_014000000_014174203.h5",
    ]
    with pytest.raises(UserError, match="0 to 14"):
        images.stein(north="15", base_url="https://mine.org")
    with pytest.raises(UserError, match="--layer"):
        images.cutouts(Path("x"), layer="sdss")


def test_numbers_from_a_file(tmp_path):
    path = tmp_path / "pixels.txt"
    path.write_text("3 1,2\n3\n")
    assert read_numbers(str(path), "--healpix") == [1, 2, 3]
    path.write_text("")
    with pytest.raises(UserError, match="--healpix ''"):
        read_numbers(str(path), "--healpix")
