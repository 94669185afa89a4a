"""Command line: one module a verb, heavy imports inside the verbs; the only part that prints."""

from __future__ import annotations

import gc
import os
import sys

import typer

from cimsim.cli.accuracy import accuracy
from cimsim.cli.accuracy_options import Grouped
from cimsim.cli.check import check, schema
from cimsim.cli.compare import compare
from cimsim.cli.list import list_shipped
from cimsim.cli.map import map_weights
from cimsim.cli.mvm import mvm
from cimsim.cli.pipelines import pipelines
from cimsim.cli.run import run
from cimsim.cli.trace import trace
from cimsim.cli.train import train
from cimsim.cli.validate import validate
from cimsim.cli.workload import app as workload_app
from cimsim.errors import CimsimError

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
    ("check", check),
    ("trace", trace),
    ("map", map_weights),
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

        typer.echo(VERSION)
        raise typer.Exit
    del context


def main() -> None:
    """Run the command line; a CimsimError becomes one message and its exit code."""
    # Plans and runs are trees of small values without cycles: collect them rarely.
    gc.set_threshold(200_000, 50, 50)
    try:
        app(prog_name="cimsim")
    except CimsimError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
