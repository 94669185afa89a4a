"""cimsim check and schema: is a file valid, which of its numbers are assumed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cimsim.cli.options import (
    AdaptOption,
    ArchitectureArg,
    JsonOption,
    MapperOption,
    OptionalWorkloadArg,
    SetOption,
    machine_of,
    mapper_of,
    refuse_without_effect,
)
from cimsim.cli.progress import progress
from cimsim.cli.streams import emit, say

if TYPE_CHECKING:
    from cimsim.report.bands import Sensitivity
    from cimsim.spec import Architecture


def check(
    context: typer.Context,
    architecture: ArchitectureArg,
    workload: OptionalWorkloadArg = None,
    adapt: AdaptOption = None,
    mapper: MapperOption = "one-per-tile",
    settings: SetOption = None,
    knobs: Annotated[
        bool,
        typer.Option(
            "--knobs",
            help="Also list every number of hardware that no cost follows, and all that no "
            "result follows.",
        ),
    ] = False,
    moves: Annotated[
        bool,
        typer.Option(
            "--moves", help="Also simulate WORKLOAD: the numbers that move its energy most."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Validate ARCH: areas, distances, where every number comes from; see if WORKLOAD fits.

    What differs from the machine that a file extends comes first, doubts come last.
    """
    from cimsim.report.inert import inert_changes, inert_knobs, silent_fields
    from cimsim.report.origins import differences_of, origins_of
    from cimsim.report.plausibility import doubts_on_machine

    if workload is None:
        refuse_without_effect(context, ("moves",), "without a WORKLOAD: name one")
    machine = machine_of(architecture, settings)
    notes = (*doubts_on_machine(machine), *inert_changes(machine))
    assumed, models = machine.assumed(), machine.modelled()
    origins, differences = origins_of(machine), differences_of(machine)
    fits: dict[str, int | float] = {}
    built, plan = machine.area_mm2(), machine.floorplan
    used: dict[str, float] | None = None
    bands: Sensitivity | None = None
    if workload is not None:
        from cimsim.adaptation import adaptation_for
        from cimsim.cli.fit import units_occupied, units_told, units_used
        from cimsim.ir import load_workload
        from cimsim.mappers import build_mapping

        adaptation = adaptation_for(machine, adapt)
        mapping = build_mapping(
            adaptation.apply(load_workload(workload)),
            machine,
            adaptation,
            mapper_of(mapper, None),
        )
        fits, told = units_used(mapping), units_told(mapping)
        used = machine.area_mm2(units_occupied(mapping, machine.pmca))
        if moves:
            bands = _bands(workload, machine, adapt, mapper)
    if json:
        import json as encoder

        told_models = {found.path: asdict(found) for found in models}
        data = {
            "valid": True,
            "area_by_unit_mm2": built,
            **({} if used is None else {"area_used_by_unit_mm2": used}),
            "dies": machine.dies,
            "die_area_mm2": machine.die_area_mm2,
            "distances_mm": plan.distances_mm,
            "differences": [asdict(found) for found in differences],
            "origins": {block: asdict(counts) for block, counts in origins.items()},
            "assumed": assumed,
            "models": told_models,
            "notes": notes,
            **({"inert": inert_knobs(machine), "silent": silent_fields(machine)} if knobs else {}),
            **({} if bands is None else {"bands": bands.model_dump(mode="json")}),
            **fits,
        }
        emit(encoder.dumps(data, indent=2) + "\n")
        return
    from cimsim.cli.machine_tables import (
        print_areas,
        print_assumed,
        print_differences,
        print_inert,
        print_models,
        print_origins,
    )
    from cimsim.cli.tables import print_notes

    say(f"{architecture}: valid ({machine.name}, {machine.technology_nm:g} nm)")
    if workload is not None:
        say(f"{workload}: fits, {told}")
    print_differences(differences)
    print_areas(built, used, plan, machine.dies)
    print_origins(origins)
    print_models(models)
    print_assumed(assumed)
    if knobs:
        print_inert(inert_knobs(machine), silent_fields(machine))
    print_notes(notes)
    if bands is None:
        say("what moves a result most: --moves with a workload, or cimsim sensitivity")
    else:
        from cimsim.cli.sensitivity import print_headline

        print_headline(bands)


def _bands(workload: Path, machine: Architecture, adapt: str | None, mapper: str) -> Sensitivity:
    """What the energy of a run hangs on."""
    from cimsim.cli.sensitivity import energy_bands
    from cimsim.simulation import simulate

    with progress() as tell:
        done = simulate(
            workload, machine, adaptation=adapt, mapper=mapper_of(mapper, None), progress=tell
        )
        tell("folding bands")
        return energy_bands(done, done.report)


def schema(
    what: Annotated[
        str,
        typer.Argument(help="architecture, workload, scenario, sweep, report or gpu; or fields."),
    ] = "architecture",
) -> None:
    """Print the JSON schema of a file, for editors that complete and check it.

    `fields` prints a page of Markdown instead: every field of a machine file.
    """
    import json as encoder

    from pydantic import BaseModel

    from cimsim.errors import CimsimError

    model: type[BaseModel]
    if what in ("architecture", "fields"):
        from cimsim.machine_files import fields_page, file_schema
        from cimsim.spec import machine_type

        kind = machine_type()
        page = what == "fields"
        emit(fields_page(kind) if page else encoder.dumps(file_schema(kind), indent=2) + "\n")
        return
    if what == "workload":
        from cimsim.ir import Workload as model  # noqa: N813
    elif what == "scenario":
        from cimsim.serving import Scenario as model  # noqa: N813
    elif what == "sweep":
        from cimsim.exploration.plan import SweepPlan as model  # noqa: N813
    elif what == "report":
        from cimsim.report import Report as model  # noqa: N813
    elif what == "gpu":
        from cimsim.baseline import Gpu as model  # noqa: N813
    else:
        raise CimsimError(
            f"schema of architecture, workload, scenario, sweep, report, gpu or fields, not "
            f"{what!r}"
        )
    emit(encoder.dumps(model.model_json_schema(), indent=2) + "\n")
