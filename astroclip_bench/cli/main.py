"""The command's entry point: its sub-commands, and how errors become one line and an exit code.

Nothing heavy is imported here or at the top of the command modules, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from astroclip_bench import __version__
from astroclip_bench.cli import analyse, compare, data, doctor, evaluate, report, robustness
from astroclip_bench.errors import BenchError
from astroclip_bench.plugins import load_plugin, plugin_names

EXIT_OUR_FAULT, EXIT_INTERRUPTED = 1, 130
GROUP = "commands"
"""Entry points of further sub-commands: name -> function, whose annotations are typer's and docstring the help text, or
a typer application with sub-commands of its own."""


class ReportingGroup(TyperGroup):
    """A command group that ends with one line on standard error and the right exit code, whatever goes wrong."""

    def invoke(self, ctx: Any) -> Any:
        """Run the sub-command; `--debug` shows the traceback."""
        debug = bool(ctx.params.get("debug"))
        try:
            return super().invoke(ctx)
        except BenchError as error:
            _fail(str(error), error.exit_code, debug)
        except KeyboardInterrupt:
            _fail("interrupted; run the same command again to go on", EXIT_INTERRUPTED, debug)
        except MemoryError:
            _fail("out of memory; try a smaller --batch-size or fewer --workers", 2, debug)
        except OSError as error:
            named = f"{error.filename}: " if error.filename else ""
            _fail(f"{named}{error.strerror or error}; check the path, the disk and the network", 2, debug)
        except Exception as error:  # whatever else it is, the user is owed one line and not a traceback
            if type(error).__module__.startswith(("typer", "click")):
                raise
            hint = "this is a fault of astroclip-bench; run again with --debug and report the traceback"
            _fail(f"{type(error).__name__}: {error}; {hint}", EXIT_OUR_FAULT, debug)


class MainGroup(ReportingGroup):
    """The command's own sub-commands, and those of the entry points of `GROUP`.

    An entry point is listed by its name alone, and imported only when it is run or its help is asked for.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command's own sub-command of that name, or else the registered one."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in plugin_names(GROUP):
            return own
        found = load_plugin(GROUP, cmd_name)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(found)
        return typer.main.get_command(single)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the command's own sub-commands, each with its help, and the names of the registered ones."""
        super().format_commands(ctx, formatter)
        registered = [name for name in plugin_names(GROUP) if name not in self.commands]
        if registered:
            with formatter.section("Commands of installed packages"):
                formatter.write_dl([(name, f"See: astroclip-bench {name} --help") for name in registered])


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    sys.stderr.write("astroclip-bench: " + " ".join(message.split()) + "\n")
    raise typer.Exit(code)


app = typer.Typer(
    name="astroclip-bench",
    cls=MainGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Score embeddings of galaxy images, spectra and photometry.\n\n"
    "\b\n"
    "Examples:\n"
    "  astroclip-bench evaluate                       the bundled model on the embedded mock survey\n"
    "  astroclip-bench evaluate model.pt --data DIR   your model on a data set folder\n"
    "  astroclip-bench data build mock --size 20000 --out DIR --workers 8\n"
    "  astroclip-bench tasks                          what is measured",
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"astroclip-bench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command("evaluate")(evaluate.evaluate_command)
app.command("tasks")(evaluate.tasks_command)
app.command("check-model")(evaluate.check_model_command)
app.command("compare")(compare.compare_command)
app.command("analyse")(analyse.analyse_command)
app.command("robustness")(robustness.robustness_command)
app.command("report")(report.report_command)
app.add_typer(data.app, name="data")
app.command("doctor")(doctor.doctor_command)


def main() -> None:
    """Run the command; `--debug` may stand anywhere on the line."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if len(arguments) < len(sys.argv) - 1:
        arguments.insert(0, "--debug")
    app(args=arguments)
