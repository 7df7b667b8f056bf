"""Every bad input gives one clear line, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from astroclip_bench.cli.main import main  # noqa: F401 - imported before the tests change the folder

Case = Callable[[Path, Path], list[object]]
"""Given a scratch folder and a copy of the data set, prepare the fault and return the command's arguments."""

CASES: dict[str, tuple[Case, str]] = {}


def case(expected: str) -> Callable[[Case], Case]:
    def register(prepare: Case) -> Case:
        CASES[prepare.__name__] = (prepare, expected)
        return prepare

    return register


def evaluate(model: object, data: object, *more: object) -> list[object]:
    return ["evaluate", model, "--data", data, "--out", "result.json", *more]


def first_file(data: Path, split: str = "train") -> Path:
    return sorted((data / "data").glob(f"{split}-*.parquet"))[0]


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def stored(folder: Path, data: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    """Write embeddings of every object of the data set, spoiled by `change`, and return the file."""
    ids = [
        i for file in sorted((data / "data").glob("*.parquet")) for i in pq.read_table(file)["object_id"].to_pylist()
    ]
    arrays = {"object_id": np.array(ids), "image": np.random.default_rng(0).normal(size=(len(ids), 8)).astype("f4")}
    change(arrays)
    np.savez(folder / "embeddings.npz", **arrays)
    return folder / "embeddings.npz"


# --- the data set


@case("no data set or folder")
def unknown_data_set(folder, data):
    return evaluate("photometry", "mock-mimi")


@case("nowhere/at/all")
def missing_data_folder(folder, data):
    return evaluate("photometry", "nowhere/at/all")


@case("manifest")
def folder_without_manifest(folder, data):
    (data / "manifest.json").unlink()
    return evaluate("photometry", data)


@case("manifest")
def manifest_that_is_not_json(folder, data):
    (data / "manifest.json").write_text("{")
    return evaluate("photometry", data)


@case(".parquet")
def truncated_parquet(folder, data):
    path = first_file(data)
    path.write_bytes(path.read_bytes()[:-2000])
    return evaluate("photometry", data)


@case(".parquet")
def flipped_byte(folder, data):
    path = first_file(data)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 1
    path.write_bytes(raw)
    return evaluate("photometry", data)


@case(".parquet")
def missing_shard(folder, data):
    first_file(data).unlink()
    return evaluate("photometry", data)


@case(".parquet")
def missing_column(folder, data):
    rewrite(first_file(data), lambda table: table.drop_columns(["redshift"]))
    return evaluate("photometry", data)


@case(".parquet")
def wrong_type(folder, data):
    rewrite(first_file(data), lambda table: table.set_column(8, "redshift", pa.array(["0.1"] * table.num_rows)))
    return evaluate("photometry", data)


@case(".parquet")
def rows_lost(folder, data):
    rewrite(first_file(data), lambda table: table.slice(1))
    return evaluate("photometry", data)


@case("revision")
def revision_of_a_folder(folder, data):
    return evaluate("photometry", data, "--revision", "main")


@case("cannot be reached")
def hub_without_network(folder, data):
    return evaluate("photometry", "someone/galaxies")


# --- the model


@case("model.pt")
def missing_model(folder, data):
    return evaluate("model.pt", data)


@case("did you mean")
def misspelt_model(folder, data):
    return evaluate("photometri", data)


@case("model.pt")
def empty_model(folder, data):
    (folder / "model.pt").touch()
    return evaluate("model.pt", data)


@case("posix.system")
def pickle_with_code(folder, data):
    # Protocol 0 pickle that would run a command, were it loaded.
    (folder / "model.pt").write_bytes(b"cposix\nsystem\n(S'touch executed'\ntR.")
    return evaluate("model.pt", data)


@case("model.pt")
def bare_state_dict(folder, data):
    import torch

    torch.save({"weight": torch.zeros(3)}, folder / "model.pt")
    return evaluate("model.pt", data)


@case("resnet-of-mine")
def unknown_architecture(folder, data):
    from astroclip_bench.embedders import save_model

    save_model(folder / "model.pt", "resnet-of-mine", 1, {}, {})
    return evaluate("model.pt", data)


@case("no_such_package")
def factory_that_cannot_be_imported(folder, data):
    return evaluate("no_such_package:load", data)


@case("json:dumps")
def factory_that_gives_no_embedder(folder, data):
    return evaluate("json:dumps", data)


@case("model.onnx")
def broken_onnx(folder, data):
    (folder / "model.onnx").write_bytes(b"not a graph")
    return evaluate("model.onnx", data)


@case("modality in common")
def no_modality_in_common(folder, data):
    def spoil(arrays):
        arrays["spectrum"] = arrays.pop("image")

    return evaluate(stored(folder, data, spoil), data)


# --- stored embeddings


@case("NaN")
def nan_embeddings(folder, data):
    def spoil(arrays):
        arrays["image"][3, 2] = np.nan

    return evaluate(stored(folder, data, spoil), data)


@case("more than once")
def duplicate_ids(folder, data):
    def spoil(arrays):
        arrays["object_id"][1] = arrays["object_id"][0]

    return evaluate(stored(folder, data, spoil), data)


@case("1")
def unknown_ids(folder, data):
    def spoil(arrays):
        arrays["object_id"] = np.array([f"x{i}" for i in arrays["object_id"]])

    return evaluate(stored(folder, data, spoil), data)


@case("(")
def wrong_dimension(folder, data):
    def spoil(arrays):
        arrays["image"] = arrays["image"][:, :, None]

    return evaluate(stored(folder, data, spoil), data)


@case("pickle")
def npz_with_pickled_objects(folder, data):
    def spoil(arrays):
        arrays["object_id"] = np.array(list(arrays["object_id"]), object)

    return evaluate(stored(folder, data, spoil), data)


@case("embeddings.parquet")
def truncated_embeddings(folder, data):
    (folder / "embeddings.parquet").write_bytes(b"PAR1garbage")
    return evaluate("embeddings.parquet", data)


# --- options


@case("did you mean redshift")
def unknown_task(folder, data):
    return evaluate("photometry", data, "--tasks", "redshfit")


@case("no task is named")
def no_task(folder, data):
    return evaluate("photometry", data, "--tasks", ",")


@case("it takes 64")
def too_small_a_subsample(folder, data):
    return evaluate("photometry", data, "--limit", "5")


@case("batch-size")
def batch_size_of_zero(folder, data):
    return evaluate("photometry", data, "--batch-size", "0")


@case("quantum")
def unknown_device(folder, data):
    return evaluate("photometry", data, "--device", "quantum")


@case("folder")
def output_is_a_folder(folder, data):
    (folder / "result.json").mkdir()
    return evaluate("photometry", data)


@case("result.json")
def earlier_result_is_damaged(folder, data):
    (folder / "result.json").write_text('{"result_version": 1}')
    return evaluate("photometry", data)


@case("result.json")
def nothing_to_resume(folder, data):
    return evaluate("photometry", data, "--resume", "always")


@case("size")
def mock_of_no_galaxies(folder, data):
    return ["data", "build", "mock", "--size", "none", "--out", folder / "new"]


@case("missing.fits")
def missing_catalogue(folder, data):
    return ["data", "build", "sdss-photometry", "--catalogue", folder / "missing.fits", "--out", folder / "new"]


@case("catalogue.fits")
def catalogue_that_is_no_fits(folder, data):
    (folder / "catalogue.fits").write_text("ra,dec\n")
    return ["data", "build", "sdss-photometry", "--catalogue", folder / "catalogue.fits", "--out", folder / "new"]


@case("not empty")
def build_into_a_foreign_folder(folder, data):
    (folder / "new").mkdir()
    (folder / "new" / "notes.txt").write_text("mine")
    return ["data", "build", "mock", "--size", "10", "--out", folder / "new"]


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_one_clear_line(outcome, expected: str) -> None:
    lines = outcome.err.strip().splitlines()
    assert outcome.code == 2, outcome.err
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("astroclip-bench: ")
    assert expected in lines[0]
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("name", CASES)
def test_bad_input(run, scratch, tiny, tmp_path, name):
    prepare, expected = CASES[name]
    data = Path(shutil.copytree(tiny, tmp_path / "data-set"))
    arguments = prepare(scratch, data)
    before = listing(scratch)
    outcome = run(*arguments)
    assert_one_clear_line(outcome, expected)
    assert listing(scratch) == before


def test_there_are_at_least_25_cases():
    assert len(CASES) >= 25


def test_a_full_disk_is_one_line_and_leaves_nothing(run, scratch, tiny, monkeypatch):
    import astroclip_bench.files

    def full(self, *arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(astroclip_bench.files.Path, "write_text", full)
    outcome = run(*evaluate("photometry", tiny))
    assert_one_clear_line(outcome, "No space left on device")
    assert listing(scratch) == []


def test_an_unwritable_output_folder_is_found_before_the_work(run, scratch, tiny, monkeypatch):
    from astroclip_bench import evaluation as module

    monkeypatch.setattr(module, "evaluate", lambda *a, **k: pytest.fail("the work was started"))
    (scratch / "file").write_text("")
    outcome = run("evaluate", "photometry", "--data", tiny, "--out", "file/result.json")
    assert_one_clear_line(outcome, "file")


def test_an_interrupted_run_says_so_and_leaves_nothing(run, scratch, tiny, monkeypatch):
    from astroclip_bench.embedders.builtin import Photometry

    def interrupted(self, batch, modality):
        raise KeyboardInterrupt

    monkeypatch.setattr(Photometry, "embed", interrupted)
    outcome = run(*evaluate("photometry", tiny))
    assert outcome.code == 130
    assert "again" in outcome.err
    assert "Traceback" not in outcome.err
    assert listing(scratch) == []


def test_our_own_fault_is_exit_code_1_and_debug_shows_where(run, scratch, tiny, monkeypatch):
    from astroclip_bench import evaluation as module

    def broken(*arguments, **options):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(module, "evaluate", broken)
    quiet, loud = run(*evaluate("photometry", tiny)), run(*evaluate("photometry", tiny), "--debug")
    assert quiet.code == loud.code == 1
    assert "Traceback" not in quiet.err
    assert "ZeroDivisionError" in quiet.err
    assert "Traceback" in loud.err


def test_no_code_of_a_refused_pickle_runs(run, scratch, tiny):
    run(*pickle_with_code(scratch, tiny))
    assert not (scratch / "executed").exists()
    assert not Path("executed").exists()
