"""`astroclip-bench data`: fetch, build, describe, check and publish data sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from astroclip_bench.cli.download import download_command
from astroclip_bench.plugins import load_plugin, plugin_names

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Fetch, build, check and publish data sets.")

DataArgument = Annotated[
    str,
    typer.Argument(metavar="DATA", help="Name, folder, or Hub id of a data set, e.g. mock-mini.", show_default=False),
]
RevisionOption = Annotated[str | None, typer.Option(help="Revision of a data set on the Hub.")]


class PluginGroup(TyperGroup):
    """One sub-command for each entry point of a group, imported only when it is run or its help is asked for."""

    group: ClassVar[str]
    """Name of the group, without the package's prefix."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the group's entry points."""
        return plugin_names(self.group)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command made from a function and its annotations."""
        if cmd_name not in plugin_names(self.group):
            return None
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(self.command_of(load_plugin(self.group, cmd_name)))
        return typer.main.get_command(single)

    def command_of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function that runs the command; here, what the entry point names."""
        return function


class BuilderGroup(PluginGroup):
    """The builders of data sets."""

    group = "builders"


class DownloadGroup(PluginGroup):
    """The lists of upstream files, each with the options that all downloads have."""

    group = "downloads"

    def command_of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the command that fetches what the function lists."""
        return download_command(function)


def _group(kind: type[PluginGroup], help_text: str) -> typer.Typer:
    group = typer.Typer(cls=kind, no_args_is_help=True, rich_markup_mode=None, help=help_text)

    @group.callback()
    def _nothing() -> None:
        pass

    return group


build = _group(
    BuilderGroup,
    "Build a data set folder from survey files or a simulation.\n\n"
    "\b\n"
    "Examples:\n"
    "  astroclip-bench data build mock --size 4000 --out mock --workers 2\n"
    "  astroclip-bench data build sdss-photometry --catalogue FILE.fits --out sdss",
)
download = _group(
    DownloadGroup,
    "Fetch the surveys' own files over HTTP: resumed where it broke off, checked, measured before it starts.\n\n"
    "\b\n"
    "Examples:\n"
    "  astroclip-bench data download desi-coadds --release edr --healpix 26065 --out edr --dry-run\n"
    "  astroclip-bench data download provabgs --out provabgs --yes",
)
app.add_typer(build, name="build")
app.add_typer(download, name="download")


@app.command("info")
def info_command(dataset: DataArgument, revision: RevisionOption = None) -> None:
    """Describe a data set.

    \b
    Examples:
      astroclip-bench data info mock-mini
      astroclip-bench data info ./sdss
    """
    from tabulate import tabulate

    from astroclip_bench.cli.common import open_with_progress
    from astroclip_bench.records import columns_of_role

    opened = open_with_progress(dataset, revision)
    info = opened.info
    kind = "simulated" if info.simulated else "real"
    typer.echo(f"{info.name} {info.version} ({kind}): {info.title}\n{info.description}\n")
    rows = [("folder", opened.folder), ("digest", opened.digest), ("license", info.license), ("cite", info.citation)]
    rows += [(f"split {name}", f"{view.rows:,} galaxies") for name, view in opened.splits.items()]
    for modality in opened.modalities.values():
        rows.append((f"modality {modality.name}", f"{', '.join(modality.columns)} {modality.shape} [{modality.unit}]"))
    rows.append(("labels", ", ".join(columns_of_role(opened.schema, "label"))))
    typer.echo(tabulate(rows, tablefmt="plain"))


@app.command("check")
def check_command(dataset: DataArgument, revision: RevisionOption = None) -> None:
    """Read a data set whole and check it.

    Digests of every value, schema, ids, splits, finiteness.

    \b
    Examples:
      astroclip-bench data check ./mock
    """
    from astroclip_bench.cli.common import open_with_progress
    from astroclip_bench.datasets import check_dataset
    from astroclip_bench.progress import progress_bar

    opened = open_with_progress(dataset, revision)
    with progress_bar("checking") as report:
        check_dataset(opened.folder, progress=report)
    total = sum(view.rows for view in opened.splits.values())
    typer.echo(
        f"{opened.info.name} {opened.info.version}: {total:,} galaxies, all checks passed, digest {opened.digest}"
    )
