"""Bad input of `data build`: one clear line, exit code 2, no data set; mended, the same command goes on."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from astroclip_bench.cli.main import main  # noqa: F401 - imported before the tests change the folder
from astroclip_bench.datasets.manifest import BUILD_FOLDER, read_manifest
from astroclip_bench.errors import StorageError
from dataset_builders.pairs import index

h5py = pytest.importorskip("h5py")
fits = pytest.importorskip("astropy.io.fits")

Case = Callable[[Path], list[object]]
"""Given the folder of the survey, prepare the fault and return options that replace or join the plain ones."""

N_SPECTRA = 440
COADDS = "spectra/healpix/sv3/bright/194"
N_PAIRS = 10

FAULTY_FILES: dict[str, tuple[Case, str]] = {}
FAULTY_OPTIONS: dict[str, tuple[Case, str]] = {}


def faulty_file(expected: str) -> Callable[[Case], Case]:
    """Register a case whose fault is in the files."""
    return _registering(FAULTY_FILES, expected)


def faulty_option(expected: str) -> Callable[[Case], Case]:
    """Register a case whose fault is in the command."""
    return _registering(FAULTY_OPTIONS, expected)


def _registering(cases: dict[str, tuple[Case, str]], expected: str) -> Callable[[Case], Case]:
    def register(prepare: Case) -> Case:
        cases[prepare.__name__] = (prepare, expected)
        return prepare

    return register


def coadd(survey: Path) -> Path:
    return sorted((survey / "spectra").rglob("coadd-*.fits"))[0]


def redrock(survey: Path) -> Path:
    return sorted((survey / "spectra").rglob("redrock-*.fits"))[0]


def shard(survey: Path) -> Path:
    return sorted((survey / "images").rglob("*.h5"))[0]


def truncate(path: Path, keep: float = 0.6) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw))])


def drop_hdu(path: Path, name: str) -> None:
    with fits.open(path, memmap=False) as hdus:
        fits.HDUList([hdu.copy() for hdu in hdus if hdu.name != name]).writeto(path, overwrite=True)


def drop_column(path: Path, hdu: str, column: str) -> None:
    with fits.open(path, memmap=False) as hdus:
        table = hdus[hdu]
        columns = fits.ColDefs([entry for entry in table.columns if entry.name != column])
        changed = fits.BinTableHDU.from_columns(columns, name=hdu)
        others = [changed if entry.name == hdu else entry.copy() for entry in hdus]
        fits.HDUList(others).writeto(path, overwrite=True)


# --- files of the survey that cannot be used


@faulty_file("no redshifts beside it; expected the file redrock-")
def missing_redrock(survey):
    redrock(survey).unlink()
    return []


@faulty_file("coadd-sv3-bright-19456.fits: truncated")
def truncated_coadd(survey):
    truncate(coadd(survey))
    return []


@faulty_file("redrock-sv3-bright-19456.fits: truncated")
def truncated_redrock(survey):
    truncate(redrock(survey), 0.9)
    return []


@faulty_file("not a readable FITS file")
def empty_coadd(survey):
    coadd(survey).write_bytes(b"")
    return []


@faulty_file("not a readable FITS file")
def web_page_for_a_coadd(survey):
    coadd(survey).write_text("<html>404</html>" * 300)
    return []


@faulty_file("HDU FIBERMAP is missing; expected it among")
def coadd_without_fibermap(survey):
    drop_hdu(coadd(survey), "FIBERMAP")
    return []


@faulty_file("HDU R_IVAR is missing; expected it among")
def coadd_without_an_arm(survey):
    drop_hdu(coadd(survey), "R_IVAR")
    return []


@faulty_file("HDU B_RESOLUTION is missing; expected it among")
def coadd_without_resolution(survey):
    drop_hdu(coadd(survey), "B_RESOLUTION")
    return ["--mask", "--resolution"]


@faulty_file("column TARGET_RA is missing from HDU FIBERMAP")
def coadd_without_positions(survey):
    drop_column(coadd(survey), "FIBERMAP", "TARGET_RA")
    return []


@faulty_file("column ZWARN is missing from HDU REDSHIFTS")
def redrock_without_warnings(survey):
    drop_column(redrock(survey), "REDSHIFTS", "ZWARN")
    return []


@faulty_file("not a readable HDF5 file")
def truncated_images(survey):
    truncate(shard(survey))
    return []


@faulty_file("key 'images' is missing")
def images_without_images(survey):
    with h5py.File(shard(survey), "a") as file:
        del file["images"]
    return []


@faulty_file("'images' has shape")
def images_of_another_size(survey):
    with h5py.File(shard(survey), "a") as file:
        rows = len(file["images"])
        del file["images"]
        file["images"] = np.zeros((rows, 3, 64, 64), np.float32)
    return []


@faulty_file("'dec' has")
def images_with_too_few_positions(survey):
    with h5py.File(shard(survey), "a") as file:
        dec = file["dec"][:-1]
        del file["dec"]
        file["dec"] = dec
    return []


@faulty_file("Stein et al. images: no usable row in")
def images_without_a_row_on_the_sky(survey):
    for path in (survey / "images").rglob("*.h5"):
        with h5py.File(path, "a") as file:
            file["dec"][:] = np.nan
    return []


@faulty_file("no spectrum matches an image (")
def images_of_another_sky(survey):
    for path in (survey / "images").rglob("*.h5"):
        with h5py.File(path, "a") as file:
            file["dec"][:] = -80.0
    return []


@faulty_file("DESI coadds: no usable row in 2 files (")
def coadds_of_sky_fibres(survey):
    for path in (survey / "spectra").rglob("coadd-*.fits"):
        with fits.open(path, mode="update") as hdus:
            hdus["FIBERMAP"].data["OBJTYPE"] = "SKY"
    return []


@faulty_file("no row is left")
def every_spectrum_empty(survey):
    for path in (survey / "spectra").rglob("coadd-*.fits"):
        with fits.open(path, mode="update") as hdus:
            for arm in "BRZ":
                hdus[f"{arm}_FLUX"].data[:] = 0
    return []


@faulty_file("provabgs.hdf5: not a readable HDF5 file")
def truncated_labels(survey):
    truncate(survey / "provabgs.hdf5")
    return ["--labels", survey / "provabgs.hdf5"]


@faulty_file("PROVABGS: no usable row in 1 files (")
def labels_without_a_mass(survey):
    with h5py.File(survey / "provabgs.hdf5", "a") as file:
        table = file["__astropy_table__"][:]
        table["PROVABGS_LOGMSTAR_BF"] = -999
        file["__astropy_table__"][:] = table
    return ["--labels", survey / "provabgs.hdf5"]


@faulty_file("votes.csv")
def votes_without_a_column(survey):
    header, rows = (survey / "gz_decals_volunteers_5.csv").read_text().split("\n", 1)
    (survey / "votes.csv").write_text(header.replace("merging_total-votes", "other") + "\n" + rows)
    return ["--morphology", survey / "votes.csv"]


@faulty_file("HDU ZCATALOG is missing")
def catalogue_without_its_table(survey):
    drop_hdu(survey / "zall-pix-edr-vac.fits", "ZCATALOG")
    return ["--zcatalog", survey / "zall-pix-edr-vac.fits"]


# --- commands that cannot be followed


@faulty_option("nowhere: no such file or folder")
def no_such_spectra(survey):
    return ["--spectra", survey / "nowhere"]


@faulty_option("no DESI spectra in it or below; expected files coadd-*.fits")
def empty_folder(survey):
    (survey / "empty").mkdir()
    return ["--spectra", survey / "empty"]


@faulty_option("no DESI spectra in it or below")
def spectra_and_images_the_wrong_way_round(survey):
    return ["--spectra", survey / "images", "--images", survey / "spectra"]


@faulty_option("Legacy Survey cut-outs: no usable row in")
def spectra_for_images(survey):
    return ["--images", survey / "spectra"]


@faulty_option("coadd-sv3-bright-19456.fits")
def spectra_for_labels(survey):
    return ["--labels", coadd(survey)]


@faulty_option("notes.txt")
def labels_of_an_unknown_kind(survey):
    (survey / "notes.txt").write_text("log M = 10")
    return ["--labels", survey / "notes.txt"]


@faulty_option("nowhere.csv")
def no_such_votes(survey):
    return ["--morphology", survey / "nowhere.csv"]


@faulty_option("nowhere.fits")
def no_such_catalogue(survey):
    return ["--zcatalog", survey / "nowhere.fits"]


@faulty_option("expected one of none, bright-galaxy, good-redshift")
def unknown_cuts(survey):
    return ["--cuts", "faint-galaxy"]


@faulty_option("expected one of desispec-0.70, desispec-edr")
def unknown_rule(survey):
    return ["--coadd-rule", "mean"]


@faulty_option("expected a positive number")
def radius_of_zero(survey):
    return ["--radius", 0]


@faulty_option("expected a positive number")
def negative_radius(survey):
    return ["--radius", -1]


@faulty_option("expected a positive number")
def radius_that_is_no_number(survey):
    return ["--radius", "nan"]


@faulty_option("expected a positive number up to 30")
def radius_of_a_degree(survey):
    return ["--radius", 3600]


@faulty_option("expected viewer cut-outs (FITS) for --resample")
def resampling_of_native_images(survey):
    return ["--resample"]


@faulty_option("choose --cuts good-redshift, or none")
def cuts_by_columns_that_are_not_there(survey):
    return ["--spectra", survey / "mmu_desi"]


@faulty_option("expected DESI coadds for --zcatalog and --resolution")
def catalogue_for_spectra_that_have_their_own(survey):
    return ["--spectra", survey / "mmu_desi", "--zcatalog", survey / "zall-pix-edr-vac.fits"]


@faulty_option("which is input; expected a folder outside")
def output_in_the_input(survey):
    return ["--out", survey / "images" / "pairs"]


@faulty_option("not empty, and no data set")
def output_around_the_input(survey):
    return ["--out", survey]


@faulty_option("notes: a file; expected a folder")
def output_is_a_file(survey):
    (survey / "notes").write_text("mine")
    return ["--out", survey / "notes"]


@faulty_option("no Dask scheduler answers at 'nowhere'")
def scheduler_without_a_port(survey):
    return ["--scheduler", "nowhere"]


@faulty_option("no Dask scheduler answers at 'tcp://127.0.0.1:9'")
def scheduler_that_is_not_there(survey):
    return ["--scheduler", "tcp://127.0.0.1:9"]


@pytest.fixture(scope="session")
def whole_survey(tmp_path_factory) -> Path:
    """Return a small part of the survey in miniature: two coadds with their images, and the catalogues."""
    from mini_survey import make_survey

    whole, part = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("part") / "survey"
    make_survey(whole, N_SPECTRA)
    shutil.copytree(whole / COADDS, part / COADDS)
    shutil.copytree(whole / "images" / "south", part / "images" / "south")
    shutil.copytree(whole / "mmu_desi" / "inverted", part / "mmu_desi")
    for name in ("provabgs.hdf5", "gz_decals_volunteers_5.csv", "zall-pix-edr-vac.fits"):
        shutil.copy(whole / name, part / name)
    return part


@pytest.fixture
def survey(whole_survey, tmp_path, monkeypatch) -> Path:
    """Return a copy of it to spoil, beside which the working folder is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dataset_builders.dask_run.CONNECT_SECONDS", 0.3)
    return Path(shutil.copytree(whole_survey, tmp_path / "survey"))


