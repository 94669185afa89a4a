"""Command line: one module a verb, heavy imports inside the verbs; the only part that prints."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import Any

import typer

from cimsim.cli import streams
from cimsim.cli.accuracy import accuracy
from cimsim.cli.accuracy_options import Grouped
from cimsim.cli.check import check, schema
from cimsim.cli.compare import compare
from cimsim.cli.front import front
from cimsim.cli.list import list_shipped
from cimsim.cli.map import map_weights
from cimsim.cli.mvm import mvm
from cimsim.cli.new import new
from cimsim.cli.pipelines import pipelines
from cimsim.cli.plot import plot
from cimsim.cli.program import program
from cimsim.cli.run import run
from cimsim.cli.sensitivity import sensitivity
from cimsim.cli.sweep import sweep
from cimsim.cli.switch import switch
from cimsim.cli.trace import trace
from cimsim.cli.train import train
from cimsim.cli.validate import validate
from cimsim.cli.workload import app as workload_app
from cimsim.errors import CimsimError
from cimsim.values.plaintext import literal, shortened

_UsageError: Any = typer.BadParameter.__mro__[2]
"""Base of the errors of wrong options, in the click that typer uses."""

app = typer.Typer(
    name="cimsim",
    help="Simulate LoRA-adapted transformers on hybrid compute-in-memory machines.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, verb in (
    ("list", list_shipped),
    ("run", run),
    ("accuracy", accuracy),
    ("train", train),
    ("sensitivity", sensitivity),
    ("sweep", sweep),
    ("switch", switch),
    ("front", front),
    ("plot", plot),
    ("new", new),
    ("check", check),
    ("trace", trace),
    ("map", map_weights),
    ("program", program),
    ("compare", compare),
    ("mvm", mvm),
    ("pipelines", pipelines),
    ("validate", validate),
    ("schema", schema),
):
    app.command(name, cls=Grouped)(verb)
app.add_typer(workload_app, name="workload")


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from cimsim.version import VERSION

        streams.say(VERSION)
        raise typer.Exit
    del context


MESSAGE_LENGTH = 1_990
USAGE_LENGTH = 1_800
"""Of an error of options, which stands below some lines of usage."""
TRACEBACK = "CIMSIM_TRACEBACK"
"""Environment variable: any value lets an error end in a traceback."""
BEYOND: dict[type[Exception], str] = {
    MemoryError: "there is not enough memory, take a smaller input",
    RecursionError: "the input nests too deep, take a flatter one",
    OverflowError: "a number of the input leads beyond what can be counted, lower it",
    OSError: "the system refused",
}
"""Ends of the machine or of arithmetic that an input leads to, and what to say of each."""


def main() -> None:
    """Run the command line; a CimsimError becomes one message and its exit code."""
    # Plans and runs are trees of small values without cycles: collect them rarely.
    gc.set_threshold(200_000, 50, 50)
    streams.prepare()
    sys.exit(streams.finish(_code()))


def _code() -> int:
    """The exit code of the verb that was asked for, its errors told on standard error."""
    try:
        code = app(prog_name="cimsim", standalone_mode=False)
    except _UsageError as error:
        error.message = shortened(literal(error.message), USAGE_LENGTH)
        with suppress(OSError):
            error.show(sys.stderr)
        return int(error.exit_code)
    except typer.Abort:
        streams.complain("aborted")
        return 1
    except BrokenPipeError:
        return 1
    except (CimsimError, MemoryError, RecursionError, OverflowError, OSError) as error:
        if os.environ.get(TRACEBACK):
            raise
        streams.complain(f"error: {shortened(_told(error), MESSAGE_LENGTH)}")
        return error.exit_code if isinstance(error, CimsimError) else 1
    except SystemExit as stop:  # a pipe that nobody reads, as typer and rich say it
        return int(stop.code or 0)
    return code if isinstance(code, int) else 0


def _told(error: Exception) -> str:
    """What happened; for what no part of cimsim foresaw, with the way to see where."""
    if isinstance(error, CimsimError):
        return str(error)
    what = next(text for kind, text in BEYOND.items() if isinstance(error, kind))
    return f"{what}: {str(error) or type(error).__name__}. {TRACEBACK}=1 shows where."
