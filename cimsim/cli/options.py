"""Options that several verbs share, and how they become values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cimsim.cli.axes import completing
from cimsim.errors import CimsimError, MappingError, SpecError
from cimsim.shelves import GPUS, MACHINES, SCENARIOS, WORKLOADS, Shelf
from cimsim.values.display import shown
from cimsim.values.parsing import parse_value, parse_whole

if TYPE_CHECKING:
    from cimsim.baseline import Gpu
    from cimsim.mappers import Mapper
    from cimsim.spec import Architecture
    from cimsim.values.field_paths import Value


SET_HERE = "set on the command line"
"""Why a number is another than in its file."""


def _names(shelf: Shelf) -> Callable[[str], list[str]]:
    return lambda incomplete: [name for name in shelf.names() if name.startswith(incomplete)]


def _named(shelf: Shelf, metavar: str, what: str) -> dict[str, Any]:
    """What makes an argument or option take a path or a shipped name, with completion."""
    return {
        "metavar": metavar,
        "help": f"{what}, or a name of `cimsim list`.",
        "parser": shelf.find,
        "autocompletion": _names(shelf),
        "show_default": False,
    }


ArchitectureArg = Annotated[
    Path, typer.Argument(**_named(MACHINES, "ARCH", "Architecture file (JSON)"))
]
WorkloadArg = Annotated[
    Path, typer.Argument(**_named(WORKLOADS, "WORKLOAD", "Traced workload (JSON)"))
]
ScenarioArg = Annotated[
    Path, typer.Argument(**_named(SCENARIOS, "SCENARIO", "Scenario file (JSON)"))
]
OptionalWorkloadArg = Annotated[
    Path | None, typer.Argument(**_named(WORKLOADS, "[WORKLOAD]", "Traced workload (JSON)"))
]
BaselineOption = Annotated[
    list[Path] | None, typer.Option(**_named(GPUS, "GPU", "GPU to compare with: a file"))
]
BandOption = Annotated[
    bool | None,
    typer.Option(
        "--band/--no-band",
        help="Also say how sure energies are: 5 to 95 % over the ranges of the machine, times "
        "held (`cimsim sensitivity` varies them too). Left out: where the machine has "
        "ranges, but not with --json.",
        show_default=False,
    ),
]
AdaptOption = Annotated[
    str | None,
    typer.Option(
        "--adapt",
        help="Adaptation, or MODULE:NAME for a value of your own; the architecture's if left out.",
        show_default=False,
        autocompletion=completing("adaptations"),
    ),
]
MapperOption = Annotated[
    str,
    typer.Option(
        "--mapper",
        metavar="NAME",
        help="How weights are laid onto units.",
        autocompletion=completing("mappers"),
    ),
]
ReplicateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--replicate",
        metavar="WEIGHT=COPIES",
        help="Copies of a weight that share its tokens; a trailing * matches a prefix.",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Another value of an architecture field, e.g. rram.integration_ns=128.",
        show_default=False,
    ),
]
HtmlOption = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", help="Write a page, which needs no network.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def mapper_of(name: str, replicate: list[str] | None) -> Mapper:
    """The mapper called `name` with its replicas; raises MappingError for what it cannot read."""
    from cimsim.mappers import MAPPER_CODEC

    found = MAPPER_CODEC.parse(name)
    pairs: list[tuple[str, int]] = []
    for text in replicate or []:
        weight, equals, given = text.rpartition("=")
        try:
            copies = parse_whole(given)
        except ValueError:
            copies = 0
        if not equals or copies < 1:
            raise MappingError(
                f"--replicate takes WEIGHT=COPIES with COPIES >= 1, got {shown(text)}"
            )
        pairs.append((weight, copies))
    return replace(found, replicate=(*pairs, *found.replicate))


def cards_of(paths: list[Path] | None) -> list[Gpu]:
    """The GPUs of `--baseline`, read before anything is simulated."""
    if not paths:
        return []
    from cimsim.baseline import load_gpu

    return [load_gpu(path) for path in paths]


def values_of(settings: list[str] | None) -> dict[str, Value]:
    """Field path -> value of `--set` options; raises SpecError for what it cannot read."""
    values: dict[str, Value] = {}
    for text in settings or []:
        field, equals, value = text.partition("=")
        if not equals:
            raise SpecError(f"--set takes FIELD=VALUE, got {shown(text)}")
        try:
            values[field] = parse_value(value)
        except ValueError as problem:
            raise SpecError(f"--set {shown(field)}: {problem}.") from None
    return values


def machine_of(path: Path, settings: list[str] | None) -> Architecture:
    """The architecture in a file with the values of `--set`, its adaptation a known one."""
    from cimsim.adaptation import adaptation_for
    from cimsim.spec import load_architecture

    machine, changed = load_architecture(path), values_of(settings)
    if changed:
        machine = machine.with_values(changed, SET_HERE)
    adaptation_for(machine, where=path)
    return machine


def digest(path: Path) -> str:
    """sha256 of a file that was read before."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as problem:
        raise CimsimError(f"{path}: cannot read: {problem.strerror}.") from None


def refuse_without_effect(context: typer.Context, names: Sequence[str], why: str) -> None:
    """Raise CimsimError for options of `names` that were given on the command line.

    `why` says what makes them idle and what to do, after "had no effect".
    """
    given = [name for name in names if _was_given(context, name)]
    if given:
        spelt = {p.name: max(p.opts, key=len) for p in context.command.params}
        told = ", ".join(spelt[name] for name in given)
        raise CimsimError(f"{told} had no effect {why}.")


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
