"""`astroclip-bench data download`: from a source's list of files to the files."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from astroclip_bench.cli.common import say
from astroclip_bench.errors import UserError
from astroclip_bench.fetch import FileList

OutOption = Annotated[Path, typer.Option(help="Folder to fetch into; what is there already is kept and gone on from.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask before starting.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be fetched, and how much, and stop.")]
ConnectionsOption = Annotated[int, typer.Option(min=1, max=16, help="Files fetched at a time.")]


def _common_options(
    *, out: OutOption, yes: YesOption = False, dry_run: DryRunOption = False, connections: ConnectionsOption = 4
) -> None:
    """Declare the options that every source has."""


def download_command(declare: Callable[..., FileList]) -> Callable[..., None]:
    """Return the command of a source: its own options, which give the list of files, and those that all sources have.

    `declare` is what an entry point of `astroclip_bench.downloads` names: a function whose annotations are typer's
    and whose docstring is the help text.
    """

    def command(*, out: Path, yes: bool, dry_run: bool, connections: int, **options: Any) -> None:
        download(declare(**options), out, yes=yes, dry_run=dry_run, connections=connections)

    own, common = (inspect.signature(function, eval_str=True) for function in (declare, _common_options))
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for signature in (own, common)
        for parameter in signature.parameters.values()
    ]
    command.__doc__ = declare.__doc__
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(command)["__signature__"] = inspect.Signature(parameters)
    return command


def download(listed: FileList, out: Path, *, yes: bool, dry_run: bool, connections: int) -> None:
    """Measure, ask, fetch and check; the folder's name goes to standard output, all else to standard error."""
    from astroclip_bench.fetch import check_space, fetch, plan_downloads
    from astroclip_bench.progress import progress_bar
    from astroclip_bench.transfer import Line, open_client

    say(listed.about)
    with open_client(connections) as client:
        line = Line(client, requests_a_second=listed.requests_a_second)
        plan = plan_downloads(listed.files, out, line, connections)
        say(plan.describe())
        if dry_run:
            for planned in plan.missing:
                typer.echo(
                    f"{'?' if planned.bytes is None else planned.bytes}\t{planned.file.path}\t{planned.file.url}"
                )
            return
        check_space(plan)
        if plan.missing and not yes and not _confirmed():
            say("nothing was fetched")
            return
        with progress_bar("fetching", "MB") as report:
            checked = fetch(plan, line, connections, report)
    say(f"{len(plan.missing):,} files fetched, {checked:,} of them compared with their published checksum")
    typer.echo(out)


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UserError("the download was not confirmed, and there is no terminal to ask on", todo="add --yes")
    return typer.confirm("Fetch them?", err=True)
