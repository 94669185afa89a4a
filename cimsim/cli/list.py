"""cimsim list: what comes with cimsim, by name."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cimsim.cli.axes import AXES
from cimsim.cli.options import JsonOption
from cimsim.cli.streams import emit, say, width_of
from cimsim.errors import CimsimError
from cimsim.shelves import GPUS, MACHINES, SCENARIOS, WORKLOADS, Shelf

SHELVES = {"machines": MACHINES, "workloads": WORKLOADS, "scenarios": SCENARIOS, "gpus": GPUS}


def list_shipped(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]", help=f"{', '.join((*SHELVES, *AXES))}; all if left out.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Name what comes with cimsim: machines, workloads, scenarios, GPUs, and what options take.

    Options of a name stand in brackets with their defaults, NAME:OPTION=VALUE,... sets them.
    """
    if kind is not None and kind not in (*SHELVES, *AXES):
        raise CimsimError(f"cimsim list takes {', '.join((*SHELVES, *AXES))}, not {kind!r}.")
    found = {name: _lines(name) for name in ((*SHELVES, *AXES) if kind is None else (kind,))}
    if json:
        import json as encoder

        emit(encoder.dumps(found, indent=2) + "\n")
        return
    for what, lines in found.items():
        say(what)
        for name, description in lines.items():
            say(_line(name, description, max(map(len, lines))))


def _lines(kind: str) -> dict[str, str]:
    return dict(_described(SHELVES[kind])) if kind in SHELVES else AXES[kind]().listed()


def _line(name: str, description: str, width: int) -> str:
    columns = max(width_of(sys.stdout) or shutil.get_terminal_size().columns, width + 30)
    gap = " " * (width + 4)
    return textwrap.fill(
        description, columns, initial_indent=f"  {name:<{width}}  ", subsequent_indent=gap,
        break_on_hyphens=False,
    )  # fmt: skip


def _described(shelf: Shelf) -> Iterator[tuple[str, str]]:
    from cimsim.files import load_json

    for name in shelf.names():
        data = load_json(shelf.path / f"{name}.json", shelf.error, shelf.what)
        yield name, data.get("description") or _workload(data) or data["name"]


def _workload(data: dict[str, Any]) -> str:
    if "phases" not in data:
        return ""
    lora = f", LoRA of rank {data['adapter']['rank']}" if data.get("adapter") else ""
    lengths = " + ".join(f"{_new_tokens(phase)} {phase['name']}" for phase in data["phases"])
    return f"{data['architecture']}{lora}, tokens: {lengths}"


def _new_tokens(phase: dict[str, Any]) -> int:
    """Tokens that a phase adds; see `Phase.new_tokens`."""
    steps: int = phase.get("steps", 1)
    return steps if phase.get("tokens_growth") else int(phase["tokens"]) * steps
