"""`astroclip-bench data`: fetch, build, describe, check and publish data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from astroclip_bench.cli.download import download_command
from astroclip_bench.fetch import format_bytes
from astroclip_bench.plugins import load_plugin, plugin_names

if TYPE_CHECKING:
    from astroclip_bench.datasets import BenchDataset

ONE_EACH = {"float32": "a number each", "string": "a text each"}

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
    "  astroclip-bench data build sdss-photometry --catalogue FILE.fits --out sdss\n"
    "  astroclip-bench data build desi-legacy --spectra fuji --images images --labels provabgs.hdf5 --out pairs",
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
    """Describe a data set: its splits, columns, configurations, and the rows at each step of its making.

    \b
    Examples:
      astroclip-bench data info mock-mini
      astroclip-bench data info ./sdss
    """
    from tabulate import tabulate

    from astroclip_bench.cli.common import open_with_progress

    opened = open_with_progress(dataset, revision)
    info = opened.info
    kind = "simulated" if info.simulated else "real"
    typer.echo(f"{info.name} {info.version} ({kind}): {info.title}\n{info.description}\n")
    typer.echo(tabulate([*_content_rows(opened), *_build_rows(opened)], tablefmt="plain"))


def _content_rows(opened: BenchDataset) -> list[tuple[str, str]]:
    """Return what the data set holds."""
    from astroclip_bench.records import CONFIG_NAME, columns_of_role

    info, manifest = opened.info, opened.manifest
    rows = [
        ("folder", str(opened.folder)),
        ("digest", opened.digest),
        ("license", info.license),
        ("cite", info.citation),
        ("split rule", info.split_rule),
        *((f"split {name}", f"{view.rows:,} galaxies") for name, view in opened.splits.items()),
    ]
    selections = {name: 0 for name in manifest.configs if name != CONFIG_NAME}
    for entry in manifest.files:
        if entry.config in selections:
            selections[entry.config] += entry.rows
    rows += [(f"configuration {name}", f"{galaxies:,} galaxies") for name, galaxies in selections.items()]
    rows += [
        (
            f"modality {modality.name}",
            f"{', '.join(modality.columns)} {modality.shape or ONE_EACH[modality.dtype]} [{modality.unit}]",
        )
        for modality in opened.modalities.values()
    ]
    return [*rows, ("labels", ", ".join(columns_of_role(opened.schema, "label")))]


def _build_rows(opened: BenchDataset) -> list[tuple[str, str]]:
    """Return how it was made, as far as its manifest says: the rows at each step, the files it was made from."""
    build = opened.manifest.build
    steps = [
        (f"step {step['step']}", _counts_text(step["kept"], step["read"], step["dropped"]))
        for step in build.get("steps", ())
    ]
    lost = build.get("dropped_while_loading")
    if lost:
        kept = sum(opened.manifest.counts.values())
        steps.append(("step loaded", _counts_text(kept, kept + sum(lost.values()), lost)))
    steps += [(name, f"{count:,} pairs") for name, count in build.get("matched", {}).items() if count]
    steps += [(f"labels of {name}", f"{count:,} pairs") for name, count in build.get("joined", {}).items() if count]
    inputs = build.get("inputs", ())
    if inputs:
        steps.append(("made from", f"{len(inputs):,} files, {format_bytes(sum(entry['bytes'] for entry in inputs))}"))
    return steps


def _counts_text(kept: int, read: int, dropped: Mapping[str, int]) -> str:
    reasons = "; ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
    return f"{kept:,} of {read:,} rows" + (f" (left out: {reasons})" if reasons else "")


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
        found = check_dataset(opened.folder, progress=report)
    straddling = (
        f"; {found.straddling_pixels:,} of {found.pixels:,} HEALPix pixels lie in two splits or more, "
        f"as the split rule {opened.info.split_rule} allows"
        if found.straddling_pixels
        else ""
    )
    typer.echo(
        f"{found.name} {found.version}: {found.rows:,} galaxies, all checks passed, digest {found.digest}{straddling}"
    )


@app.command("push")
def push_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Data set folder.", show_default=False)],
    repository: Annotated[
        str, typer.Argument(metavar="ORG/NAME", help="Repository on the Hub; made if there is none.")
    ],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Propose the change as a pull request.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch; made from the main one if there is none.")] = None,
    benchmark: Annotated[
        bool,
        typer.Option("--benchmark", help="Take eval.yaml along; the Hub takes it from registered benchmarks alone."),
    ] = False,
) -> None:
    """Publish a data set folder on the Hub, in one commit.

    The folder is checked first. Another data set, a newer version or another schema is not overwritten; files that an
    earlier version leaves behind are removed. Interrupted, the same command goes on: what the Hub has is not sent
    twice. Log in with hf auth login, or set HF_TOKEN.

    \b
    Examples:
      astroclip-bench data push ./desi_legacy org/desi-legacy --private
      astroclip-bench data push ./desi_legacy org/desi-legacy --create-pr
    """
    from astroclip_bench.cli.common import say
    from astroclip_bench.datasets.push import push_dataset
    from astroclip_bench.progress import progress_bar

    with progress_bar("sending", "MB") as report:
        url = push_dataset(
            folder,
            repository,
            private=private,
            create_pr=create_pr,
            revision=revision,
            benchmark=benchmark,
            say=say,
            progress=report,
        )
    typer.echo(url)
