"""The package as users import it, and as a wheel outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import astroclip_bench

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", astroclip_bench.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(astroclip_bench, name).__module__.startswith("astroclip_bench.")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        astroclip_bench.evalute  # noqa: B018


@pytest.mark.parametrize("statement", ["import astroclip_bench", "import astroclip_bench.cli.main"])
def test_importing_the_package_or_the_command_imports_nothing_heavy(statement):
    heavy = "numpy", "pyarrow", "torch", "timm", "datasets", "sklearn", "pandas", "astropy", "scipy", "rich"
    code = f"import sys; {statement}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the wheel built from the checkout."""
    build = pytest.importorskip("build", reason="the package 'build' is part of the extra [dev]")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", build.__name__, "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_all_rooms_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    rooms = {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert rooms == {"astroclip_bench", "dataset_builders", "baselines", "leaderboard"}
    for needed in (
        "astroclip_bench/py.typed",
        "astroclip_bench/results/schemas/result-v1.json",
        "baselines/astroclip/mini/model.pt",
        "dataset_builders/mock_survey/noise.npz",
    ):
        assert needed in names


def test_the_command_works_from_the_wheel_outside_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import astroclip_bench, sys; print(astroclip_bench.__file__); from astroclip_bench.cli.main import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-P", "-c", code, "check-model"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site"))
    assert "astroclip-mini" in done.stdout