def command(survey: Path, more: list[object]) -> list[object]:
    """Return the plain command, options given replacing its own."""
    plain = {"--spectra": survey / "spectra", "--images": survey / "images", "--out": "out"}
    kept = [part for name, value in plain.items() if name not in more for part in (name, value)]
    return ["data", "build", "desi-legacy", *kept, *more]


def assert_one_clear_line(outcome, expected: str) -> None:
    # A cut-out that is left out is told of beforehand.
    lines = [line for line in outcome.err.strip().splitlines() if not line.startswith("left out: ")]
    assert outcome.code == 2, outcome.err
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("astroclip-bench: ")
    assert expected in lines[0]
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


def made(out: Path) -> list[str]:
    """Return what is in the output folder besides what serves to resume."""
    found = out.rglob("*") if out.is_dir() else []
    return [str(path) for path in found if BUILD_FOLDER not in path.parts]


@pytest.mark.parametrize("name", FAULTY_FILES)
def test_faulty_file(run, survey, whole_survey, name):
    prepare, expected = FAULTY_FILES[name]
    arguments = command(survey, prepare(survey))
    assert_one_clear_line(run(*arguments), expected)
    assert made(Path("out")) == []
    shutil.copytree(whole_survey, survey, dirs_exist_ok=True)
    if (survey / "votes.csv").exists():
        shutil.copy(survey / "gz_decals_volunteers_5.csv", survey / "votes.csv")
    outcome = run(*arguments)
    assert outcome.code == 0, outcome.err
    assert sum(read_manifest(Path("out")).counts.values()) == N_PAIRS


