"""`astroclip-bench data`: build, describe and check data sets."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from astroclip_bench.plugins import load_plugin, plugin_names

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Build, describe and check data sets.")

DataArgument = Annotated[
    str,
    typer.Argument(metavar="DATA", help="Name, folder, or Hub id of a data set, e.g. mock-mini.", show_default=False),
]
RevisionOption = Annotated[str | None, typer.Option(help="Revision of a data set on the Hub.")]


class BuilderGroup(TyperGroup):
    """One sub-command for each entry point of the group `astroclip_bench.builders`, imported only when it is run."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the builders' names."""
        return plugin_names("builders")

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command made from a builder's function and its annotations."""
        if cmd_name not in plugin_names("builders"):
            return None
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(load_plugin("builders", cmd_name))
        return typer.main.get_command(single)


build = typer.Typer(
    cls=BuilderGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Build a data set folder from survey files or a simulation.\n\n"
    "\b\n"
    "Examples:\n"
    "  astroclip-bench data build mock --size 4000 --out mock --workers 2\n"
    "  astroclip-bench data build sdss-photometry --catalogue FILE.fits --out sdss",
)


@build.callback()
def _build() -> None:
    pass


app.add_typer(build, name="build")


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
