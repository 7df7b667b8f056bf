"""`astroclip-bench leaderboard build` and `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leaderboard.submission import DEFAULT_FOLDER

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset

OUT = DEFAULT_FOLDER.parent
DataOption = Annotated[
    list[str], typer.Option(help="Name, folder, or Hub id of a data set; may be given several times.")
]


def build_command(
    folder: Annotated[Path, typer.Argument(help="Folder of submissions.")] = DEFAULT_FOLDER,
    data: DataOption = ["mock-mini"],  # noqa: B006 - typer reads it and changes nothing
    out: Annotated[Path, typer.Option(help="Folder of README.md, board.parquet, rows/ and site/.")] = OUT,
    workers: Annotated[int, typer.Option(help="Processes to verify in, about 1 GB each.")] = 1,
) -> None:
    """Make the board of all submissions: Markdown, Parquet, and a static site.

    What has no verified row of its present state is verified first. Then writes README.md, board.parquet (a long table,
    for the Hub), rows/ (what is kept of each submission) and site/ (open index.html, or upload it as a static Space).

    \b
    Examples:
      astroclip-bench leaderboard build
      astroclip-bench leaderboard build submissions --data mock-mini --data ./desi_legacy --out board
      astroclip-bench leaderboard build --workers 4
    """  # noqa: D301 - typer reads the backslash
    from astroclip_bench.cli.common import open_with_progress, say
    from leaderboard.build import ROWS, SITE, build_board, collect_rows
    from leaderboard.verify import open_for_many

    def opened() -> list[BenchDataset]:
        return [open_for_many(open_with_progress(name)) for name in data]

    rows = collect_rows(folder, out / ROWS, opened, say, workers)
    build_board(rows, out)
    passed = sum(row.verdict["passed"] for row in rows)
    typer.echo(f"{passed} submissions on the board, {len(rows) - passed} refused: {out / SITE / 'index.html'}")


def serve_command(
    site: Annotated[Path, typer.Argument(help="Folder that `leaderboard build` wrote.")] = OUT / "site",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000,
    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = True,
) -> None:
    """Show the site on this machine, until Ctrl-C.

    \b
    Examples:
      astroclip-bench leaderboard serve
      astroclip-bench leaderboard serve board/site --port 8080 --no-browser
    """  # noqa: D301 - typer reads the backslash
    import webbrowser
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    from astroclip_bench.cli.common import say
    from astroclip_bench.errors import StorageError

    if not (site / "index.html").is_file():
        raise StorageError(f"{site}: no index.html there", "a built site", "run astroclip-bench leaderboard build")
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=str(site)))
    except OSError as error:
        raise StorageError(f"port {port}: {error.strerror}", "a free port", "choose another with --port") from error
    with server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        say(f"serving {site} at {address}; Ctrl-C ends it")
        if browser:
            webbrowser.open(address)
        server.serve_forever()