@pytest.mark.parametrize("name", FAULTY_OPTIONS)
def test_faulty_option(run, survey, name):
    prepare, expected = FAULTY_OPTIONS[name]
    arguments = command(survey, prepare(survey))
    before = sorted(survey.rglob("*"))
    assert_one_clear_line(run(*arguments), expected)
    assert made(Path("out")) == []
    assert sorted(survey.rglob("*")) == before
    outcome = run(*command(survey, []))
    assert outcome.code == 0, outcome.err


def test_there_are_at_least_25_cases():
    assert len(FAULTY_FILES) + len(FAULTY_OPTIONS) >= 25


# --- interruptions, and files that change meanwhile

STAGES = ["indexing DESI coadds", "indexing Stein et al. images", "matching", "writing"]


def interrupted_at(monkeypatch: pytest.MonkeyPatch, stage: str, error: BaseException) -> None:
    """Raise an error when a stage of the build has begun, once."""
    from dataset_builders.pairs import build

    steps = {
        "matching": (build, "_write_plan"),
        "writing": (build, "build_dataset"),
        "indexing DESI coadds": (index._IndexFile, "__call__"),
        "indexing Stein et al. images": (index._IndexFile, "__call__"),
    }
    place, name = steps[stage]
    plain = getattr(place, name)

    def interrupted(*arguments, **options):
        if name != "__call__" or stage.endswith(arguments[0].reader.name):
            raise error
        return plain(*arguments, **options)

    monkeypatch.setattr(place, name, interrupted)


