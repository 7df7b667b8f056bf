"""The board in Chromium: sort, filter, deep links, pages of models, the keyboard, and how long it takes. Run with -m browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape

import pytest
from board_rows import make_row, supervised

from leaderboard.board import make_tables
from leaderboard.pages import published_table, write_site

pytestmark = pytest.mark.browser

PROBE = """
<pre id="found"></pre>
<script>
const names = () => [...document.querySelectorAll("#table tbody tr")].map((row) => row.querySelector("th a").textContent);
const sorted = () => { const th = document.querySelector("#table th[aria-sort]"); return [th.textContent, th.getAttribute("aria-sort")]; };
const found = {};
const note = (key, value) => { found[key] = value; };
window.addEventListener("load", async () => {
  %s
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>
"""


def visit(site, script, tmp_path, address="", page="index.html"):
    """Return what a script found on a page, and what the browser wrote to the console."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "the browser tests need Chromium: install it, or leave out -m browser"
    probe = (site / page).with_name("probe.html")
    probe.write_text((site / page).read_text().replace("</body>", PROBE % script + "</body>"))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path}/p",
    ]
    command = [browser, *options, "--virtual-time-budget=5000", "--dump-dom", probe.as_uri() + address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert text, done.stdout[-2000:]
    return json.loads(unescape(text[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def build(rows, folder):
    write_site(rows, make_tables(rows), folder, published_table(), "the board", "0")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    rows = [
        *supervised(),
        make_row("best", 0.8),
        make_row("middle", 0.6, seed=1, flags=["12% of the test objects lie where the model was trained"]),
        make_row("worst", 0.2, seed=2, title="Worst <b>|</b>"),
        make_row("images-alone", 0.9, ["image"], seed=3),
    ]
    return build(rows, tmp_path_factory.mktemp("board") / "site")


def test_opens_by_rank_with_the_unranked_last(site, tmp_path):
    found, console = visit(site, 'note("names", names()); note("sorted", sorted());', tmp_path)
    assert found == {"names": ["best", "middle", "Worst <b>|</b>", "images-alone"], "sorted": ["Rank", "ascending"]}
    assert console == []


def test_sorts_by_a_column_both_ways_and_keeps_the_focus_there(site, tmp_path):
    script = """
      const click = () => [...document.querySelectorAll("#table thead button")].find((b) => b.textContent === "Skill image").click();
      click(); note("best", [names()[0], ...sorted()]);
      click(); note("worst", [names()[0], ...sorted()]);
      note("focus", document.activeElement.textContent);
    """
    found, console = visit(site, script, tmp_path)
    assert found["best"] == ["images-alone", "Skill image", "descending"]
    assert found["worst"] == ["Worst <b>|</b>", "Skill image", "ascending"]
    assert found["focus"] == "Skill image"
    assert console == []


def test_filters_by_words_flags_and_ranks(site, tmp_path):
    script = """
      const set = (id, value) => { const e = document.getElementById(id); if (e.type === "checkbox") e.checked = value; else e.value = value; e.dispatchEvent(new Event(e.type === "checkbox" ? "change" : "input")); };
      set("q", "MIT mid"); note("words", names()); set("q", "");
      set("flagged", false); note("unflagged", names());
      set("ranked", true); note("ranked", names());
      note("address", location.hash);
    """
    found, console = visit(site, script, tmp_path)
    assert found["words"] == ["middle"]
    assert found["unflagged"] == ["best", "Worst <b>|</b>", "images-alone"]
    assert found["ranked"] == ["best", "Worst <b>|</b>"]
    assert "flagged=no" in found["address"]
    assert console == []


def test_an_address_leads_to_a_view(site, tmp_path):
    script = 'note("names", names()); note("sorted", sorted()); note("caption", document.querySelector("caption").textContent); note("track", document.getElementById("track").value);'
    found, console = visit(site, script, tmp_path, "#track=image&sort=redshift.r2&order=descending")
    assert found["names"][0] == "images-alone"
    assert found["sorted"] == ["Redshift R²", "descending"]
    assert found["track"] == "image"
    assert "made-up 1 (SIMULATED)" in found["caption"]
    assert console == []


@pytest.mark.parametrize("show", ["groups", "plots"])
def test_the_other_views_draw(site, tmp_path, show):
    script = 'note("cells", document.querySelectorAll("#table td").length); note("dots", document.querySelectorAll("#plots circle").length);'
    found, console = visit(site, script, tmp_path, f"#track=image&show={show}")
    assert (found["dots"] > 0) == (show == "plots")
    assert found["cells"] > 0
    assert console == []


def test_a_models_page_opens(site, tmp_path):
    script = 'note("title", document.querySelector("h1").textContent); note("drawn", document.querySelectorAll("svg .dot").length); note("back", document.querySelector("header a").getAttribute("href"));'
    found, console = visit(site, script, tmp_path, page="models/worst.html")
    assert found["title"] == "Worst <b>|</b>"
    assert found["drawn"] > 10
    assert found["back"] == "../index.html"
    assert console == []


@pytest.mark.parametrize("look", ["light", "dark"])
def test_text_stands_out(site, tmp_path, look):
    """Contrast of WCAG 2.1 AA: 4.5 to 1."""
    script = """
      document.documentElement.dataset.look = "LOOK";
      const channel = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
      const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number); return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
      const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!c.endsWith(", 0)") && c !== "transparent") return c; } return "rgb(255, 255, 255)"; };
      const worst = {};
      for (const e of document.querySelectorAll("h1, p, a, td, th, th button, caption, label, select, button, .flag, .range, .soft, .warn, dt, dd")) {
        if (!e.textContent.trim() || !e.offsetParent) continue;
        const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        const key = e.tagName + "." + e.className;
        worst[key] = Math.min(worst[key] ?? 99, ratio);
      }
      note("worst", worst);
    """.replace("LOOK", look)
    found, _ = visit(site, script, tmp_path)
    assert len(found["worst"]) > 8
    assert {key: ratio for key, ratio in found["worst"].items() if ratio < 4.5} == {}


def test_a_thousand_rows_can_be_used_within_a_second(tmp_path):
    rows = [*supervised(), *(make_row(f"model-{i}", 0.9 - i / 1000, seed=i) for i in range(1000))]
    big = build(rows, tmp_path / "site")
    script = """
      const entry = performance.getEntriesByType("navigation")[0];
      note("ready", entry.domContentLoadedEventEnd);
      const start = performance.now();
      [...document.querySelectorAll("#table thead button")].at(-1).click();
      document.body.offsetHeight;
      note("sort", performance.now() - start);
      note("said", document.getElementById("status").textContent);
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser
    probe = big / "probe.html"
    probe.write_text((big / "index.html").read_text().replace("</body>", PROBE % script + "</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/p", "--timeout=20000"]
    done = subprocess.run(
        [browser, *options, "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=120
    )
    text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert text
    found = json.loads(unescape(text[1]))
    assert found["said"] == "1000 rows shown"
    assert found["ready"] < 1000, found
    assert found["sort"] < 1000, found
    wait = "await new Promise((resolve) => setTimeout(resolve, 1000));"
    assert visit(big, f'{wait} note("rows", names().length);', tmp_path) == ({"rows": 1000}, [])
