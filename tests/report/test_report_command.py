"""`report` on the command line, and its page in a browser."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from astroclip_bench.cli.main import app


def run(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_the_page_stands_beside_the_result(work):
    (work / "r-robustness.json").unlink()  # fewer figures
    (work / "r.parquet").unlink()
    done = run(work / "r.json")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == str(work / "r-report" / "report.html")
    assert (work / "r-report/report.html").is_file()


def test_a_missing_result_is_the_users_error(tmp_path):
    done = run(tmp_path / "none.json")
    assert done.exit_code == 2
    assert "none.json" in done.stderr


def test_help_has_examples_on_one_screen():
    done = run("--help")
    assert done.exit_code == 0
    assert "astroclip-bench report mine.json" in done.stdout
    assert len(done.stdout.splitlines()) <= 60


def open_in_chromium(page, profile):
    """Return the page's elements as the browser sees them, and what it wrote to the console."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "the browser tests need Chromium: install it, or leave out -m browser"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={profile}"]
    done = subprocess.run([browser, *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.browser
def test_a_browser_opens_the_page_without_a_word(work, tmp_path):
    assert run(work / "r.json", "--sweep", work / "sweep").exit_code == 0
    dom, console = open_in_chromium(work / "r-report/report.html", tmp_path / "profile")
    assert console == []
    assert dom.count("<h2") == 9


@pytest.mark.browser
def test_a_browser_would_tell_of_an_outside_request(work, tmp_path):
    assert run(work / "r.json").exit_code == 0
    path = work / "r-report/report.html"
    path.write_text(path.read_text().replace("</main>", '<img src="https://example.org/x.png"></main>'))
    _, console = open_in_chromium(path, tmp_path / "profile")
    assert any("Content Security Policy" in line for line in console)