@pytest.mark.parametrize("stage", STAGES)
def test_interrupted_with_ctrl_c_it_goes_on(run, survey, monkeypatch, caplog, stage):
    with monkeypatch.context() as patch:
        interrupted_at(patch, stage, KeyboardInterrupt())
        outcome = run(*command(survey, []))
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.err == "astroclip-bench: interrupted; run the same command again to go on\n"
    assert made(Path("out")) == []
    outcome = run(*command(survey, []))
    assert outcome.code == 0
    assert "anew" not in caplog.text
    assert sum(read_manifest(Path("out")).counts.values()) == N_PAIRS


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk(run, survey, monkeypatch, stage):
    with monkeypatch.context() as patch:
        full = StorageError("out/x: No space left on device", todo="free some space")
        interrupted_at(patch, stage, full)
        assert_one_clear_line(run(*command(survey, [])), "No space left on device; free some space")
    assert made(Path("out")) == []
    assert run(*command(survey, [])).code == 0


def test_a_full_disk_in_the_middle_of_an_index_file(run, survey, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(index.pq, "write_table", full)
        assert_one_clear_line(run(*command(survey, [])), "No space left on device; free some space")
    assert list(Path("out").rglob("*.tmp")) == []
    assert run(*command(survey, [])).code == 0


def interrupted_while_writing(run, survey, monkeypatch) -> None:
    """Leave a build of which one shard of several is finished."""
    from dataset_builders.pairs import build
    from dataset_builders.shards import ShardWriter

    plain, plain_write = ShardWriter.__call__, build._write_plan

    def second_interrupted(writer, shard, tick):
        if shard:
            raise KeyboardInterrupt
        return plain(writer, shard, tick)

    monkeypatch.setattr(build, "_write_plan", lambda plan, work, _: plain_write(plan, work, 4))
    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "__call__", second_interrupted)
        assert run(*command(survey, [])).code == 130
    assert len(made(Path("out"))) > 1
    assert not (Path("out") / "manifest.json").exists()


def test_a_file_mended_after_an_interruption_is_read_again(run, survey, monkeypatch, caplog):
    with fits.open(redrock(survey), mode="update") as hdus:
        right = hdus["REDSHIFTS"].data["Z"].copy()
        hdus["REDSHIFTS"].data["Z"][:] = 0.05
    interrupted_while_writing(run, survey, monkeypatch)
    with fits.open(redrock(survey), mode="update") as hdus:
        hdus["REDSHIFTS"].data["Z"][:] = right
    outcome = run(*command(survey, []))
    assert outcome.code == 0
    assert "input files or options changed since the interruption" in caplog.text
    mended = read_manifest(Path("out"))
    assert run(*command(survey, ["--out", "fresh"])).code == 0
    assert mended.digest == read_manifest(Path("fresh")).digest
    assert sorted(path.name for path in Path("out").rglob("*")) == sorted(
        path.name for path in Path("fresh").rglob("*")
    )


