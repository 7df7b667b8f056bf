"""Sub-commands that installed packages add through entry points."""

from __future__ import annotations

import sys

import pytest

SOURCE = '''
import typer


def greet(name: str, loud: bool = False) -> None:
    """Greet somebody.

    Example: astroclip-bench greet Vera
    """
    typer.echo(name.upper() if loud else name)
'''


@pytest.fixture
def greet(tmp_path, monkeypatch):
    """Install a package with the commands `greet`, `broken` and (already taken) `tasks`."""
    info = tmp_path / "greeter-1.dist-info"
    info.mkdir()
    (tmp_path / "greeter.py").write_text(SOURCE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeter\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[astroclip_bench.commands]\ngreet = greeter:greet\nbroken = greeter:missing\ntasks = greeter:greet\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "greeter", raising=False)


def test_it_runs_with_its_own_options(run, greet):
    assert run("greet", "Vera", "--loud").out == "VERA\n"
    assert "Greet somebody." in run("greet", "--help").out
    assert run("greet").code == 2


def test_it_is_listed_without_being_imported(run, greet):
    listed = run("--help")
    assert listed.code == 0
    assert "astroclip-bench greet --help" in listed.out
    assert "greeter" not in sys.modules


def test_a_package_cannot_take_a_name_that_is_taken(run, greet):
    assert "redshift" in run("tasks").out
    assert "astroclip-bench tasks --help" not in run("--help").out


def test_one_that_cannot_be_imported_is_named(run, greet):
    outcome = run("broken")
    assert outcome.code == 2
    assert "'broken' (greeter:missing) cannot be imported" in outcome.err
