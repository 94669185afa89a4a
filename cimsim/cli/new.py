"""cimsim new: the beginning of an own machine file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cimsim.cli.streams import say
from cimsim.errors import OutputError

SCHEMA_FILE = "cimsim-machine.schema.json"


def new(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.json", help="The file to write.", show_default=False)
    ],
    base: Annotated[
        str,
        typer.Option(
            "--from", metavar="ARCH", help="A shipped machine or a file, which FILE will extend.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the machine; that of FILE if left out.")
    ] = None,
    whole: Annotated[
        bool,
        typer.Option("--whole", help="Write every number with its source; extend nothing."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over FILE if it is there.")] = False,
) -> None:  # fmt: skip
    """Begin an own machine from another: FILE says what differs, a schema helps the editor.

    A number that you change has no source until you give it one; `cimsim check` shows them.
    """
    import json as encoder
    import os

    from cimsim.files import SCHEMA, write_text
    from cimsim.machine_files import beginning, file_schema, read_machine_file
    from cimsim.shelves import MACHINES
    from cimsim.spec import load_architecture, machine_type

    found = MACHINES.find(base)
    machine = load_architecture(found)
    if file.exists() and not force:
        raise OutputError(f"{file}: is there already: name another file, or give --force.")
    schema = file.parent / SCHEMA_FILE
    called = name or file.name.removesuffix(".json")
    if whole:
        given = read_machine_file(found, machine_type()).content
        content = {SCHEMA: f"./{SCHEMA_FILE}", **given, "name": called}
    else:
        shipped = base in MACHINES.names()
        named = base if shipped else os.path.relpath(found.resolve(), file.parent.resolve())
        content = beginning(called, named, machine.content, f"./{SCHEMA_FILE}")
    write_text(file, encoder.dumps(content, indent=2, ensure_ascii=False) + "\n")
    write_text(schema, encoder.dumps(file_schema(machine_type()), indent=1) + "\n")
    load_architecture(file)
    say(f"wrote {file} and, for editors, {schema}")
    say(f"next: change its numbers and sources, then `cimsim check {file}`")