def test_other_options_do_not_take_over_what_is_half_written(run, survey, monkeypatch):
    interrupted_while_writing(run, survey, monkeypatch)
    before = sorted(Path("out").rglob("*"))
    assert_one_clear_line(run(*command(survey, ["--cuts", "none"])), "an unfinished build with other options; run")
    assert sorted(Path("out").rglob("*")) == before
    assert run(*command(survey, [])).code == 0


def test_a_file_deleted_while_the_build_runs(run, survey, monkeypatch):
    from dataset_builders.pairs import build

    plain = build._write_plan

    def planned(*arguments):
        plain(*arguments)
        coadd(survey).rename("away.fits")

    place = coadd(survey)
    with monkeypatch.context() as patch:
        patch.setattr(build, "_write_plan", planned)
        assert_one_clear_line(run(*command(survey, [])), f"{place}: No such file or directory; check the path")
    Path("away.fits").rename(place)
    assert run(*command(survey, [])).code == 0


def test_two_builds_in_one_folder(run, survey, monkeypatch):
    from dataset_builders.pairs import build

    second = []
    plain = build.build_dataset

    def meanwhile(*arguments, **options):
        second.append(run(*command(survey, [])))
        second.append(run(*command(survey, ["--cuts", "none"])))
        return plain(*arguments, **options)

    monkeypatch.setattr(build, "build_dataset", meanwhile)
    assert run(*command(survey, [])).code == 0
    for outcome in second:
        assert_one_clear_line(outcome, "another process is building here; wait for it to end")


def test_a_finished_data_set_is_not_made_again_nor_overwritten(run, survey):
    assert run(*command(survey, [])).code == 0
    digest = read_manifest(Path("out")).digest
    assert run(*command(survey, [])).code == 0
    refused = run(*command(survey, ["--no-preview"]))
    assert_one_clear_line(refused, "made from other files or with other options; choose another --out")
    assert read_manifest(Path("out")).digest == digest


# --- what a user of another kind of files gets


def test_spectra_of_the_multimodal_universe_keep_good_redshifts_alone(run, survey):
    build = ["--spectra", survey / "mmu_desi", "--out"]
    assert run(*command(survey, [*build, "good", "--cuts", "good-redshift"])).code == 0
    assert run(*command(survey, [*build, "all", "--cuts", "none"])).code == 0
    steps = {name: read_manifest(Path(name)).build["steps"][0] for name in ("good", "all")}
    assert steps["good"]["dropped"]["ZWARN not 0"] == steps["all"]["kept"] - steps["good"]["kept"] > 0


def test_labels_that_belong_to_no_pair_are_told_of(run, survey):
    with h5py.File(survey / "provabgs.hdf5", "a") as file:
        table = file["__astropy_table__"][:]
        table["TARGETID"] += 1000
        file["__astropy_table__"][:] = table
    outcome = run(*command(survey, ["--labels", survey / "provabgs.hdf5"]))
    assert outcome.code == 0
    assert "PROVABGS: none of its labels belongs to a pair" in outcome.err


def test_the_configuration_of_labels_of_another_fit_is_not_called_provabgs(run, survey):
    from astropy.table import Table

    with fits.open(coadd(survey)) as hdus:
        fibres = hdus["FIBERMAP"].data
        table = Table({"TARGETID": fibres["TARGETID"], "RA": fibres["TARGET_RA"], "DEC": fibres["TARGET_DEC"]})
    with fits.open(redrock(survey)) as hdus:
        table["Z"] = hdus["REDSHIFTS"].data["Z"]
    table["SURVEY"], table["PROGRAM"], table["LOGMSTAR"], table["SFR"] = "sv3", "bright", 10.0, 1.0
    hdus = [fits.BinTableHDU(table, name=name) for name in ("METADATA", "FASTSPEC")]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(survey / "fastspec-iron.fits")
    assert run(*command(survey, ["--labels", survey / "fastspec-iron.fits"])).code == 0
    assert {entry.config for entry in read_manifest(Path("out")).files} == {"pairs", "labels"}
    told = run("data", "info", "out").out
    assert "labels of FastSpecFit" in told
    assert "a number each [nmgy]" in told
